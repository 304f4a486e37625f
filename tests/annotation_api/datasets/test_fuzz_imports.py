"""Mutated files: a few on every run, 20,000 in the deep tier."""

from __future__ import annotations

import pytest

from tests.hostile.fuzz_imports import run

MOST_MB = 1500  # of this whole test process


def test_a_few_mutated_files() -> None:
    assert run(400, seed=1, out=None)["faults"] == {}


@pytest.mark.deep(reason="20,000 files take a minute, and the few above find most faults")
def test_many_mutated_files() -> None:
    told = run(20_000, seed=2, out=None)
    print(told)
    assert told["faults"] == {}
    assert told["peak_mb"] < MOST_MB
