"""How often people prefer a policy in training: by hand, and from what they said."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.orm import Session

from annotation_api.db.tables import Role
from annotation_api.jobs.comparison.jobs import people_of
from annotation_api.jobs.wins import LOSS, TIE, WIN, Comparison, preference, win_rates
from tests.support.evaluations import BEFORE, evaluated, prefers, running_ppo

As = Callable[..., TestClient]


def said(*judgements: float, update: int = 8, identical: bool = False, waits: bool = False) -> Comparison:
    return Comparison(update, identical, 2.0, 1.0, 0.5, waits, judgements)


def test_a_ranking_of_two_is_a_win_a_tie_or_a_loss() -> None:
    assert preference([["ours"], ["theirs"]], "ours") == 1.0
    assert preference([["theirs"], ["ours"]], "ours") == 0.0
    assert preference([["theirs", "ours"]], "ours") == 0.5


def test_each_prompt_counts_once_however_many_people_judged_it() -> None:
    """(1 + 1/2) / 2 = 0.75; identical: 0.5; 0: together 1.25 over three prompts. What nobody has judged is left out."""
    (row,) = win_rates([said(WIN, TIE), said(identical=True), said(LOSS, waits=True), said(waits=True)])
    assert row.rate == pytest.approx(1.25 / 3)
    assert (row.prompts, row.judged, row.identical, row.waiting) == (4, 2, 1, 2)
    assert (row.wins, row.ties, row.losses) == (1, 1, 1)
    assert (row.score, row.score_before, row.kl) == (2.0, 1.0, 0.5)


def test_the_interval_is_over_prompts() -> None:
    """Two prompts, one won and one lost, however many judged each: Wilson's interval of one in two."""
    for people in (1, 10):
        (row,) = win_rates([said(*[WIN] * people), said(*[LOSS] * people)])
        assert (row.rate, row.low, row.high) == (0.5, pytest.approx(0.0945, abs=1e-4), pytest.approx(0.9055, abs=1e-4))
    (row,) = win_rates([said(WIN)] * 30 + [said(LOSS)] * 10)
    assert row.low is not None
    assert row.high is not None
    assert row.low == pytest.approx(0.75 - 1.96 * (0.75 * 0.25 / 40) ** 0.5, abs=0.03)
    assert row.high == pytest.approx(0.75 + 1.96 * (0.75 * 0.25 / 40) ** 0.5, abs=0.03)


def test_unanimous_people_leave_a_doubt() -> None:
    """Three wins of three: 3 / (3 + 1.96^2) = 0.4385. One of one: 1 / (1 + 1.96^2) = 0.2065."""
    three, one = win_rates([said(WIN)] * 3 + [said(WIN, update=10)])
    assert (three.rate, three.low, three.high) == (1.0, pytest.approx(0.4385, abs=1e-4), 1.0)
    assert (one.rate, one.low, one.high) == (1.0, pytest.approx(0.2065, abs=1e-4), 1.0)


def test_nothing_is_known_before_somebody_judged() -> None:
    """Nobody is asked about identical replies: alone they are no answer, and give no interval."""
    waiting, same = win_rates([said(waits=True), said(identical=True), *[said(identical=True, update=9)] * 6])
    assert (waiting.update, waiting.rate, waiting.low, waiting.high) == (8, None, None, None)
    assert (same.update, same.identical, same.judged) == (9, 6, 0)
    assert (same.rate, same.low, same.high) == (None, None, None)


def test_a_policy_that_nobody_judged_has_no_win_rate_anywhere(
    as_: As, browser_of: Any, make: Any, session: Session
) -> None:
    """Not in REST, not on the page, not among the numbers by which models are listed, compared and promoted."""
    job = running_ppo(session, make)
    evaluated(session, job, 8, BEFORE)  # word for word what the SFT policy says
    (row,) = wins(as_(Role.REVIEWER), job)
    assert (row["identical"], row["judged"]) == (3, 0)
    assert (row["rate"], row["low"], row["high"]) == (None, None, None)
    assert people_of(session, job) == {}
    html = browser_of(Role.REVIEWER).get(f"/jobs/{job.id}").text
    assert "Human win rate <b>" not in html
    assert '<td class="n">–</td><td class="n">–</td><td class="n">0, 0, 0</td>' in html


def test_scores_that_are_no_numbers_are_left_out() -> None:
    broken = Comparison(8, False, None, 1.0, None, False, ())
    (row,) = win_rates([broken, said()])
    assert (row.score, row.score_before, row.kl) == (2.0, 1.0, 0.5)
    assert win_rates([broken])[0].score is None


# ---------------------------------------------------------------- from the tables


def wins(client: TestClient, job: Any) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/jobs/{job.id}/win_rate")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_what_people_say_now_counts(as_: As, make: Any, session: Session) -> None:
    """One task is won by both people, then one of them corrects to a tie; one is lost; one has identical replies."""
    job = running_ppo(session, make, make.project(overlap=2))
    first, second = evaluated(session, job, 8, ("on the hill", "the miller", "a rose"), score=3.0)
    evaluated(session, job, 16, ("at sea",), score=4.0)
    client = as_(Role.REVIEWER)
    asked = wins(client, job)
    assert [(row["update"], row["score"], row["score_before"]) for row in asked] == [(8, 3.0, 1.0), (16, 4.0, 1.0)]
    assert [(row["rate"], row["judged"], row["identical"], row["waiting"]) for row in asked] == [
        (None, 0, 1, 2), (None, 0, 0, 1),
    ]  # fmt: skip

    make.submission(first, prefers(session, first, 8))
    old = make.submission(first, prefers(session, first, 8))
    make.submission(second, prefers(session, second, 0))
    first.judged, second.judged = 2, 1
    session.flush()
    row = wins(client, job)[0]
    assert (row["wins"], row["ties"], row["losses"]) == (2, 0, 1)
    assert row["rate"] == pytest.approx((1 + 0 + 0.5) / 3)

    make.submission(first, [[0, 1]], supersedes=old.id, assignment_id=old.assignment_id)
    row, later = wins(client, job)
    assert (row["wins"], row["ties"], row["losses"], row["judged"], row["waiting"]) == (1, 1, 1, 2, 1)
    assert row["rate"] == pytest.approx((0.75 + 0 + 0.5) / 3)
    # Mean 5/12 of three, its variance 0.2917 / 9: 1.96 / 2.2805 sqrt(0.0324 + 0.1067) = 0.3206 about 0.4635.
    assert (row["low"], row["high"]) == pytest.approx((0.1429, 0.7840), abs=1e-4)
    assert (later["rate"], later["waiting"]) == (None, 1)


def test_other_jobs_have_no_evaluations(as_: As, make: Any, session: Session) -> None:
    project = make.project()
    job, other = running_ppo(session, make, project), running_ppo(session, make, project)
    evaluated(session, other, 8, ("on the hill",))
    client = as_(Role.REVIEWER)
    assert wins(client, job) == []
    assert client.get(f"/v1/jobs/{uuid.uuid4()}/win_rate").status_code == 404


def test_annotators_may_not_ask(as_: As, make: Any, session: Session) -> None:
    job = running_ppo(session, make, make.project())
    assert as_(Role.ANNOTATOR).get(f"/v1/jobs/{job.id}/win_rate").status_code == 403


def test_an_annotator_is_not_told_whose_reply_is_whose(as_: As, make: Any, session: Session) -> None:
    """Neither by the API: a task is as any other, its ids mean nothing."""
    project = make.project()
    job = running_ppo(session, make, project)
    evaluated(session, job, 8, ("on the hill",))
    answer = as_(Role.ANNOTATOR).post(f"/v1/projects/{project.id}/next")
    task = answer.json()
    assert {response["text"] for response in task["responses"]} == {"by the river", "on the hill"}
    assert set(task["responses"][0]) == {"id", "text"}
    for word in (str(job.id), job.inputs["model"]["model"], "update", "sampling"):
        assert word not in answer.text
