"""Replies by vLLM in this process, its weights set to the policy's before each rollout.

Written against vLLM 0.33 and tested with a stand-in: that release demands another torch than this project's.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from alignment.data.stops import stop_ids
from alignment.models.device import has_bfloat16
from alignment.rollout.batches import Generated
from alignment.rollout.streams import Draws

SHARE = 0.3  # of the GPU's memory; the rest is for training


class VLLM:
    def __init__(self) -> None:
        self._llm: Any = None

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
        from vllm import SamplingParams

        stops = stop_ids(model, tokenizer)
        llm = self._synced(model, batch_size)
        settings = SamplingParams(
            temperature=temperature,
            max_tokens=max_new_tokens,
            stop_token_ids=stops,
            logprobs=0,  # that of the token drawn, no others
            seed=int(torch.randint(2**31, (1,), generator=generator, device=generator.device)),
            detokenize=False,
        )
        asked = [{"prompt_token_ids": list(ids)} for ids in prompts]
        replies = [output.outputs[0] for output in llm.generate(asked, settings, use_tqdm=False)]
        rows = [list(reply.token_ids) for reply in replies]
        logprobs = [
            [said[token].logprob for said, token in zip(reply.logprobs, reply.token_ids, strict=True)]
            for reply in replies
        ]
        return Generated.of(rows, logprobs, tokenizer.pad_token_id, stops, model.device)

    def _synced(self, model: Any, batch_size: int) -> Any:
        """The engine with the policy's weights; what it cached under older ones is forgotten."""
        if self._llm is None:
            self._llm = _start(model, batch_size)
        weights = list(model.state_dict().items())
        self._llm.apply_model(lambda inner: inner.load_weights(iter(weights)))
        self._llm.reset_prefix_cache()
        return self._llm


def _start(model: Any, batch_size: int) -> Any:
    """vLLM on the model's architecture, without weights yet."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # in this process: weights are handed over, not sent
    from vllm import LLM

    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        return LLM(
            model=folder,
            load_format="dummy",
            skip_tokenizer_init=True,
            dtype="bfloat16" if has_bfloat16(model.device) else "float16",
            max_num_seqs=batch_size,
            gpu_memory_utilization=SHARE,
            logprobs_mode="processed_logprobs",  # under the temperature, as ours
        )
