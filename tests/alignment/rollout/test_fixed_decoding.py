"""Decoding in steps of fixed shape against the plain loop: the same numbers, the same tokens. On a CPU, no graphs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from alignment.rollout import fixed_decoding, sampling
from alignment.rollout.batches import Generated
from alignment.rollout.fixed_cache import is_known
from alignment.rollout.fixed_decoding import ASKED_EVERY, DecodeRunner
from alignment.rollout.generation import generate
from alignment.rollout.sampling import Numbers, Sampling
from alignment.rollout.streams import draws_of
from tests.support.alignment import families, tiny

PROMPTS = [[6 + (i * 7 + j * 3) % 20 for j in range(1 + i % 6)] for i in range(20)]
LIMIT, STOP, LENGTH = 30, 2, 36
DRAWS = draws_of(0, 1)
OTHERS = {"mpt", "mamba", "minimax", "falcon_h1"}  # whose attention or memory is something else


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """So short texts, too, are read from the cache at several lengths."""
    monkeypatch.setattr(fixed_decoding, "ALIGNED", 4)


def model_of(family: str = "llama", stops: float = 1.0, **changes: Any) -> Any:
    """Its replies stop now and then."""
    model: Any = families.causal(family, **changes)
    head = model.get_output_embeddings()
    bias = torch.zeros(len(head.weight)) if head.bias is None else head.bias.detach()
    bias[STOP] += stops
    head.bias = torch.nn.Parameter(bias)
    return model


def sampling_of(model: Any, temperature: float = 1.0, top_p: float = 1.0) -> Sampling:
    return sampling.sampling_of(model, tiny.tokenizer(), temperature, top_p)


@torch.no_grad()
def fixed(model: Any, rows: int = len(PROMPTS), runner: DecodeRunner | None = None, **rule: float) -> Generated:
    runner = runner or DecodeRunner(model, sampling_of(model, **rule), rows, LENGTH, LIMIT)
    return runner.decode(model, LIMIT, PROMPTS, Numbers(torch.Generator(), DRAWS(range(len(PROMPTS)), LIMIT)))


def plain(model: Any, **rule: float) -> Generated:
    return generate(
        model, tiny.tokenizer(), PROMPTS, max_new_tokens=LIMIT, generator=torch.Generator(), draws=DRAWS, **rule
    )


def assert_same(found: Generated, expected: Generated) -> None:
    assert torch.equal(found.responses, expected.responses)
    assert torch.equal(found.response_mask, expected.response_mask)
    assert torch.equal(found.finished, expected.finished)
    torch.testing.assert_close(found.logprobs, expected.logprobs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", [name for name in families.FAMILIES if name not in OTHERS])
def test_tokens_are_those_of_the_plain_loop(family: str) -> None:
    model = model_of(family)
    assert is_known(model)
    expected = plain(model)
    assert int(expected.finished.sum()) > 0
    assert len(set(expected.response_mask.sum(dim=1).tolist())) > 5  # rows stop here and there
    assert_same(fixed(model), expected)


@pytest.mark.parametrize("family", sorted(OTHERS))
def test_what_is_no_plain_attention_is_left_to_the_plain_loop(family: str) -> None:
    assert not is_known(families.causal(family))


def test_a_window_that_is_shorter_than_prompt_and_reply_is_kept_to() -> None:
    """Both ways agree with one pass over the whole text, which sees less than one without a window."""
    model = model_of("mistral", stops=-9.0)
    found = fixed(model)
    for row in (5, 11):
        ids = torch.tensor([PROMPTS[row] + found.ids(row)])
        logps = [table.logits[0].log_softmax(-1) for table in (model(ids), model_of("llama", stops=-9.0)(ids))]
        own, windowless = (logp[range(len(PROMPTS[row]) - 1, ids.shape[1] - 1), found.ids(row)] for logp in logps)
        torch.testing.assert_close(found.logprobs[row], own.detach(), atol=1e-4, rtol=1e-4)
        assert (found.logprobs[row] - windowless).abs().max() > 0.1


@pytest.mark.parametrize("rule", [{"temperature": 0.7}, {"top_p": 0.5}, {"temperature": 1.5, "top_p": 0.9}])
def test_temperature_and_nucleus_are_the_same(rule: dict[str, float]) -> None:
    model = model_of("gpt2")
    expected = plain(model, **rule)
    assert_same(fixed(model, **rule), expected)
    assert not torch.equal(expected.responses, plain(model).responses)


def test_steps_become_narrow_as_rows_stop_and_read_as_much_of_the_cache_as_is_written() -> None:
    model = model_of(stops=0.5)
    runner = DecodeRunner(model, sampling_of(model), 32, LENGTH, LIMIT)
    shapes = shapes_of(runner)
    assert_same(fixed(model, runner=runner), plain(model))
    widths, lengths = ([shape[place] for shape in shapes] for place in (0, 1))
    assert sorted(set(widths)) == [8, 16, 32]
    assert widths == sorted(widths, reverse=True)
    assert 1 < len(set(lengths)) <= fixed_decoding.PARTS
    assert lengths == sorted(lengths)


def test_the_steps_end_soon_after_all_have_stopped() -> None:
    model = model_of(stops=1.5)
    runner = DecodeRunner(model, sampling_of(model), 20, LENGTH, LIMIT)
    shapes, longest = shapes_of(runner), fixed(model, runner=runner).responses.shape[1]
    assert longest < LIMIT - ASKED_EVERY
    assert longest - 1 <= len(shapes) < longest - 1 + ASKED_EVERY


def shapes_of(runner: DecodeRunner) -> list[Any]:
    """Of each step that the runner takes from now on."""
    shapes, run = [], runner.graphs.run

    def seen(shape: Any, step: Any) -> None:
        shapes.append(shape)
        run(shape, step)

    runner.graphs.run = seen  # type: ignore[method-assign]
    return shapes


def test_rows_are_kept_by_what_was_written_not_by_what_a_pass_has_shown() -> None:
    """A graph that is replayed shows nothing: the cache's own view is then of an earlier, shorter step."""
    model = model_of(stops=0.5)
    runner = DecodeRunner(model, sampling_of(model), 32, LENGTH, LIMIT)
    run = runner.graphs.run

    def replayed(shape: Any, step: Any) -> None:
        run(shape, step)
        runner.cache.show_step(runner.rows, 1)

    runner.graphs.run = replayed  # type: ignore[method-assign]
    assert_same(fixed(model, runner=runner), plain(model))


def test_a_runner_serves_again_and_remembers_nothing() -> None:
    """Larger than the batch, after longer prompts, with all slots of the cache written."""
    model = model_of()
    runner = DecodeRunner(model, sampling_of(model), 32, LENGTH + 20, LIMIT + 10)
    with torch.no_grad():
        long = [[6 + (i + j) % 20 for j in range(12)] for i in range(32)]
        runner.decode(model, LIMIT + 10, long, Numbers(torch.Generator().manual_seed(1), None))
    assert_same(fixed(model, runner=runner), plain(model))


def test_prompts_are_read_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("gpt2")
    expected = fixed(model)
    monkeypatch.setattr(fixed_decoding, "PREFILL", 18)  # three prompts of six tokens
    passes = []
    model.register_forward_pre_hook(
        lambda module, args, given: passes.append(given["input_ids"].shape), with_kwargs=True
    )
    assert_same(fixed(model), expected)
    assert [shape for shape in passes if shape[1] > 1] == [(3, 6)] * 6 + [(2, 6)]


def test_a_pad_that_is_the_stop_ends_no_reply_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many tokenizers pad with their EOS."""
    model, tokenizer = model_of(), tiny.tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    expected = generate(model, tokenizer, PROMPTS, max_new_tokens=LIMIT, generator=torch.Generator(), draws=DRAWS)
    runner = DecodeRunner(model, Sampling(1.0, 1.0, (STOP,), STOP), 20, LENGTH, LIMIT)
    assert_same(fixed(model, runner=runner), expected)


def test_without_draws_a_seed_gives_the_same_replies() -> None:
    model = model_of()
    runner = DecodeRunner(model, sampling_of(model), 20, LENGTH, LIMIT)
    with torch.no_grad():
        first, again, other = (
            runner.decode(model, LIMIT, PROMPTS, Numbers(torch.Generator().manual_seed(seed), None))
            for seed in (5, 5, 6)
        )
    assert torch.equal(first.responses, again.responses)
    assert not torch.equal(first.responses, other.responses)


def test_the_cache_is_in_the_type_that_attention_multiplies_in() -> None:
    """Rotary embeddings make float32 keys of bfloat16 ones where the weights are float32; values stay as they are."""
    model = model_of()
    runner = DecodeRunner(model, sampling_of(model), 20, LENGTH, LIMIT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fixed(model, runner=runner)
    assert {layer.keys.dtype for layer in runner.cache.layers if layer.keys is not None} == {torch.bfloat16}
    assert {layer.values.dtype for layer in runner.cache.layers if layer.values is not None} == {torch.bfloat16}
    numbers = 2 * 2 * 20 * runner.length * 32 // 2  # keys and values of 2 layers; 2 heads of the 4 have their own
    assert runner.cache.nbytes == 2 * numbers
    row = found.ids(3)
    table = model(torch.tensor([PROMPTS[3] + row])).logits[0].log_softmax(-1)
    exact = table[range(len(PROMPTS[3]) - 1, len(PROMPTS[3]) + len(row) - 1), row]
    assert (found.logprobs[3, : len(row)] - exact).abs().mean() < 0.1


# ---------------------------------------------------------------- what a graph may not do

ASKING = {
    getattr(torch.ops.aten, name)
    for name in ("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "_unique2", "lift_fresh")
}


class Asked(TorchDispatchMode):
    """Notes what would have the host wait for the GPU: a number read, a size that hangs on numbers, a tensor made of
    the host's numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        indices = args[1] if "index" in func.__name__ and len(args) > 1 and isinstance(args[1], list | tuple) else ()
        if func.overloadpacket in ASKING or any(index is not None and index.dtype == torch.bool for index in indices):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def asked_in_steps(runner: DecodeRunner) -> Iterator[list[str]]:
    asked, run = Asked(), runner.graphs.run

    def watched(shape: Any, step: Any) -> None:
        with asked:
            run(shape, step)

    runner.graphs.run = watched  # type: ignore[method-assign]
    yield asked.found


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "bloom", "mistral", "gemma2", "mixtral", "deepseek_v3"])
def test_a_step_asks_the_device_nothing(family: str) -> None:
    model = model_of(family)
    runner = DecodeRunner(model, sampling_of(model, top_p=0.9), 20, LENGTH, LIMIT)
    with asked_in_steps(runner) as asked:
        fixed(model, runner=runner)
    assert asked == []


def test_the_host_looks_every_few_tokens_and_at_the_end() -> None:
    model = model_of(stops=-9.0)  # none stops: 30 tokens
    asked = Asked()
    runner = DecodeRunner(model, sampling_of(model), 20, LENGTH, LIMIT)
    read, seen = runner._read, []

    def prefill(*args: Any) -> None:
        read(*args)
        asked.found.clear()  # what comes before the first step is another matter

    runner._read = prefill  # type: ignore[method-assign]
    with asked:
        seen.append(fixed(model, runner=runner))
    assert int(seen[0].response_mask.sum()) == 20 * LIMIT
    assert asked.found == ["aten._local_scalar_dense.default"] * ((LIMIT - 1) // ASKED_EVERY + 1)
