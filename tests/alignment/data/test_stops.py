"""Stops are a set: a chat model ends its turn in its own way, in every stage, with every engine, and once saved."""

import json
from pathlib import Path

import pytest
import torch
from transformers import GenerationConfig

from alignment import sft
from alignment.data import chat
from alignment.data.stops import stop_ids, turn_end
from alignment.models.load import PreTrainedTokenizerBase, load_causal_lm, load_tokenizer, save_model
from alignment.rollout import engines, generation
from alignment.shared import stages
from alignment.shared.config import SFTConfig
from alignment.shared.events import NullReporter
from alignment.shared.records import Demonstration, Prompt, Ranking, write_jsonl
from alignment.shared.stages import SFTInputs
from tests.support.alignment import families, small_ppo, tiny

MARK = "<end_of_turn>"
TURNS = {
    "gemma": "{{ '<|user|>' + m['content'] }}<end_of_turn>\n",
    "llama 3": "{{ '<|user|>' + m['content'] }}<end_of_turn>",
    "llama 2": "{{ '<|user|>' + m['content'] }} <end_of_turn>",
}
SETTINGS = {"batch_size": 2, "micro_batch_size": 2, "epochs": 1, "max_length": 32, "learning_rate": 1e-3}


def write(folder: Path, **generation_config: object) -> Path:
    """A chat model whose turns end with a token that is not its tokenizer's EOS."""
    families.save("llama", folder, families.chatty(MARK))
    if generation_config:
        (folder / "generation_config.json").write_text(json.dumps(generation_config))
    return folder


def speaking(folder: Path, token: str) -> tuple[torch.nn.Module, PreTrainedTokenizerBase]:
    """The folder's model, made to say `w1` and then `token` for ever after."""
    tokenizer = load_tokenizer(folder)
    model = load_causal_lm(folder, tokenizer, trained=False)
    first, then = tokenizer.convert_tokens_to_ids("w1"), tokenizer.convert_tokens_to_ids(token)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.model.norm.weight.fill_(1.0)
        model.model.embed_tokens.weight[:, 0] = 1.0
        model.model.embed_tokens.weight[first] = torch.nn.functional.one_hot(torch.tensor(1), 32).float()
        model.lm_head.weight[first, 0] = 10.0
        model.lm_head.weight[then, 1] = 10.0
    return model, tokenizer


@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_the_template_says_how_a_turn_ends(turn: str) -> None:
    tokenizer = families.chatty(MARK, "{% for m in messages %}" + turn + "{% endfor %}")
    assert turn_end(tokenizer) == tokenizer.convert_tokens_to_ids(MARK)
    assert chat.response_ids(tokenizer, "w1")[-1] == turn_end(tokenizer)


@pytest.mark.parametrize(
    "template",
    ["{% for m in messages %}{{ m['content'] }} over.<end_of_turn>{% endfor %}", "{{ raise_exception('no') }}", "x"],
)
def test_where_a_template_does_not_say_it_eos_does(template: str) -> None:
    tokenizer = families.chatty(MARK, template)
    assert turn_end(tokenizer) == tokenizer.eos_token_id


@pytest.mark.parametrize("token", [MARK, "<stop>", "<eos>"])
@pytest.mark.parametrize("engine", [generation.generate, engines.Continuous()], ids=["generate", "continuous"])
def test_every_stop_ends_a_reply_in_every_engine(engine: engines.Engine, token: str, tmp_path: Path) -> None:
    stop = families.chatty(MARK).convert_tokens_to_ids("<stop>")
    folder = write(tmp_path, eos_token_id=[2, stop])
    model, tokenizer = speaking(folder, token)
    prompts = [[5, 6], [6, 7, 8]]
    said = engine(
        model, tokenizer, prompts, max_new_tokens=12, generator=torch.Generator().manual_seed(0), temperature=0.01
    )
    assert said.finished.all()
    assert [chat.decode(tokenizer, said.ids(row)) for row in range(2)] == ["w1", "w1"]
    assert {said.ids(row)[-1] for row in range(2)} == {tokenizer.convert_tokens_to_ids(token)}


def test_the_librarys_defaults_are_no_stops(tmp_path: Path) -> None:
    """A config says eos_token_id = 7 by somebody's default; in this vocabulary that is a word."""
    model, tokenizer = speaking(write(tmp_path, eos_token_id=[2, 7]), MARK)
    assert 7 not in stop_ids(model, tokenizer)


def test_sft_trains_the_turn_end_and_saves_all_stops(tmp_path: Path) -> None:
    stop = families.chatty(MARK).convert_tokens_to_ids("<stop>")
    base = write(tmp_path / "base", eos_token_id=[2, stop])
    rows = [Demonstration(prompt=Prompt.from_text("w1"), response=f"w{i}") for i in range(4)]
    tokenizer = load_tokenizer(base)
    encoded, _ = sft.encode_rows(tokenizer, rows, 32)
    assert [row["labels"][-1] for row in encoded] == [tokenizer.convert_tokens_to_ids(MARK)] * 4
    write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "out").mkdir()
    inputs = SFTInputs(model=base, demonstrations=tmp_path / "rows.jsonl")
    sft.train(SFTConfig(**SETTINGS), inputs, tmp_path / "out", NullReporter())
    saved = GenerationConfig.from_pretrained(tmp_path / "out").eos_token_id
    assert set(saved) == {tokenizer.convert_tokens_to_ids(MARK), 2, stop}


@pytest.mark.filterwarnings("ignore")
def test_all_three_stages_go_through_a_chat_model(tmp_path: Path) -> None:
    """The missing-EOS rule of PPO sees the turn end: a reply that ends with it is finished."""
    folder = write(tmp_path / "sft")
    prompts = [Prompt.from_text(f"w{i} w{i + 1}") for i in range(8)]
    rankings = [Ranking(prompt=p, responses=("w1", "w2 w3"), groups=((0,), (1,))) for p in prompts]
    write_jsonl(tmp_path / "rankings.jsonl", rankings)
    write_jsonl(tmp_path / "prompts.jsonl", prompts)
    settings = {**SETTINGS, "heldout_fraction": 0.0}
    files = {"model": folder, "rankings": tmp_path / "rankings.jsonl"}
    stages.run(stages.Stage.REWARD, settings, files, tmp_path / "reward", NullReporter())
    model, tokenizer = speaking(folder, MARK)
    save_model(model, tokenizer, tmp_path / "speaker")
    changes = {"batch_size": 4, "micro_batch_size": 4, "updates": 1, "max_length": 32, "temperature": 0.05}
    changes["accept_reward_model"] = "nothing is held out here"
    files = {"model": tmp_path / "speaker", "reward_model": tmp_path / "reward", "prompts": tmp_path / "prompts.jsonl"}
    result = stages.run(stages.Stage.PPO, small_ppo.SETTINGS | changes, files, tmp_path / "ppo", NullReporter())
    assert result.details["curve"][0]["finished_share"] == 1.0


def test_padding_is_never_the_turn_end() -> None:
    tokenizer = families.chatty(MARK)
    assert turn_end(tokenizer) != tokenizer.pad_token_id
    assert tiny.tokenizer().pad_token_id != turn_end(tiny.tokenizer())


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.9, "top_p": 0.6},  # Llama-2-chat
        {"max_length": 4096, "top_p": 0.95, "eos_token_id": 2},
        {"do_sample": False, "temperature": 0.7},
        {"early_stopping": True, "length_penalty": 2.0},
    ],
    ids=str,
)
def test_a_folder_with_unsound_generation_settings_trains_and_saves(
    settings: dict[str, object], tmp_path: Path
) -> None:
    base = write(tmp_path / "base", **settings)
    rows = [Demonstration(prompt=Prompt.from_text("w1"), response=f"w{i}") for i in range(4)]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    (tmp_path / "out").mkdir()
    inputs = SFTInputs(model=base, demonstrations=tmp_path / "rows.jsonl", checkpoints=tmp_path / "checkpoints")
    (tmp_path / "checkpoints").mkdir()
    sft.train(SFTConfig(**SETTINGS, save_every=1), inputs, tmp_path / "out", NullReporter())
    saved = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    for name in ("temperature", "top_p"):
        assert saved.get(name) == settings.get(name)
    assert saved.get("do_sample") is (True if "temperature" in settings or "top_p" in settings else None)
