"""Every family, in full and with adapters: the numbers of every stage are the library's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from alignment.cpu import packing
from alignment.data import chat
from alignment.data.batch import Sequences
from alignment.models import forward
from alignment.models.adapters import add_adapters
from alignment.models.load import load_causal_lm, load_scorer, load_tokenizer, save_model
from alignment.rollout import engines, generation
from alignment.shared import stages
from alignment.shared.config import LoRAConfig, Stage
from alignment.shared.errors import StageError
from alignment.shared.events import NullReporter
from alignment.shared.records import Demonstration, Prompt, write_jsonl
from tests.support.alignment import families, tiny

pytestmark = pytest.mark.filterwarnings("ignore")

CHECKS = ("logprobs", "generate", "continuous", "scores", "head", "ratio", "sft", "saved")
# Rotary with grouped queries, ALiBi, learned positions, a soft cap with a window, experts, no classifier class.
ALWAYS = ("llama", "bloom", "opt", "gemma2", "mixtral", "codegen")
METHODS = {"full": None, "lora": LoRAConfig(rank=2)}
CLOSE = 1e-4
ROWS = [([5, 6, 7], [8, 9, 2]), ([10] * 12, [11, 12, 13, 14, 2]), ([15], [2]), ([16, 17] * 9, [18] * 10)]


def cases() -> list[Any]:
    return [
        pytest.param(family, method, marks=() if family in ALWAYS and method == "full" else pytest.mark.gallery)
        for family in families.FAMILIES
        for method in METHODS
    ]


def adapted(model: Any, method: str, task: Any = "CAUSAL_LM") -> Any:
    """The model, with adapters that do something."""
    if METHODS[method] is None:
        return model
    model = add_adapters(model, METHODS[method], task, 0).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1)
    return model


def sequences_of(rows: list[tuple[list[int], list[int]]]) -> Sequences:
    return Sequences.join([p for p, _ in rows], [r for _, r in rows], [r[-1] == 2 for _, r in rows], 1)


def own_logprobs(model: Any, prompt: list[int], response: list[int]) -> torch.Tensor:
    logs = model(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
    return logs.gather(1, torch.tensor(response)[:, None])[:, 0]


@pytest.fixture
def row(table: dict[str, dict[str, str]], family: str, method: str) -> dict[str, str]:
    return table.setdefault(f"{family} {method}", {})


def close(row: dict[str, str], check: str, difference: float) -> None:
    row[check] = f"{difference:.0e}" if difference else "0"
    assert difference <= CLOSE, f"{check}: {difference}"


@pytest.mark.parametrize(("family", "method"), cases())
@torch.no_grad()
def test_logprobs_and_ratio(family: str, method: str, row: dict[str, str]) -> None:
    model = adapted(families.causal(family), method)
    expected = [own_logprobs(model, *pair) for pair in ROWS]
    packing_of: list[Callable[[Any], None]] = [lambda _: None, packing.enable]
    worst = 0.0
    for enable in packing_of:
        enable(model.get_base_model() if method == "lora" else model)
        found = forward.response_logprobs(model, sequences_of(ROWS), 1.0)
        worst = max([worst, *(float((found[i, : len(e)] - e).abs().max()) for i, e in enumerate(expected))])
    close(row, "logprobs", worst)
    split = torch.cat([forward.response_logprobs(model, sequences_of([pair]), 1.0)[0, : len(pair[1])] for pair in ROWS])
    mask = sequences_of(ROWS).response_mask
    close(row, "ratio", float(((found[mask] - split).exp() - 1).abs().max()))


@pytest.mark.parametrize(("family", "method"), cases())
def test_greedy_replies(family: str, method: str, row: dict[str, str]) -> None:
    model, tokenizer = adapted(families.causal(family), method), tiny.tokenizer()
    prompts = [[3 + (7 * i + j) % 20 for j in range(1 + 2 * i)] for i in range(6)]
    options: dict[str, Any] = {"max_new_tokens": 10, "do_sample": False, "eos_token_id": 2, "pad_token_id": 1}
    own = [model.generate(input_ids=torch.tensor([p]), **options)[0, len(p) :].tolist() for p in prompts]
    for name, engine in {"generate": generation.generate, "continuous": engines.Continuous()}.items():
        try:
            engines.require_same_numbers(engine, model, tokenizer)
        except StageError:
            row[name] = "refused"
            continue
        source = torch.Generator().manual_seed(0)
        said = engine(model, tokenizer, prompts, max_new_tokens=10, generator=source, temperature=1e-4)
        assert [said.ids(i) for i in range(len(prompts))] == own
        row[name] = "equal"


@pytest.mark.parametrize(("family", "method"), cases())
def test_scores_and_what_was_saved(family: str, method: str, row: dict[str, str], tmp_path: Path) -> None:
    families.save(family, tmp_path / "base")
    tokenizer = load_tokenizer(tmp_path / "base")
    scorer: Any = load_scorer(tmp_path / "base", tokenizer, trained=True, light=METHODS[method]).eval()
    inner = scorer.get_base_model() if method == "lora" else scorer
    row["head"] = "ours" if type(inner).__module__ == "alignment.models.library" else "library"
    rows = [prompt + response for prompt, response in ROWS]
    with torch.no_grad():
        own = torch.cat([scorer(input_ids=torch.tensor([ids])).logits[0] for ids in rows])
    close(row, "scores", float((forward.score_rows(scorer, rows, 1, 4) - own).abs().max()))
    model: Any = adapted(load_causal_lm(tmp_path / "base", tokenizer, trained=False), method)
    with torch.no_grad():
        before = model(input_ids=torch.tensor([rows[1]])).logits
        save_model(model, tokenizer, tmp_path / "saved")
        again: Any = load_causal_lm(tmp_path / "saved", tokenizer, trained=False)
        close(row, "saved", float((again(input_ids=torch.tensor([rows[1]])).logits - before).abs().max()))


@pytest.mark.parametrize(("family", "method"), cases())
def test_the_first_loss_of_sft(family: str, method: str, row: dict[str, str], tmp_path: Path) -> None:
    families.save(family, tmp_path / "base")
    given = [Demonstration(prompt=Prompt.from_text("w1 " * n), response="w2 " * (4 - n)) for n in range(1, 4)]
    write_jsonl(tmp_path / "rows.jsonl", given)
    tokenizer = load_tokenizer(tmp_path / "base")
    model: Any = load_causal_lm(tmp_path / "base", tokenizer, trained=False)
    encoded = [chat.encode(tokenizer, d.prompt, d.response) for d in given]
    with torch.no_grad():
        own = [own_logprobs(model, e.ids[: e.prompt_length], e.ids[e.prompt_length :]) for e in encoded]
    settings = {"batch_size": 3, "micro_batch_size": 3, "epochs": 1, "max_length": 64, "warmup_ratio": 0.0}
    config = settings | ({"lora": METHODS[method].model_dump()} if METHODS[method] else {})
    files = {"model": tmp_path / "base", "demonstrations": tmp_path / "rows.jsonl"}
    result = stages.run(Stage.SFT, config, files, tmp_path / "out", NullReporter())
    close(row, "sft", abs(result.metrics["first_loss"] + float(torch.cat(own).mean())))
