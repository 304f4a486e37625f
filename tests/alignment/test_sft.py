"""SFT: the loss falls on the response and its stop, nothing is dropped in silence, and it learns."""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trl.kernels.chunked_logprob as head

from alignment import sft
from alignment.data import chat
from alignment.models.load import load_causal_lm, load_tokenizer, save_model
from alignment.shared.config import LoRAConfig, SFTConfig
from alignment.shared.errors import BadInput, Cancelled, StageError
from alignment.shared.events import NullReporter
from alignment.shared.memory import TILE_TOKENS
from alignment.shared.records import Demonstration, Message, Prompt, read_jsonl, write_jsonl
from alignment.shared.stages import SFTInputs

pytestmark = pytest.mark.slow

SETTINGS: dict[str, Any] = {"learning_rate": 2e-3, "batch_size": 16, "micro_batch_size": 8, "max_length": 96}


@pytest.fixture(scope="module")
def demonstrations(world_files: dict[str, Path]) -> list[Demonstration]:
    return list(read_jsonl(world_files["demonstrations"], Demonstration))[:32]


@pytest.fixture
def run(tiny_base: Path, tmp_path: Path) -> Callable[..., Any]:
    def call(rows: list[Demonstration], reporter: Any = None, model: Path = tiny_base, **settings: Any) -> Any:
        write_jsonl(tmp_path / "demonstrations.jsonl", rows)
        inputs = SFTInputs(model=model, demonstrations=tmp_path / "demonstrations.jsonl")
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        return sft.train(SFTConfig(**{**SETTINGS, **settings}), inputs, out, reporter or NullReporter()), out

    return call


def nll(folder: Path, rows: list[Demonstration]) -> float:
    """The mean negative log-likelihood of the responses' tokens and stops, row by row."""
    tokenizer = load_tokenizer(folder)
    model = load_causal_lm(folder, tokenizer, trained=False)
    losses = []
    for row in rows:
        before, after = chat.prompt_ids(tokenizer, row.prompt), chat.response_ids(tokenizer, row.response)
        logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
        losses.append(torch.nn.functional.cross_entropy(logits, torch.tensor(after), reduction="none"))
    return float(torch.cat(losses).mean())


def test_few_tokens_have_logits_at_one_time(
    run: Callable[..., Any], demonstrations: list[Demonstration], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU the head's blocks are the largest tensors of all, eight at a time."""
    seen: list[int] = []
    plain = head._backward_tile

    def watched(tile: torch.Tensor, *rest: Any, **more: Any) -> None:
        seen.append(len(tile))
        plain(tile, *rest, **more)

    monkeypatch.setattr(head, "_backward_tile", watched)
    run(demonstrations, batch_size=32, micro_batch_size=32)
    assert sum(seen) > TILE_TOKENS >= max(seen)


def test_all_that_the_assistant_said_can_be_learnt(run: Callable[..., Any], tiny_base: Path) -> None:
    """The mean over the tokens of both turns, each read after what stands before it."""
    turns = (("user", "Hello."), ("assistant", "Milo is red."), ("user", "And Tara?"))
    prompt = Prompt(messages=tuple(Message(role=role, content=text) for role, text in turns))
    first = Demonstration(prompt=Prompt.from_text("Hello."), response="Milo is red.")
    last = Demonstration(prompt=prompt, response="I do not know.")
    result, _ = run([last] * 16, epochs=1, train_on="assistant_turns")
    assert result.metrics["first_loss"] == pytest.approx(nll(tiny_base, [first, last]), rel=1e-3)
    result, _ = run([last] * 16, epochs=1)
    assert result.metrics["first_loss"] == pytest.approx(nll(tiny_base, [last]), rel=1e-3)


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize(("train_on", "learnt"), [("last_turn", (2,)), ("assistant_turns", (1, 2))])
def test_what_has_weight_0_is_never_learnt(
    run: Callable[..., Any], tiny_base: Path, train_on: str, learnt: tuple[int, ...], packing: bool
) -> None:
    """Of three answers the first is never learnt: the mean is over the tokens of the others, read after all of it."""
    asked = [("user", "Hello."), ("user", "And Tara?"), ("user", "And Ben?")]
    said = ["Milo is red.", "Tara is blue.", "I do not know."]
    chat_of = [turn for question, answer in zip(asked, said, strict=True) for turn in (question, ("assistant", answer))]
    turns = [Message(role=role, content=text) for role, text in chat_of]

    def until(answer: int, **fields: Any) -> Demonstration:
        prompt = Prompt(messages=tuple(turns[: 2 * answer + 1]))
        return Demonstration(prompt=prompt, response=said[answer], **fields)

    result, _ = run([until(2, not_learnt=(1,))] * 16, epochs=1, train_on=train_on, packing=packing)
    assert result.metrics["first_loss"] == pytest.approx(nll(tiny_base, [until(n) for n in learnt]), rel=1e-3)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_rate_falls_as_asked(
    run: Callable[..., Any], recorder: Any, demonstrations: list[Demonstration], schedule: str
) -> None:
    """The last step's rate, of 8: a cosine from 1 to a tenth, a line to 0, or the peak to the end."""
    seen = recorder()
    run(demonstrations, seen, epochs=4, schedule=schedule, warmup_ratio=0, adam_beta2=0.95)
    rates = [step.metrics["learning_rate"] / SETTINGS["learning_rate"] for step in seen.steps]
    assert rates[0] == pytest.approx(1)
    falls = {"cosine": 0.1 + 0.9 * (0.5 + 0.5 * math.cos(math.pi * 7 / 8)), "linear": 1 / 8, "constant": 1.0}
    assert rates[-1] == pytest.approx(falls[schedule], rel=1e-3)


def test_the_first_loss_is_that_of_the_responses_alone(
    run: Callable[..., Any], tiny_base: Path, demonstrations: list[Demonstration]
) -> None:
    """One step over all rows, in micro-batches of different padding: the mean is over tokens, not batches."""
    result, _ = run(demonstrations, batch_size=32, epochs=1)
    assert result.metrics["first_loss"] == pytest.approx(nll(tiny_base, demonstrations), rel=1e-3)


def test_it_learns_and_leaves_a_model_folder(
    run: Callable[..., Any], tiny_base: Path, demonstrations: list[Demonstration], recorder: Callable[..., Any]
) -> None:
    reported = recorder()
    result, out = run(demonstrations, reported, epochs=4, learning_rate=2e-2)
    assert nll(out, demonstrations) < 0.8 * nll(tiny_base, demonstrations)
    assert result.details["counts"] == {"demonstrations": 32, "used": 32, "too_long": 0}
    assert [point["step"] for point in result.details["curve"]] == list(range(1, 9))  # 32 rows, batches of 16, 4 passes
    assert (reported.steps[-1].step, reported.steps[-1].total) == (8, 8)
    assert reported.steps[-1].rate > 0


def test_the_stop_is_learned(run: Callable[..., Any], tiny_base: Path) -> None:
    """After training on one short answer, the stop is by far the likeliest token behind it."""
    row = Demonstration(prompt=Prompt.from_text("Say it."), response="Milo is red.")
    _, out = run([row] * 16, epochs=30, learning_rate=1e-2)
    tokenizer = load_tokenizer(out)
    model = load_causal_lm(out, tokenizer, trained=False)
    ids = chat.encode(tokenizer, row.prompt, row.response).ids[:-1]
    assert torch.softmax(model(torch.tensor([ids])).logits[0, -1], -1)[tokenizer.eos_token_id] > 0.9


def test_what_is_too_long_is_counted_and_named(
    run: Callable[..., Any], demonstrations: list[Demonstration], recorder: Callable[..., Any]
) -> None:
    long = Demonstration(prompt=demonstrations[0].prompt, response="word " * 100)
    reported = recorder()
    result, _ = run([*demonstrations, long, long], reported, epochs=1)
    assert result.details["counts"] == {"demonstrations": 34, "used": 32, "too_long": 2}
    assert reported.notes == ["2 of 34 demonstrations exceed 96 tokens and were left out."]


def test_nothing_left_to_train_on_is_refused(run: Callable[..., Any], demonstrations: list[Demonstration]) -> None:
    with pytest.raises(BadInput, match="None of 32 demonstrations fits into 8 tokens"):
        run(demonstrations, max_length=8)


def test_a_mixture_is_learnt_in_its_shares_and_counted(
    run: Callable[..., Any], demonstrations: list[Demonstration]
) -> None:
    rows = [
        row.model_copy(update={"lineage": {"source": "a" if i < 20 else "b"}}) for i, row in enumerate(demonstrations)
    ]
    result, _ = run(rows, epochs=1, source_weights={"b": 1.5}, source_cap=10)
    assert result.details["sources"] == {"a": [20, 10], "b": [12, 15]}
    assert result.details["counts"]["used"] == 25
    with pytest.raises(StageError, match=r"source_weights names 'c', of which .* Choose of a, b\."):
        run(rows, source_weights={"c": 2.0})


def test_no_rows_and_bad_rows_are_refused(run: Callable[..., Any], tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="holds no demonstrations"):
        run([])
    (tmp_path / "bad.jsonl").write_text('{"prompt":{"messages":[{"role":"user","content":"Hi"}]}}\n')
    inputs = SFTInputs(model=tiny_base, demonstrations=tmp_path / "bad.jsonl")
    with pytest.raises(StageError, match=r"bad\.jsonl, line 1"):
        sft.train(SFTConfig(**SETTINGS), inputs, tmp_path, NullReporter())


def test_a_cancel_stops_at_the_step_border(
    run: Callable[..., Any], demonstrations: list[Demonstration], recorder: Callable[..., Any], tmp_path: Path
) -> None:
    reported = recorder(stop_after=3)
    with pytest.raises(Cancelled):
        run(demonstrations, reported, epochs=10)
    assert len(reported.steps) == 3
    assert not list((tmp_path / "out").iterdir())


def test_a_seed_gives_the_same_weights(run: Callable[..., Any], demonstrations: list[Demonstration]) -> None:
    digests = []
    for seed in (1, 1, 2):
        _, out = run(demonstrations, epochs=1, seed=seed)
        digests.append(hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_a_tokenizer_without_template_gets_ours_and_says_so(
    run: Callable[..., Any],
    tiny_base: Path,
    tmp_path: Path,
    demonstrations: list[Demonstration],
    recorder: Callable[..., Any],
) -> None:
    tokenizer = load_tokenizer(tiny_base)
    tokenizer.chat_template = None
    save_model(load_causal_lm(tiny_base, tokenizer, trained=False), tokenizer, tmp_path / "bare")
    reported = recorder()
    _, out = run(demonstrations, reported, model=tmp_path / "bare", epochs=1)
    assert any("no chat template" in note for note in reported.notes)
    assert load_tokenizer(out).chat_template == chat.TEMPLATE


def test_adapters_train_and_leave_a_whole_model(
    run: Callable[..., Any], tiny_base: Path, demonstrations: list[Demonstration]
) -> None:
    _, out = run(demonstrations, lora=LoRAConfig(rank=4, alpha=16), learning_rate=3e-2, epochs=6)
    assert not (out / "adapter_config.json").exists()
    assert nll(out, demonstrations) < 0.9 * nll(tiny_base, demonstrations)
