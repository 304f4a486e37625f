"""The rollout engine against a plain loop without cache, padding or batch; and the `sample` stage."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from alignment.data import chat
from alignment.models.load import load_causal_lm, load_tokenizer
from alignment.rollout import generation, sampling
from alignment.rollout.batches import Generated
from alignment.sample import _keep, train
from alignment.shared.config import SampleConfig
from alignment.shared.errors import BadInput, Cancelled, StageError
from alignment.shared.events import Paused
from alignment.shared.records import Prompt, write_jsonl
from alignment.shared.stages import SampleInputs
from alignment.toyworld.world import World
from tests.support.alignment.kills import RecordingReporter

LIMIT = 24


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> Any:
    return load_tokenizer(tiny_base)


@pytest.fixture(scope="module")
def model(tiny_base: Path, tokenizer: Any) -> Any:
    return load_causal_lm(tiny_base, tokenizer, trained=False)


@pytest.fixture(scope="module")
def gpt2(tokenizer: Any) -> Any:
    """Counts positions one by one where Llama only sees distances: a wrong position id shows."""
    torch.manual_seed(0)
    shape = GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=2, n_head=2, n_positions=96, initializer_range=0.4)
    return GPT2LMHeadModel(shape).eval()


@pytest.fixture(scope="module")
def prompts(world: World, tokenizer: Any) -> list[list[int]]:
    return [chat.prompt_ids(tokenizer, prompt) for prompt in world.heldout[:20]]


def sample(model: Any, tokenizer: Any, prompts: list[list[int]], seed: int = 0, **options: Any) -> Generated:
    generator = torch.Generator().manual_seed(seed)
    return generation.generate(model, tokenizer, prompts, max_new_tokens=LIMIT, generator=generator, **options)


def plain_greedy(model: Any, stop: int, prompt: list[int]) -> list[int]:
    """The likeliest tokens, one forward pass over the whole sequence each."""
    ids = list(prompt)
    while len(ids) - len(prompt) < LIMIT and (len(ids) == len(prompt) or ids[-1] != stop):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_cache_padding_and_batches_change_nothing(
    model: Any, tokenizer: Any, prompts: list[list[int]], batch_size: int
) -> None:
    assert len({len(p) for p in prompts}) > 3  # prompts of several lengths: padding and sorting are at work
    got = sample(model, tokenizer, prompts, batch_size=batch_size, top_p=1e-6)  # only the likeliest token is left
    expected = [plain_greedy(model, tokenizer.eos_token_id, prompt) for prompt in prompts]
    assert [got.ids(row) for row in range(len(prompts))] == expected


def test_padding_moves_no_position(gpt2: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    got = sample(gpt2, tokenizer, prompts, top_p=1e-6)
    assert [got.ids(row) for row in range(20)] == [plain_greedy(gpt2, tokenizer.eos_token_id, p) for p in prompts]


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_logprobs_are_those_of_a_forward_pass_under_the_temperature(
    model: Any, tokenizer: Any, prompts: list[list[int]], temperature: float
) -> None:
    got = sample(model, tokenizer, prompts, temperature=temperature, batch_size=8)
    for row, prompt in enumerate(prompts):
        tokens = got.ids(row)
        logits = model(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1] / temperature
        expected = torch.log_softmax(logits, -1)[range(len(tokens)), tokens]
        torch.testing.assert_close(got.logprobs[row, : len(tokens)], expected, rtol=1e-4, atol=1e-4)
        assert not got.logprobs[row, len(tokens) :].any()


def test_the_stop_is_part_of_the_response_and_nothing_follows_it(
    model: Any, tokenizer: Any, prompts: list[list[int]]
) -> None:
    got = sample(model, tokenizer, prompts * 4)
    assert got.finished.any()
    for row in range(len(prompts) * 4):
        tokens = got.ids(row)
        assert (tokens[-1] == tokenizer.eos_token_id) == bool(got.finished[row])
        assert tokenizer.eos_token_id not in tokens[:-1]
        assert got.finished[row] or len(tokens) == LIMIT
        assert (got.responses[row][~got.response_mask[row]] == tokenizer.pad_token_id).all()


def test_a_seed_gives_the_same_responses(model: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    first, again, other = (sample(model, tokenizer, prompts, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.responses, again.responses)
    assert [first.ids(i) for i in range(20)] != [other.ids(i) for i in range(20)]


def test_draws_follow_the_models_probabilities(model: Any, tokenizer: Any, prompts: list[list[int]]) -> None:
    """2,000 first tokens of one prompt against the softmax: each share within four deviations."""
    draws = 2000
    generator = torch.Generator().manual_seed(0)
    got = generation.generate(
        model, tokenizer, [prompts[0]] * draws, max_new_tokens=1, generator=generator, batch_size=draws
    )
    expected = torch.softmax(model(torch.tensor([prompts[0]])).logits[0, -1], -1)
    for token in expected.topk(5).indices.tolist():
        share, p = float((got.responses[:, 0] == token).float().mean()), float(expected[token])
        assert abs(share - p) < 4 * math.sqrt(p * (1 - p) / draws)


def test_a_token_of_weight_0_is_never_drawn() -> None:
    weights = torch.tensor([[0.0, 0.25, 0.0, 0.75, 0.0]]).expand(20_000, -1)
    numbers = torch.rand(len(weights), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = sampling._draw(weights, numbers).flatten().bincount(minlength=5)
    assert drawn[[0, 2, 4]].tolist() == [0, 0, 0]
    assert abs(int(drawn[1]) - 5000) < 4 * math.sqrt(20_000 * 0.25 * 0.75)


def test_nucleus_worked_by_hand() -> None:
    probs = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]])
    kept = sampling._nucleus(probs, 0.6)  # 0.5 alone is below 0.6, with 0.3 it is reached; 0.8 reaches it alone
    torch.testing.assert_close(kept, torch.tensor([[0.0, 0.5, 0.3], [0.0, 0.0, 0.8]]))


def test_the_model_is_left_in_the_mode_it_was_in(tiny_base: Path, tokenizer: Any, prompts: list[list[int]]) -> None:
    trained = load_causal_lm(tiny_base, tokenizer, trained=True)
    sample(trained, tokenizer, prompts[:2])
    assert trained.training


@pytest.fixture
def run(tiny_base: Path, tmp_path: Path, recorder: Callable[..., Any]) -> Callable[..., Any]:
    """Runs the stage on prompts with one model under two names; returns (result, rows, reporter)."""

    def call(prompts: list[Prompt], **settings: Any) -> Any:
        write_jsonl(tmp_path / "prompts.jsonl", prompts)
        inputs = SampleInputs(models={"b": tiny_base, "a": tiny_base}, prompts=tmp_path / "prompts.jsonl")
        reported = recorder()
        result = train(SampleConfig(max_response_length=LIMIT, **settings), inputs, tmp_path, reported)
        return result, [json.loads(line) for line in (tmp_path / "responses.jsonl").open()], reported

    return call


def test_replies_without_a_text_are_not_called_long_prompts(
    run: Callable[..., Any], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alignment.data.chat.decode", lambda tokenizer, ids: "")
    with pytest.raises(StageError, match="None of the 24 replies holds a text"):
        run(list(world.heldout[:2]), responses_per_prompt=3, distinct=True)


def test_rows_are_in_order_and_complete(run: Callable[..., Any], world: World) -> None:
    result, rows, _ = run(list(world.heldout[:6]), responses_per_prompt=3, distinct=False)
    assert [(row["prompt"], row["model"]) for row in rows] == [(i, m) for i in range(6) for m in "bbbaaa"]
    assert all(row["key"] == world.heldout[row["prompt"]].key for row in rows)
    assert rows[0].keys() == {"prompt", "key", "model", "text", "finished", "tokens", "sampling"}
    assert rows[0]["sampling"] == {"temperature": 1.0, "top_p": 1.0, "max_response_length": LIMIT, "seed": 0}
    assert result.metrics["responses"] == len(rows) == 36


def test_distinct_texts_are_the_first_different_ones_of_the_same_draws(run: Callable[..., Any], world: World) -> None:
    prompts = list(world.heldout[:6])
    _, every, _ = run(prompts, responses_per_prompt=8, distinct=False, temperature=0.3)
    _, kept, _ = run(prompts, responses_per_prompt=4, oversample=2, temperature=0.3)
    for prompt in range(6):
        drawn = [row["text"] for row in every if row["prompt"] == prompt and row["model"] == "a"]
        got = [row["text"] for row in kept if row["prompt"] == prompt and row["model"] == "a"]
        assert got == list(dict.fromkeys(drawn))[:4]


def test_an_empty_reply_is_judged_but_not_ranked(tokenizer: Any) -> None:
    stop, word = tokenizer.eos_token_id, tokenizer("red")["input_ids"][0]
    replies = [([stop], True), ([word, stop], True), ([stop], True)]
    judged = _keep(replies, tokenizer, SampleConfig(distinct=False))
    ranked = _keep(replies, tokenizer, SampleConfig(distinct=True))
    assert [row["text"] for row in judged] == ["", tokenizer.decode([word]), ""]
    assert [row["text"] for row in ranked] == [tokenizer.decode([word])]


def test_a_prompt_that_leaves_no_room_is_counted_and_named(run: Callable[..., Any], world: World) -> None:
    result, rows, reported = run([Prompt.from_text("word " * 200), world.heldout[0]], responses_per_prompt=2)
    assert {row["prompt"] for row in rows} == {1}
    assert result.details["skipped"] == {"a": 1, "b": 1}
    assert any("too long" in note for note in reported.notes)


def test_only_too_long_prompts_are_refused(run: Callable[..., Any]) -> None:
    with pytest.raises(BadInput, match="too long"):
        run([Prompt.from_text("word " * 200)])


def test_a_bad_line_is_named(tiny_base: Path, tmp_path: Path, recorder: Callable[..., Any]) -> None:
    (tmp_path / "prompts.jsonl").write_text('{"messages":[{"role":"user","content":"Hi"}]}\n{"message":[]}\n')
    inputs = SampleInputs(models={"a": tiny_base}, prompts=tmp_path / "prompts.jsonl")
    with pytest.raises(StageError, match=r"prompts\.jsonl, line 2"):
        train(SampleConfig(), inputs, tmp_path, recorder())


def test_progress_reaches_the_end_and_a_cancel_stops_it(
    run: Callable[..., Any], world: World, tiny_base: Path, tmp_path: Path, recorder: Callable[..., Any]
) -> None:
    _, _, reported = run(list(world.heldout[:6]), responses_per_prompt=2, batch_size=5)
    assert reported.steps[-1].step == reported.steps[-1].total == 6 * 2 * 2 * 2  # prompts, K, oversample, models
    inputs = SampleInputs(models={"a": tiny_base}, prompts=tmp_path / "prompts.jsonl")
    settings = SampleConfig(batch_size=1, max_response_length=LIMIT)
    with pytest.raises(Cancelled):
        train(settings, inputs, tmp_path, recorder(stop_after=2))


def test_a_pause_is_heard_between_two_batches(tiny_base: Path, world: World, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "prompts.jsonl", world.heldout[:4])
    inputs = SampleInputs(models={"a": tiny_base}, prompts=tmp_path / "prompts.jsonl")
    recording = RecordingReporter(pause_at=2)
    with pytest.raises(Paused):
        train(SampleConfig(batch_size=2, max_response_length=LIMIT), inputs, tmp_path, recording)
    assert len(recording.steps) == 2
    assert not (tmp_path / "responses.jsonl").exists()
