"""The rollout engines: who samples the policy's replies. All have the signature of `generation.generate`.

`generate` decodes on the live weights in this process: on a CPU in a plain loop, the reference for all others, on a GPU
in steps of fixed shape, as CUDA graphs (fixed_decoding.py).
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
from alignment.data.stops import stop_ids
from alignment.models.adapters import is_adapted
from alignment.models.device import has_bfloat16
from alignment.models.library import paged
from alignment.models.sharing import DecodingCopy
from alignment.rollout.batches import Generated
from alignment.rollout.decode_support import support_of
from alignment.rollout.generation import generate
from alignment.rollout.streams import Draws
from alignment.rollout.trial import TRIED, gap_of, most_gap
from alignment.rollout.vllm_engine import VLLM
from alignment.shared.config import PPOConfig, RLOOConfig
from alignment.shared.errors import BadInput, StageError
from alignment.shared.sentence import Sentence

PAGE = 32  # tokens whose keys and values lie together
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

    def decode(prompts: Sequence[Sequence[int]], generator: torch.Generator) -> Generated:
        return engine(model, tokenizer, prompts, max_new_tokens=TRIED, generator=generator, batch_size=len(prompts))

    try:
        gap = gap_of(decode, model, tokenizer) if live._can_set_attn_implementation() else math.inf
    except (StageError, ValueError, RuntimeError, NotImplementedError):  # it has no place for this kind of layer
        gap = math.inf
    if not gap <= most_gap(model.device):
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


class Plain:
    """`generate` on the live weights, or on a GPU on their `DecodingCopy`: float32 weights are twice the bytes for
    every token, to be cast each time.

    There as many replies are decoded at once as there is room for: a step reads all the weights, however many they are.
    """

    def __init__(self) -> None:
        self.copy = DecodingCopy()

    def __call__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        prompts: Sequence[Sequence[int]],
        *,
        max_new_tokens: int,
        batch_size: int = 128,
        **settings: Any,
    ) -> Generated:
        decoding = self.copy.of(model) if self.copies(model) else model
        rows = len(prompts) if support_of(decoding, tokenizer) else batch_size
        return generate(decoding, tokenizer, prompts, max_new_tokens=max_new_tokens, batch_size=rows, **settings)

    def copies(self, model: Any) -> bool:
        """Whether it decodes on a copy."""
        return has_bfloat16(model.device)


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
