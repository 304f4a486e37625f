"""Which models decode in steps of fixed shape, on a GPU that is pretended; what is kept, and how many rows at once."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import peft  # noqa: F401  # what is imported must be there before a GPU is pretended
import pytest
import torch

from alignment.models.adapters import add_adapters
from alignment.models.sharing import DecodingCopy
from alignment.rollout import decode_support, engines, fixed_decoding
from alignment.rollout.decode_support import DecodeSupport, support_of
from alignment.rollout.engines import Plain
from alignment.rollout.fixed_cache import FixedLayer
from alignment.rollout.generation import generate
from alignment.shared.config import LoRAConfig
from tests.support.alignment import families, tiny
from tests.support.alignment.pretence import pretended_gpu

PROMPTS = [[6 + (i * 7 + j * 3) % 20 for j in range(1 + i % 6)] for i in range(12)]
LIMIT = 10


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What earlier tests found out is not known."""
    monkeypatch.setattr(decode_support, "_found", type(decode_support._found)())


@pytest.fixture
def gpu() -> Iterator[None]:
    with pretended_gpu():
        yield


def replies(model: Any, seed: int = 0, rows: int = len(PROMPTS), **options: Any) -> Any:
    source = torch.Generator().manual_seed(seed)
    return generate(model, tiny.tokenizer(), PROMPTS[:rows], max_new_tokens=LIMIT, generator=source, **options)


def runner_of(model: Any) -> fixed_decoding.DecodeRunner | None:
    found = support_of(model, tiny.tokenizer())
    assert found is not None
    return found.kept


def test_on_a_cpu_the_plain_loop_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_support, "tried", None)  # nobody asks
    assert support_of(tiny.causal(), tiny.tokenizer()) is None
    replies(tiny.causal())


def test_on_a_gpu_a_model_is_tried_once_and_its_runner_is_kept(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, tried = [], decode_support.tried
    monkeypatch.setattr(decode_support, "tried", lambda *given: tries.append(given) or tried(*given))
    model = tiny.causal().train()
    replies(model)
    runner = runner_of(model)
    replies(model, seed=1)
    assert runner is not None
    assert runner_of(model) is runner
    assert len(tries) == 1
    assert model.training


@pytest.mark.parametrize("family", ["mamba", "falcon_h1", "mpt"])
def test_what_is_no_plain_attention_is_left_to_the_plain_loop(gpu: None, family: str) -> None:
    model = families.causal(family)
    assert support_of(model, tiny.tokenizer()) is None
    replies(model, rows=2)


def test_a_model_with_adapters_decodes_so_too(gpu: None) -> None:
    model = add_adapters(tiny.causal(), LoRAConfig(rank=2), "CAUSAL_LM", 0)
    replies(model)
    assert runner_of(model) is not None


@pytest.mark.parametrize("wrong", ["numbers", "error"])
def test_a_model_that_says_otherwise_there_is_left_to_the_plain_loop(
    gpu: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    def update(layer: FixedLayer, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if wrong == "error":
            raise TypeError("no such layer")
        found, held = own(layer, keys, values)
        return found, -4 * held

    own = FixedLayer.update
    monkeypatch.setattr(FixedLayer, "update", update)
    model = families.causal("llama")
    assert support_of(model, tiny.tokenizer()) is None
    assert "LlamaForCausalLM decodes in the plain loop" in caplog.text
    replies(model)


def test_a_large_runner_is_not_kept(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.causal()
    replies(model)
    runner = runner_of(model)
    assert runner is not None
    monkeypatch.setattr(decode_support, "KEPT_FOR_DECODING", runner.cache.nbytes)
    replies(model)
    assert runner_of(model) is runner
    monkeypatch.setattr(decode_support, "KEPT_FOR_DECODING", runner.cache.nbytes - 1)
    replies(model)
    assert runner_of(model) is None


def test_a_runner_goes_with_its_model(gpu: None) -> None:
    model = tiny.causal()
    replies(model)
    assert len(decode_support._found) == 1
    del model
    gc.collect()
    assert len(decode_support._found) == 0


def test_a_runner_goes_when_the_weights_move_and_stays_when_they_learn(gpu: None) -> None:
    model = tiny.causal()
    copy = DecodingCopy()
    replies(copy.of(model))
    runner = runner_of(copy.of(model))
    with torch.no_grad():
        model.lm_head.weight.add_(1.0)
    replies(copy.of(model))
    assert runner_of(copy.of(model)) is runner
    moved: Any = copy.of(model)
    moved.lm_head.weight.data = moved.lm_head.weight.data.clone()
    replies(moved)
    assert runner_of(moved) is not runner


@pytest.mark.parametrize("other", [{"max_new_tokens": 11}, {"temperature": 0.5}, {"top_p": 0.9}, "rows", "length"])
def test_another_runner_where_one_does_not_serve(gpu: None, other: Any) -> None:
    model = tiny.causal()
    replies(model)
    runner = runner_of(model)
    prompts = {"rows": [*PROMPTS, [7]], "length": [*PROMPTS[:11], [7] * 60]}.get(str(other), PROMPTS)
    settings = {"max_new_tokens": LIMIT} | (other if isinstance(other, dict) else {})
    generate(model, tiny.tokenizer(), prompts, generator=torch.Generator(), **settings)
    assert runner_of(model) is not runner


def test_rows_at_once_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000,000 bytes, of which half are used; a text of 100 tokens has 100 * 64 bytes, and 50 words * 72 bytes while
    a token is drawn: 500,000 / 10,000 = 50."""
    monkeypatch.setattr(decode_support, "_free", lambda: 1_000_000)
    assert DecodeSupport(token_bytes=64, vocabulary=50, graphs=True).rows_at_once(1000, 100) == 50
    assert DecodeSupport(token_bytes=64, vocabulary=50, graphs=True).rows_at_once(60, 100) == 30  # two even parts
    assert DecodeSupport(token_bytes=64, vocabulary=50, graphs=True).rows_at_once(49, 100) == 49
    assert DecodeSupport(token_bytes=64e9, vocabulary=50, graphs=True).rows_at_once(1000, 100) == 1


def test_a_token_has_two_layers_of_keys_and_values_of_32_numbers(gpu: None) -> None:
    found = support_of(tiny.causal(), tiny.tokenizer())
    assert found is not None
    assert found.token_bytes == 2 * 2 * 32 * 2  # in bfloat16, as attention multiplies them
    assert found.vocabulary == len(tiny.tokenizer())


def test_free_is_what_the_process_may_still_take_and_what_it_does_not_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 80 GB it may have half and has 30, of which it uses 20: 10 and 10. Where the driver has 6 left: 6 and 10."""
    said = {"memory_reserved": 30, "memory_allocated": 20, "get_per_process_memory_fraction": 0.5}
    for name, value in said.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    for left, free in ((50, 20), (6, 16)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda left=left: (left, 80))
        assert decode_support._free() == free


def test_an_engine_decodes_as_many_rows_as_there_is_room_for(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(
        engines, "generate", lambda *args, **options: sizes.append(options["batch_size"]) or generate(*args, **options)
    )
    model, tokenizer, engine = tiny.causal(), tiny.tokenizer(), Plain()
    settings: Any = {"max_new_tokens": LIMIT, "generator": torch.Generator(), "batch_size": 4}
    engine(model, tokenizer, PROMPTS, **settings)
    assert sizes == [12]  # whatever `batch_size` is


@pytest.mark.parametrize("fewer", [0, 1])
def test_no_more_rows_are_decoded_at_once_than_there_is_room_for(
    gpu: None, monkeypatch: pytest.MonkeyPatch, fewer: int
) -> None:
    model, done = tiny.causal(), list[int]()
    found = support_of(model, tiny.tokenizer())
    assert found is not None
    row = found.token_bytes * (max(map(len, PROMPTS)) + LIMIT) + 72 * found.vocabulary
    monkeypatch.setattr(decode_support, "_free", lambda: int(2 * row * (12.5 - fewer)))  # for 12, or 11: two times six
    replies(model, on_batch=done.append)
    assert done == [[12], [6, 6]][fewer]


def test_what_is_kept_counts_as_free_and_with_what_graphs_hold(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.causal()
    replies(model)
    found, runner = support_of(model, tiny.tokenizer()), runner_of(model)
    assert found is not None
    assert runner is not None
    monkeypatch.setattr(decode_support, "_free", lambda: 0)
    row = found.token_bytes * 30 + 72 * found.vocabulary
    room = int(runner.cache.nbytes / 2 / row)
    assert room > 1
    assert found.rows_at_once(room, 30) == room
    assert found.rows_at_once(room + 1, 30) <= room
    monkeypatch.setattr(runner, "graphs", [None])  # one that was captured
    monkeypatch.setattr(
        decode_support, "KEPT_FOR_DECODING", runner.cache.nbytes + 72 * found.vocabulary * runner.rows - 1
    )
    found.release()
    assert found.kept is None


def test_a_lack_of_memory_is_no_reason_for_the_plain_loop(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(decode_support, "gap_of", full)
    with pytest.raises(torch.OutOfMemoryError):
        support_of(tiny.causal(), tiny.tokenizer())
