"""Which models decode on a cache of fixed size, how many replies at once, and what is kept between two decodes.

A model does so on a GPU, where the library says that it can, and where what comes of it was found to be right. Its
runner (fixed_decoding.py) is kept, graphs and all, where it is small beside what training needs, until the model goes;
a large one is made again each time, which costs some tenths of a second.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedTokenizerBase

from alignment.models.adapters import has_soft_prompt, is_adapted
from alignment.models.device import is_in_four_bits
from alignment.models.recurrent import is_recurrent
from alignment.rollout.batches import Generated
from alignment.rollout.fixed_cache import is_known
from alignment.rollout.fixed_decoding import DecodeRunner
from alignment.rollout.sampling import Numbers, Sampling, sampling_of
from alignment.rollout.trial import TRIED, gap_of, most_gap
from alignment.shared.errors import StageError
from alignment.shared.memory import DRAWING, KEPT_FOR_DECODING

ROOM = 0.5  # of the memory that is free: the rest is for a prompt's activations, and for whoever comes meanwhile

_log = logging.getLogger(__name__)


@dataclass
class DecodeSupport:
    """What was found out about a model, and the runner that is kept for it."""

    token_bytes: float  # of keys and values
    vocabulary: int
    graphs: bool
    kept: DecodeRunner | None = None

    def runner(self, model: Any, rule: Sampling, rows: int, length: int, most: int) -> DecodeRunner:
        """The one that is kept if it serves, else a new one."""
        if self.kept is None or not self.kept.serves(model, rule, rows, length, most):
            self.kept = None  # its memory is free before another is made
            self.kept = DecodeRunner(model, rule, rows, length, most, graphs=self.graphs)
        return self.kept

    def release(self) -> None:
        """After decoding: free what is too large to be kept."""
        if self._held() > KEPT_FOR_DECODING:
            self.kept = None

    def rows_at_once(self, rows: int, length: int) -> int:
        """How many of the replies are decoded together, each `length` tokens with its prompt at most: as many as there
        is room for, one at least, in even parts."""
        room = ROOM * (_free() + self._held()) / (self.token_bytes * length + DRAWING * self.vocabulary)
        parts = -(-rows // max(1, int(room)))
        return -(-rows // parts)

    def _held(self) -> int:
        """Bytes of the cache that is kept, and of what its graphs hold for themselves: the drawing of a token."""
        if self.kept is None:
            return 0
        return self.kept.cache.nbytes + bool(self.kept.graphs) * DRAWING * self.vocabulary * self.kept.rows


_found: WeakKeyDictionary[Any, DecodeSupport | None] = WeakKeyDictionary()


def support_of(model: Any, tokenizer: PreTrainedTokenizerBase) -> DecodeSupport | None:
    """None: the plain loop decodes. Found out once for each model."""
    if model.device.type != "cuda":
        return None
    if model not in _found:
        _found[model] = tried(model, tokenizer)
    return _found[model]


@torch.no_grad()
def tried(model: Any, tokenizer: PreTrainedTokenizerBase) -> DecodeSupport | None:
    """None for a model whose memory is something else, that the library does not vouch for, or that says otherwise."""
    base: Any = model.get_base_model() if is_adapted(model) else model
    if has_soft_prompt(model) or is_recurrent(model) or not is_known(base):
        _log.info("%s decodes in the plain loop: the library vouches for no cache of fixed size", type(base).__name__)
        return None
    runners, was_training = [], model.training

    def decode(prompts: Sequence[Sequence[int]], generator: torch.Generator) -> Generated:
        rule, length = sampling_of(model, tokenizer, 1.0, 1.0), max(map(len, prompts)) + TRIED
        runners.append(DecodeRunner(model, rule, len(prompts), length, TRIED, graphs=False))
        return runners[0].decode(model, TRIED, prompts, Numbers(generator, None))

    try:
        model.eval()
        gap = gap_of(decode, model, tokenizer)
    except torch.OutOfMemoryError:  # no fault of the way of decoding
        raise
    except (StageError, ValueError, TypeError, RuntimeError, AttributeError, LookupError, AssertionError) as error:
        _log.warning("%s decodes in the plain loop: %s", type(base).__name__, error)
        return None
    finally:
        model.train(was_training)
    if not gap <= most_gap(model.device):
        _log.warning("%s decodes in the plain loop: it differs by %.2g nats a token", type(base).__name__, gap)
        return None
    cache = runners[0].cache
    words = base.config.get_text_config().vocab_size
    return DecodeSupport(cache.nbytes / (cache.rows * cache.length), words, graphs=not is_in_four_bits(model))


def _free() -> int:
    """Bytes that this process may still use on the GPU, of which it may have a share."""
    free, total = torch.cuda.mem_get_info()
    reserved = torch.cuda.memory_reserved()
    share = int(torch.cuda.get_per_process_memory_fraction() * total) - reserved
    return min(free, share) + reserved - torch.cuda.memory_allocated()
