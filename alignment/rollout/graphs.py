"""Steps of decoding as CUDA graphs: what took a thousand launches from the host takes one.

A graph does again what was done once, at the same addresses: with the tensors of fixed size that the step reads and
writes, on weights that stay where they are. What it may not do is look at a number on the GPU in order to know what to
do next, as some mixtures of experts and some rotary embeddings do. That is tried out before anything is captured: a
capture that fails half-way leaves PyTorch's allocator in a state of its own.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Hashable

import torch

_log = logging.getLogger(__name__)


class Graphs:
    """The graphs of one set of tensors, one for each shape of the step; all share the memory of what passes through.

    They may do so in any order: nothing that a step leaves lies in that memory.
    """

    def __init__(self, *, wanted: bool) -> None:
        """`wanted`: False to take every step as it comes."""
        self.possible = wanted and torch.cuda.is_available()
        self._found = dict[Hashable, torch.cuda.CUDAGraph]()
        self._pool = torch.cuda.graph_pool_handle() if self.possible else None

    def __len__(self) -> int:
        return len(self._found)

    def run(self, shape: Hashable, step: Callable[[], None]) -> None:
        """Take the step: the first one of its shape as it comes, after which it is captured; then its graph."""
        if graph := self._found.get(shape):
            graph.replay()
        elif not self.possible:
            step()
        elif self._warm(step):
            self._capture(shape, step)
        else:
            step()

    def _warm(self, step: Callable[[], None]) -> bool:
        """Take the step on the stream of captures, and refuse whatever waits for the GPU.

        False where it was refused, before its end: steps move on with their very last operations, so it can be taken
        again.
        """
        stream, mode = _aside(), torch.cuda.get_sync_debug_mode()
        stream.wait_stream(torch.cuda.current_stream())
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.cuda.stream(stream):
                step()
        except RuntimeError as error:
            self._give_up(error)
        finally:
            torch.cuda.set_sync_debug_mode(mode)
            torch.cuda.current_stream().wait_stream(stream)
        return self.possible

    def _capture(self, shape: Hashable, step: Callable[[], None]) -> None:
        """Record the step, which is not taken by that."""
        graph = torch.cuda.CUDAGraph()
        try:
            # The outer context puts the stream back where the inner one, after a failure, does not.
            with (
                torch.cuda.stream(torch.cuda.current_stream()),
                torch.cuda.graph(graph, pool=self._pool, stream=_aside(), capture_error_mode="thread_local"),
            ):
                step()
        except RuntimeError as error:
            self._give_up(error)
        else:
            self._found[shape] = graph

    def _give_up(self, error: RuntimeError) -> None:
        self.possible = False
        _log.warning("Decoding goes on without CUDA graphs: %s", str(error).strip().partition("\n")[0])


@functools.cache
def _aside() -> torch.cuda.Stream:
    """One for all: each stream has a workspace for products, which stays."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]
