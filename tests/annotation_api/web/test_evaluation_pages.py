"""A PPO job's page: the learned score beside the human win rate; and the annotators', which tells nothing of it."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from sqlalchemy.orm import Session

from annotation_api.db.tables import Job, Role
from annotation_api.web.markup.charts import marks
from tests.support.evaluations import evaluated, prefers, running_ppo


def words(browser: Any, job: Job) -> str:
    """The page's text, a blank for each tag."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", browser.get(f"/jobs/{job.id}").text)).split())


def test_marks_stand_on_a_common_axis_from_update_zero() -> None:
    """Step 5 of 10 is the middle; of 0 to 1, 0.75 is a quarter down from the top."""
    (mark,) = marks([(5, 0.75, 0.5, 1.0)], 10, (0.0, 1.0))
    assert (mark.x, mark.y, mark.low, mark.high) == (150.0, 22.5, 45.0, 0.0)
    low, high = marks([(0, 1.0, 1.0, 1.0), (10, 3.0, 3.0, 3.0)], 10)
    assert (low.x, low.y, high.x, high.y) == (0.0, 90.0, 300.0, 0.0)
    assert marks([], 0) == []


def test_a_policys_page_shows_scores_win_rates_and_replies(browser_of: Any, make: Any, session: Session) -> None:
    project = make.project(name="Mills")
    job, browser = running_ppo(session, make, project), browser_of(Role.REVIEWER)
    assert 'class="card look"' not in browser.get(f"/jobs/{job.id}").text
    first, second = evaluated(session, job, 8, ("on the hill", "the miller"), score=3.0)
    evaluated(session, job, 16, ("<at sea>", "the baker"), score=5.0)

    html = browser.get(f"/jobs/{job.id}").text
    assert html.count('class="card look"') == 1  # the score alone
    assert "Human win rate <b>" not in html
    text = words(browser, job)
    assert "Annotators of Mills rank each pair without knowing whose is whose. Tasks that wait: 3." in text
    assert "None was judged yet." in text
    assert "Before and after update 16 Where is the mill? SFT policy, 1 by the river now, 5 <at sea>" in text

    make.submission(first, prefers(session, first, 8))
    make.submission(second, [[0, 1]])
    first.judged = second.judged = 1
    session.flush()
    html = browser.get(f"/jobs/{job.id}").text
    assert html.count('class="card look"') == 2
    assert 'points="0.0,90.0 150.0,45.0 300.0,0.0 "' in html  # from the SFT policy's 1 over 3 to 5
    assert 'd="M150.0,68.8V5.8"' in html  # the interval of (1 + 0.5) / 2, from 0.236 to 0.935
    assert 'd="M150.0,22.5h0"' in html
    assert "How often people prefer the policy: 0.75 after update 8, 0.75 after update 8" in html
    assert f'<a href="/projects/{project.id}">Mills</a>' in html
    text = words(browser, job)
    assert "16 5 0.5 – – 0, 0, 0 1 0 1 8 3 0.5 0.75 0.236 – 0.9351 1, 1, 0 0 2 0" in text
    assert "None was judged yet." not in text


def test_a_job_without_a_project_says_that_nobody_is_asked(browser_of: Any, make: Any, session: Session) -> None:
    job = running_ppo(session, make)
    assert "The reward model and people" not in words(browser_of(Role.REVIEWER), job)
    evaluated(session, job, 8, ("on the hill",))
    text = words(browser_of(Role.REVIEWER), job)
    assert "Nobody is asked which is better: the job names no project." in text


def test_the_page_of_a_task_reveals_neither_update_nor_job(browser_of: Any, make: Any, session: Session) -> None:
    project = make.project()
    job = running_ppo(session, make, project)
    evaluated(session, job, 8, ("on the hill",))
    html = browser_of(Role.ANNOTATOR).get(f"/projects/{project.id}/annotate").text
    assert ("by the river" in html, "on the hill" in html) == (True, True)
    for word in (str(job.id), job.inputs["model"]["model"], "update", "SFT", "sampling"):
        assert word not in html
