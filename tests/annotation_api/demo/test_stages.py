"""What the demo's report says of a stage."""

from __future__ import annotations

from annotation_api.demo.run import stage_of


def test_a_stage_took_what_its_attempts_took_together() -> None:
    """Ten seconds until it was lost, and twenty more; the minute between them, and the wait before, are nobody's."""
    row = {
        "id": "7",
        "result": {"model": "8"},
        "started_at": "2026-06-01T10:00:02Z",
        "finished_at": "2026-06-01T10:01:30Z",
    }
    attempts = [
        {"claimed_at": "2026-06-01T10:01:10Z", "ended_at": "2026-06-01T10:01:30Z"},
        {"claimed_at": "2026-06-01T10:00:00Z", "ended_at": "2026-06-01T10:00:10Z"},
    ]
    assert stage_of("sft", row, attempts) == {"stage": "sft", "job": "7", "model": "8", "seconds": 30.0}
