"""Decoding in steps of fixed shape: against the plain loop, as graphs, and how many replies at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from alignment.data.batch import Sequences
from alignment.models.forward import response_logprobs
from alignment.models.load import load_causal_lm
from alignment.rollout import plain_decoding
from alignment.rollout.batches import Generated
from alignment.rollout.engines import Plain
from alignment.rollout.fixed_decoding import DecodeRunner
from alignment.rollout.generation import generate
from alignment.rollout.sampling import Numbers, Sampling
from alignment.rollout.streams import draws_of
from tests.gpu.bench import Bench
from tests.gpu.tiny_checks import NOISE, PAD, largest_gap
from tests.support.alignment import tiny

PROMPTS = [[6 + (i * 7 + j * 3) % 20 for j in range(1 + i % 6)] for i in range(32)]
LIMIT, LENGTH = 30, 36
RULE = Sampling(1.0, 0.95, (2,), PAD)


def fixed_cache(bench: Bench) -> dict[str, Any]:
    """Steps of fixed shape against the plain loop, the same draws: in float32 the same tokens; in the type that decodes
    here, log-probabilities near those of our forward pass."""
    model: Any = _stopping(bench)
    runners, plain = [], None
    with exactly():
        plain = plain_decoding.decode(model, LIMIT, RULE, PROMPTS, _source(bench))
        runners.append(DecodeRunner(model, RULE, 40, LENGTH, LIMIT, graphs=False))
        found = runners[0].decode(model, LIMIT, PROMPTS, _source(bench))
    assert torch.equal(found.responses, plain.responses)
    assert largest_gap(found.logprobs, plain.logprobs) < 1e-4
    frozen = load_causal_lm(bench.folders / "sft", tiny.tokenizer(), trained=False, device=bench.device)
    runner = DecodeRunner(frozen, RULE, 40, LENGTH, LIMIT, graphs=False)
    said = runner.decode(frozen, LIMIT, PROMPTS, _source(bench))
    rows = Sequences.join(PROMPTS, [said.ids(i) for i in range(32)], said.finished.tolist(), PAD).to(bench.device)
    gap = (response_logprobs(frozen, rows, 1.0) - said.logprobs)[rows.response_mask].abs()
    assert float(gap.mean()) < NOISE
    cache = runner.cache.layers[0].keys
    assert cache is not None
    return {"float32": largest_gap(found.logprobs, plain.logprobs), "mean": float(gap.mean()), "type": str(cache.dtype)}


def graphs(bench: Bench) -> dict[str, Any]:
    """Steps as graphs against the same steps as they come: first captured on the way, then replayed alone, rows that
    have stopped leaving at the same places."""
    model = _stopping(bench)
    ways = [DecodeRunner(model, RULE, 40, LENGTH, LIMIT, graphs=wanted) for wanted in (False, True, True)]
    ways[2] = ways[1]
    eager, first, again = (runner.decode(model, LIMIT, PROMPTS, _source(bench)) for runner in ways)
    said = {"graphs": len(ways[1].graphs), "first": _apart(eager, first), "again": _apart(eager, again)}
    if bench.device.type == "cuda":
        assert ways[1].graphs.possible, "a Llama's step was refused"
        assert said["graphs"] > 2
    assert max(said["first"], said["again"]) < NOISE
    return said


def decode_width(bench: Bench) -> dict[str, Any]:
    """How many replies are decoded at once where 256 are asked for and a batch has 4."""
    engine, model = Plain(), _stopping(bench)
    sizes: list[int] = []
    with patch("alignment.rollout.engines.generate", _noting(sizes)):
        said = engine(
            model, tiny.tokenizer(), [[3, 10, 7]] * 256, max_new_tokens=8, batch_size=4, generator=_generator(bench)
        )
    assert said.responses.shape[0] == 256
    assert sizes[0] == (4 if bench.device.type == "cpu" else 256)
    return {"rows": sizes[0]}


def _noting(sizes: list[int]) -> Any:
    def noted(*given: Any, **settings: Any) -> Any:
        sizes.append(settings["batch_size"])
        return generate(*given, **settings)

    return noted


@contextmanager
def exactly() -> Iterator[None]:
    """Float32 products all through."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with patch("alignment.models.device.has_bfloat16", lambda device: False), torch.no_grad():
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def _stopping(bench: Bench) -> Any:
    """A float32 policy of which some replies stop at once, and some never."""
    model: Any = load_causal_lm(bench.folders / "sft", tiny.tokenizer(), trained=True, device=bench.device).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "embed" not in name:
                weight.mul_(4)
        bias = torch.zeros(len(model.lm_head.weight), device=bench.device)
        bias[2] = 0.5
        model.lm_head.bias = torch.nn.Parameter(bias)
    return model.requires_grad_(False)


def _generator(bench: Bench) -> torch.Generator:
    return torch.Generator(bench.device).manual_seed(0)


def _source(bench: Bench) -> Numbers:
    return Numbers(_generator(bench), draws_of(0, 1)(range(32), LIMIT).to(bench.device))


def _apart(one: Generated, other: Generated) -> float:
    """Of the replies that agree in their tokens, which most must, the largest difference."""
    assert one.responses.shape == other.responses.shape
    same = (one.responses == other.responses).all(dim=1)
    assert float(same.float().mean()) > 0.9
    return largest_gap(one.logprobs[same], other.logprobs[same])


CHECKS = {"fixed cache": fixed_cache, "graphs": graphs, "decode width": decode_width}
