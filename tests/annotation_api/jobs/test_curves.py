"""A job's numbers in groups, thinned where they lie: what matters first, nothing left out, no spike lost."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from annotation_api.db.tables import Role
from annotation_api.jobs.curves import FIVE, GROUPS, five, grouped
from annotation_api.jobs.detail_schemas import Series
from annotation_api.jobs.thinning import thin_series


def series(name: str, *points: tuple[int, float | None], phase: str = "ppo") -> Series:
    return Series(phase=phase, name=name, points=list(points))


def test_metrics_stand_in_groups_and_share_an_axis_where_scales_allow() -> None:
    found = [series("kl", (1, 0.1)), series("heldout_kl", (2, 0.2)), series("score", (1, 3.0))]
    found += [series("never_heard_of", (1, 7.0)), series("response_length", (1, 20.0)), series("gone", (1, None))]
    shown = [(group.title, [[one.name for one in chart.series] for chart in group.charts]) for group in grouped(found)]
    assert shown == [
        ("Reward and KL", [["ppo: score"], ["ppo: kl", "ppo: heldout_kl"]]),
        ("Language", [["ppo: response_length"]]),
        ("Other numbers", [["ppo: never_heard_of"]]),
    ]


def test_each_metric_has_one_place_and_phases_have_charts_of_their_own() -> None:
    names = [name for charts in GROUPS.values() for chart in charts for name in chart]
    assert len(names) == len(set(names))
    groups = grouped([series("loss", (1, 1.0), phase="train"), series("loss", (1, 2.0), phase="member 2")])
    assert [len(group.charts) for group in groups] == [2]


def test_the_five_that_matter_are_the_results_and_else_the_newest() -> None:
    groups = grouped([series("heldout_kl", (1, 0.1), (5, 0.5)), series("finished_share", (5, 0.9))])
    assert five(Stage.PPO, groups, {}) == [("heldout_kl", 0.5, False), ("finished_share", 0.9, True)]
    assert five(Stage.PPO, groups, {"heldout_kl": 0.4, "heldout_score": 2.0})[:2] == [
        ("heldout_score", 2.0, False),
        ("heldout_kl", 0.4, False),
    ]
    assert five(Stage.SAMPLE, grouped([series("speed", (1, 3.0))]), {}) == [("speed", 3.0, False)]
    assert all(len(names) == 5 for names in FIVE.values())


FILL = """
INSERT INTO metrics (job_id, epoch, phase, step, name, value)
SELECT :job, 1, 'ppo', step, 'metric ' || name, CASE WHEN step = 777 AND name = 1 THEN 99 ELSE step END
FROM generate_series(1, :steps) step, generate_series(1, :names) name
"""


def test_thinning_keeps_the_ends_and_every_spike(make: Any, session: Session) -> None:
    job = make.job()
    session.execute(text(FILL), {"job": job.id, "steps": 5000, "names": 2})
    session.execute(
        text("UPDATE metrics SET value = -50 WHERE step = 3001 AND name = 'metric 2' AND job_id = :job"),
        {"job": job.id},
    )
    one, two = thin_series(session, job.id, buckets=20)
    assert len(one.points) <= 60
    assert one.points[0] == (1, 1.0)
    assert one.points[-1] == (5000, 5000.0)
    assert (777, 99.0) in one.points
    assert (3001, -50.0) in two.points
    assert [found.name for found in thin_series(session, job.id, ["metric 2"])] == ["metric 2"]


def test_few_points_are_all_there_the_latest_attempts_and_finite(make: Any, session: Session) -> None:
    job = make.job()
    rows = [(1, 1, 5.0), (1, 2, 6.0), (2, 2, 7.0), (2, 3, None)]
    for epoch, step, value in rows:
        session.execute(
            text(
                "INSERT INTO metrics (job_id, epoch, phase, step, name, value) VALUES (:j, :e, 'train', :s, 'loss', :v)"
            ),
            {"j": job.id, "e": epoch, "s": step, "v": value},
        )
    (found,) = thin_series(session, job.id)
    assert found.points == [(1, 5.0), (2, 7.0)]


@pytest.mark.parametrize("rows", [100_000])
def test_a_hundred_thousand_rows_become_a_small_answer(as_: Any, make: Any, session: Session, rows: int) -> None:
    job = make.job()
    session.execute(text(FILL), {"job": job.id, "steps": rows // 25, "names": 25})
    answer = as_(Role.REVIEWER).get(f"/jobs/{job.id}/curves")
    assert answer.status_code == 200
    assert len(answer.content) < 600_000
    charts = [chart for group in answer.json()["groups"] for chart in group["charts"]]
    assert len(charts) == 25
    assert all(len(one["points"]) <= 600 for chart in charts for one in chart["series"])
