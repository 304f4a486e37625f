"""The rollout engines: who samples the policy's replies. All have the signature of `generation.generate`.

`generate` is a plain decoding loop on the live weights, the reference for the others and the fastest on a CPU.
`continuous` is transformers' continuous batching in this process: a slot that has stopped is filled by the next prompt,
prompts that begin alike share their cache, and on a GPU with flash attention the steps are CUDA graphs. `vllm` is for
those who have it: it does not come with the project, whose torch is another than the one that vLLM 0.33 demands.

An engine's arithmetic is not that of our own forward pass, nor does it need to be: its log-probabilities of what it
drew are kept, those of our forward pass are what PPO works with, and the gap between them is logged and corrected
(losses.importance_weights).
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from alignment.cpu import packing
from alignment.data import chat
from alignment.data.batch import Sequences
from alignment.data.stops import stop_ids
from alignment.models.adapters import is_adapted
from alignment.models.device import has_bfloat16
from alignment.models.forward import response_logprobs
from alignment.models.library import paged
from alignment.models.sharing import DecodingCopy
from alignment.rollout.generation import Generated, generate
from alignment.rollout.streams import Draws
from alignment.rollout.vllm_engine import VLLM
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.shared.errors import BadInput, StageError
from alignment.shared.records import Prompt
from alignment.shared.sentence import Sentence

PAGE = 32  # tokens whose keys and values lie together
TRIED = 8  # tokens of the replies by which an engine is tried
MOST_GAP = {torch.float32: 1e-3, torch.bfloat16: 0.1}  # nats a token; bfloat16 alone makes a few hundredths
PREFILL = 2048  # most prompt tokens that are read in one step


class Engine(Protocol):
    """One response to each prompt, with the log-probability that the engine gave each token.

    Those that draw by themselves are seeded by `generator` and have no use for `draws`.
    """

    def __call__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        generator: torch.Generator,
        temperature: float = 1.0,
        batch_size: int = 128,
        draws: Draws | None = None,
    ) -> Generated: ...


def engine_of(config: PPOConfig | RLOOConfig) -> Engine:
    """The engine that the settings name. BadInput for one that is not installed."""
    if config.rollout_engine == "vllm":
        if importlib.util.find_spec("vllm") is None:
            raise BadInput(
                Sentence("no-vllm", "rollout_engine is 'vllm', but vLLM is not installed."),
                Sentence(
                    "no-vllm-next",
                    "Set rollout_engine to 'continuous' or 'generate', or install vLLM by hand with the torch it "
                    "needs.",
                ),
            )
        return VLLM()
    return Continuous() if config.rollout_engine == "continuous" else Plain()


@torch.no_grad()
def require_same_numbers(engine: Engine, model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse continuous batching of a model whose attention it does not compute: tried out, not guessed.

    It replaces the attention of a model, where that can be replaced; BLOOM, GPT-J, MPT and others have one of their
    own, which then sees other tokens than it should. Raises BadInput.
    """
    if not isinstance(engine, Continuous):
        return
    live: Any = model.get_base_model() if is_adapted(model) else model
    try:
        gap = _gap(engine, model, tokenizer) if live._can_set_attn_implementation() else math.inf
    except (StageError, ValueError, RuntimeError, NotImplementedError):  # it has no place for this kind of layer
        gap = math.inf
    if not gap <= MOST_GAP[torch.bfloat16 if has_bfloat16(model.device) else torch.float32]:
        told = (
            Sentence("engine-unknown-attention", "does not know its attention")
            if gap == math.inf
            else Sentence("engine-differs", "differs from it by %(gap)s nats a token", gap=f"{gap:.2f}")
        )
        raise BadInput(
            Sentence(
                "engine-unfit",
                "rollout_engine 'continuous' cannot sample from %(name)s: it %(told)s.",
                name=type(live).__name__,
                told=told,
            ),
            Sentence("engine-generate", "Set rollout_engine to 'generate'."),
        )


def _gap(engine: Engine, model: Any, tokenizer: PreTrainedTokenizerBase) -> float:
    """Mean difference of the log-probabilities that the engine and our forward pass give to a few replies."""
    prompts = [chat.prompt_ids(tokenizer, Prompt.from_text(text)) for text in ("Hello?", "What is this, and why?")]
    source = torch.Generator(model.device).manual_seed(0)
    said = engine(model, tokenizer, prompts, max_new_tokens=TRIED, generator=source, batch_size=2)
    rows = [said.ids(row) for row in range(len(prompts))]
    joined = Sequences.join(prompts, rows, said.finished.tolist(), tokenizer.pad_token_id).to(model.device)
    gaps = (response_logprobs(model, joined, 1.0) - said.logprobs)[joined.response_mask].abs()
    return float(gaps.mean())


class Plain:
    """`generate` on the live weights, or on a GPU on their `DecodingCopy`: float32 weights are twice the bytes for
    every token, to be cast each time."""

    def __init__(self) -> None:
        self._copy = DecodingCopy()

    def __call__(self, model: Any, *args: Any, **settings: Any) -> Generated:
        return generate(self._copy.of(model) if has_bfloat16(model.device) else model, *args, **settings)


class Continuous:
    """Transformers' continuous batching on the live weights, or on a GPU on their `DecodingCopy`."""

    def __init__(self) -> None:
        self._copy = DecodingCopy()

    def __call__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        generator: torch.Generator,
        temperature: float = 1.0,
        batch_size: int = 128,
        draws: Draws | None = None,
    ) -> Generated:
        stops = stop_ids(model, tokenizer)
        settings = GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=True,
            temperature=temperature,
            top_k=0,  # all tokens: 50 is the library's default
            max_new_tokens=max_new_tokens,
            eos_token_id=stops,
            pad_token_id=tokenizer.pad_token_id,
        )
        pages = -(-(max(map(len, prompts)) + max_new_tokens) // PAGE) + 1
        batching = paged(
            PAGE,
            num_blocks=pages * min(batch_size, len(prompts)),
            max_batch_tokens=max(PREFILL, batch_size),
            max_requests_per_batch=batch_size,
            return_logprobs=True,
            seed=int(torch.randint(2**31, (1,), generator=generator, device=generator.device)),
        )
        was_training = model.training
        try:
            runner = self._runner(model)
            with packing.disabled(runner):
                found = runner.generate_batch([list(ids) for ids in prompts], settings, batching)
        finally:
            model.train(was_training)
        replies = list(found.values())
        if len(replies) != len(prompts) or any(reply.error for reply in replies):
            cause = next((str(reply.error) for reply in replies if reply.error), "replies are missing")
            raise StageError(
                Sentence("engine-failed", "Continuous batching failed: %(cause)s.", cause=cause),
                Sentence("other-engine", "Use another rollout_engine."),
            )
        rows = [reply.generated_tokens for reply in replies]
        return Generated.of(rows, [reply.logprobs for reply in replies], tokenizer.pad_token_id, stops, model.device)

    def _runner(self, model: Any) -> Any:
        """The model that decodes. The library decodes in a thread of its own, out of reach of `autocast`."""
        live: Any = model.get_base_model() if is_adapted(model) else model  # adapters are inside it
        return self._copy.of(live) if has_bfloat16(live.device) else live
