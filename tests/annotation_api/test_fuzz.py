"""A short run of tests/journey/fuzz_api.py: no request is a fault of ours, and every answer is as documented."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from tests.journey.fuzz_api import Fuzz


def test_no_request_is_a_fault_of_ours_and_every_answer_is_as_documented(module_engine: Engine, tmp_path: Path) -> None:
    fuzz = Fuzz(module_engine, tmp_path)
    fuzz.run(examples=2, start=0)
    assert fuzz.tally.wrong == {}
    assert min(fuzz.tally.sent.values()) > 200
    assert len(fuzz.tally.sent) == 5
    assert {200, 303, 401, 403, 404, 422} <= fuzz.tally.statuses.keys(), fuzz.tally.statuses
