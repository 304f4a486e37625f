"""When a step is captured, replayed, or taken as it comes; CUDA is a stand-in that counts.

It cannot show that a graph computes what its step does: `python -m tests.gpu.check` does, on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from alignment.rollout import graphs
from alignment.rollout.graphs import Graphs


class FakeCuda:
    """One stream at a time; what is told while one is captured is remembered, not done."""

    def __init__(self) -> None:
        self.stream_now, self.mode, self.capturing = "main", 0, False
        self.refused: Exception | None = None  # what a capture ends with

    def is_available(self) -> bool:
        return True

    def graph_pool_handle(self) -> str:
        return "pool"

    def Stream(self) -> Any:  # torch's name
        return FakeStream("aside")

    def current_stream(self) -> Any:
        return FakeStream(self.stream_now)

    def get_sync_debug_mode(self) -> int:
        return self.mode

    def set_sync_debug_mode(self, mode: int | str) -> None:
        self.mode = {"error": 2}.get(mode, mode)  # type: ignore[call-overload, assignment]

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        before, self.stream_now = self.stream_now, stream.name
        try:
            yield
        finally:
            self.stream_now = before

    @contextmanager
    def graph(self, graph: Any, pool: str, stream: Any, capture_error_mode: str) -> Iterator[None]:
        """As torch's: after a failure the stream of the capture stays."""
        assert (pool, capture_error_mode) == ("pool", "thread_local")
        before, self.stream_now, self.capturing = self.stream_now, stream.name, True
        graph.cuda = self
        try:
            yield
        finally:
            self.capturing = False
        if self.refused:
            raise self.refused
        self.stream_now = before

    class CUDAGraph:
        cuda: Any
        step: Callable[[], None]

        def replay(self) -> None:
            self.step()


class FakeStream:
    def __init__(self, name: str) -> None:
        self.name = name

    def wait_stream(self, other: FakeStream) -> None:
        assert other.name != self.name


class Step:
    """Counts how often it was taken, and where."""

    def __init__(self, cuda: FakeCuda, asks: bool = False) -> None:
        self.cuda, self.asks, self.taken, self.captured = cuda, asks, list[str](), 0

    def __call__(self) -> None:
        if self.cuda.capturing:
            self.captured += 1
            return
        if self.asks and self.cuda.mode == 2:
            raise RuntimeError("called a synchronizing CUDA operation")
        self.taken.append(self.cuda.stream_now)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    fake = FakeCuda()
    graphs._aside.cache_clear()
    for name in ("is_available", "graph_pool_handle", "Stream", "current_stream", "get_sync_debug_mode"):
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    for name in ("set_sync_debug_mode", "stream", "graph", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, getattr(fake, name))
    yield fake
    graphs._aside.cache_clear()


def replays(found: Graphs, step: Step) -> None:
    """What the stand-ins replay."""
    for graph in found._found.values():
        graph.step = lambda: step.taken.append("replayed")  # type: ignore[attr-defined]


def test_the_first_step_of_a_shape_is_taken_aside_then_captured_then_replayed(cuda: FakeCuda) -> None:
    found, step = Graphs(wanted=True), Step(cuda)
    found.run((8, 64), step)
    assert (step.taken, step.captured, len(found)) == (["aside"], 1, 1)
    replays(found, step)
    found.run((8, 64), step)
    assert (step.taken, step.captured, len(found)) == (["aside", "replayed"], 1, 1)
    found.run((4, 64), step)
    assert (step.taken[2:], step.captured, len(found)) == (["aside"], 2, 2)
    assert (cuda.stream_now, cuda.mode) == ("main", 0)


def test_a_step_that_waits_for_the_gpu_is_never_captured(cuda: FakeCuda, caplog: pytest.LogCaptureFixture) -> None:
    found, step = Graphs(wanted=True), Step(cuda, asks=True)
    for _ in range(3):
        found.run((8, 64), step)
    assert (step.taken, step.captured, len(found)) == (["main"] * 3, 0, 0)
    assert (cuda.stream_now, cuda.mode) == ("main", 0)
    assert [record.message for record in caplog.records] == [
        "Decoding goes on without CUDA graphs: called a synchronizing CUDA operation"
    ]


def test_a_capture_that_fails_leaves_steps_as_they_come_on_the_stream_that_was(cuda: FakeCuda) -> None:
    found, step = Graphs(wanted=True), Step(cuda)
    cuda.refused = RuntimeError("CUDA error: operation failed due to a previous error during capture")
    for _ in range(3):
        found.run((8, 64), step)
    assert (step.taken, step.captured, len(found)) == (["aside", "main", "main"], 1, 0)
    assert cuda.stream_now == "main"


def test_where_there_is_no_gpu_or_no_wish_nothing_is_captured(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted, there in ((False, True), (True, False)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        found, step = Graphs(wanted=wanted), Step(cuda)
        found.run((8, 64), step)
        assert (step.taken, step.captured) == (["main"], 0)
