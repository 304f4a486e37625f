"""Small models for the tests beside this file: `tiny` (made on the spot), and a base model of a toy world."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignment.shared.config import BaseModelConfig
from alignment.shared.events import NullReporter
from alignment.shared.sentence import Sentence
from alignment.toyworld.world import World, build_world, write_world

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: threads cost more than they give models this small


class Recorder(NullReporter):
    """A reporter that remembers, and asks to stop once `stop_after` steps were reported."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.steps: list[Any] = []
        self.notes: list[str] = []
        self.stop_after = stop_after

    def progress(self, progress: Any) -> None:
        self.steps.append(progress)

    def note(self, message: Sentence, *, level: str = "info") -> None:
        self.notes.append(message)

    def cancelled(self) -> bool:
        return self.stop_after is not None and len(self.steps) >= self.stop_after


@pytest.fixture
def recorder() -> Callable[..., Recorder]:
    return Recorder


@pytest.fixture(scope="session")
def world() -> World:
    return build_world(1)


@pytest.fixture(scope="session")
def world_files(world: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_world(world, tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def tiny_base(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model that has seen a little of the world's text: it chats, badly."""
    from alignment.toyworld.base_model import train_base_model

    folder = tmp_path_factory.mktemp("base")
    config = BaseModelConfig(
        hidden_size=32, layers=2, heads=2, vocab_size=512, batch_size=32, steps=150, max_length=96, learning_rate=1e-2
    )
    train_base_model(world.corpus()[:3000], config, folder, NullReporter())
    return folder


@pytest.fixture
def drawn() -> None:
    """For tests that look at the plots of a page."""


@pytest.fixture(autouse=True)
def _plain_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without their plots, unless `drawn`: to draw twelve takes longer than to train a tiny policy."""
    if "drawn" not in request.fixturenames:
        from alignment import plots

        monkeypatch.setattr(plots, "svg", lambda draw, label, height=3.0: f"<svg><title>{label}</title></svg>")


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A policy, a reward model that likes one word, and prompts (small_ppo.py)."""
    from tests.support.alignment import small_ppo

    return small_ppo.write(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One whole run of PPO, pages with their plots, for tests that look at what it left: small_ppo.Finished."""
    from tests.support.alignment import small_ppo

    return small_ppo.finish(small_ppo.write(tmp_path_factory.mktemp("ppo")), compare_prompts=5)
