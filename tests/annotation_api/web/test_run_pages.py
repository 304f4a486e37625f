"""Pages on jobs and pipelines: what they show, and what their buttons do."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.events import SavedCheckpoint
from annotation_api.db.jobs import requests as job_requests
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.records import Again, Failure
from annotation_api.db.kinds import ErrorKind
from annotation_api.db.tables import (
    Artifact,
    AttemptOutcome,
    Job,
    JobAttempt,
    JobState,
    Metric,
    ModelKind,
    Pipeline,
    Role,
)
from annotation_api.web.markup.rendering import _environment
from tests.annotation_api.web.test_pages import Page


def test_the_job_page_shows_progress_curves_and_the_error(browser_of, make, session: Session) -> None:
    job = make.job(config={"learning_rate": 0.001})
    for step, value in ((1, 2.0), (2, 1.0), (3, None)):
        session.add(Metric(job_id=job.id, epoch=1, phase="train", step=step, name="loss", value=value))
    session.flush()
    html = browser_of(Role.REVIEWER).get(f"/jobs/{job.id}").text
    assert "/static/job.js" in html
    assert 'points="0.0,0.0 300.0,90.0"' in html  # from 2.0, the top, to 1.0, the bottom
    assert "learning_rate" in html
    assert "Stop this job" not in html  # a reviewer only looks
    job.state, job.error = JobState.FAILED, {"kind": "diverged", "cause": "The loss is NaN.", "next_step": "Lower it."}
    session.flush()
    html = browser_of(Role.ENGINEER).get(f"/jobs/{job.id}").text
    assert "The loss is NaN." in html
    assert "/static/job.js" not in html
    assert "Try again" in html


def test_the_report_of_a_reward_model_is_shown_without_script(browser_of, make, session: Session, app) -> None:
    job, model = make.job(), make.model(ModelKind.REWARD)
    model.job_id = job.id
    browser = browser_of(Role.REVIEWER)
    assert "/report" not in browser.get(f"/jobs/{job.id}").text
    assert browser.get(f"/jobs/{job.id}/report").status_code == 404
    folder = app.state.settings.home / "artifacts" / str(job.id) / str(job.epoch)
    folder.mkdir(parents=True)
    (folder / "reward_report.html").write_text("<h1>Do not optimise</h1>")
    session.add(Artifact(job_id=job.id, name="reward_report.html", sha256="0" * 64, size=1))
    session.flush()
    for page in (f"/jobs/{job.id}", f"/models/{model.id}"):
        assert f'href="/jobs/{job.id}/report"' in browser.get(page).text
    answer = browser.get(f"/jobs/{job.id}/report")
    assert answer.text == "<h1>Do not optimise</h1>"
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


def test_what_a_job_took_is_the_time_of_its_attempts_on_every_page(
    browser_of: Any, make: Any, session: Session
) -> None:
    """From the claim to the end of each attempt, loading too: 38 s and 4 s are 42 s, whenever the stage began."""
    job, start = make.job(), datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
    for epoch, begun, seconds in ((1, start, 38), (2, start + timedelta(hours=1), 4)):
        outcome = AttemptOutcome.FAILED if epoch == 1 else AttemptOutcome.SUCCEEDED
        ended = begun + timedelta(seconds=seconds)
        session.add(
            JobAttempt(job_id=job.id, epoch=epoch, worker="h:1", claimed_at=begun, ended_at=ended, outcome=outcome)
        )
    job.state, job.started_at, job.finished_at = JobState.SUCCEEDED, ended, ended  # the first step at the very end
    session.flush()
    browser = browser_of(Role.ENGINEER)
    for page in ("/", "/jobs"):
        text = browser.get(page).text
        assert '<td class="extra">2026-03-01 08:00 UTC</td>' in text, page
        assert '<td class="extra">42 s</td>' in text, page
    text = browser.get(f"/jobs/{job.id}").text
    assert '<td class="n extra">38 s</td>' in text
    assert '<td class="n extra">4 s</td>' in text


@pytest.mark.parametrize(("language", "unknown", "training"), [
    ("en", "No prompt is held out: the accuracy on new prompts is unknown.", ">training accuracy<"),
    ("zh", "没有留出提示：对新提示的准确率未知。", ">训练准确率<"),
])  # fmt: skip
def test_the_numbers_on_top_say_which_are_of_training(
    language: str, unknown: str, training: str, browser_of: Any, make: Any, session: Session
) -> None:
    """Without held-out prompts a reward model's accuracy is that on what it learned; with them both stand there."""
    without, with_some = (make.job(Stage.REWARD, config={"heldout_fraction": share}) for share in (0.0, 0.2))
    ppo = make.job(Stage.PPO)
    for job, names in ((without, ("accuracy",)), (with_some, ("heldout_accuracy", "accuracy")), (ppo, PPO_NUMBERS)):
        session.add_all(Metric(job_id=job.id, epoch=1, phase="train", step=1, name=name, value=0.9) for name in names)
    session.flush()
    browser = browser_of(Role.REVIEWER)
    browser.cookies.set("rankloop_language", language)
    text = browser.get(f"/jobs/{without.id}").text
    assert (unknown in text, training in text) == (True, True)
    text = browser.get(f"/jobs/{with_some.id}").text
    assert (unknown in text, training in text) == (False, True)
    text = browser.get(f"/jobs/{ppo.id}").text.partition("</dl>")[0].partition('class="facts five"')[2]
    assert text.count(training[1:3]) == 2, "response length and finished share"


PPO_NUMBERS = ("heldout_objective", "heldout_score", "heldout_kl", "response_length", "finished_share")


def test_numbers_are_written_as_the_charts_script_writes_them() -> None:
    """Live numbers and those of a page that is read again are the same."""
    shown = {5.5: "5.5", 9999.6: "10000", 16093: "16090", 99_994: "99990", 160_930: "1.609e+05", -12_341.6: "-12340"}
    assert {value: _environment.filters["number"](value) for value in shown} == shown


def test_pages_say_that_a_policy_is_the_sft_policy_once_more(browser_of: Any, make: Any, session: Session) -> None:
    job = make.job(Stage.PPO)
    model = make.model(ModelKind.POLICY, name="kept", job_id=job.id, metrics={"chosen_update": 0.0})
    browser, said = browser_of(Role.REVIEWER), "No trained policy was better than the SFT policy"
    assert [said in browser.get(path).text for path in (f"/jobs/{job.id}", f"/models/{model.id}")] == [True, True]
    model.metrics = {"chosen_update": 4.0}
    session.flush()
    assert [said in browser.get(path).text for path in (f"/jobs/{job.id}", f"/models/{model.id}")] == [False, False]


def test_a_job_is_stopped_by_form(browser_of, make, session: Session) -> None:
    job = make.job()
    assert browser_of(Role.ENGINEER).post(f"/jobs/{job.id}/cancel").status_code == 303
    session.refresh(job)
    assert job.state == JobState.CANCELLED


def claimed(session: Session, make: Any, stage: Stage = Stage.SFT) -> Job:
    make.job(stage)
    job = job_store.claim(session, "host:1", 60)
    assert job is not None
    return job


def text_of(browser: Any, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200
    return " ".join(Page(answer.text).text.split())


def test_a_job_says_what_it_waits_for_and_how_long(browser_of: Any, make: Any, session: Session) -> None:
    job = claimed(session, make)
    job_store.set_starting_reason(session, job.id, job.epoch, "waiting_gpu", "1 of 1 GPUs is taken")
    job.reason_since = datetime.now(UTC) - timedelta(hours=2, minutes=5, seconds=30)
    behind = make.job(Stage.REWARD, needs=[job.id])
    again = make.job()
    again.not_before = datetime(2100, 1, 2, 3, 4, tzinfo=UTC)
    session.flush()
    browser = browser_of(Role.REVIEWER)
    words = "waiting for a GPU · for 2 h 5 min · 1 of 1 GPUs is taken"
    for path in ("/jobs", f"/jobs/{job.id}"):
        assert words in text_of(browser, path)
    assert f'data-since="{job.reason_since.isoformat()}"' in browser.get("/jobs").text
    assert f"waits for SFT {str(job.id)[:8]}" in text_of(browser, f"/jobs/{behind.id}")
    job.name = "Demonstrations of May"
    session.flush()
    assert "waits for Demonstrations of May" in text_of(browser, "/jobs")
    assert "is tried again at 2100-01-02 03:04 UTC" in text_of(browser, f"/jobs/{again.id}")


def test_jobs_are_chosen_by_stage_and_state_and_paged(
    browser_of: Any, make: Any, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from annotation_api.web import jobs

    monkeypatch.setattr(jobs, "PAGE", 2)
    mine = [make.job(stage) for stage in (Stage.SFT, Stage.REWARD, Stage.SFT, Stage.SFT)]
    job_requests.request_cancel(session, mine[0].id)
    browser = browser_of(Role.REVIEWER)

    def shown(path: str) -> list[str]:
        html = browser.get(path).text
        return [str(job.id) for job in reversed(mine) if f'href="/jobs/{job.id}"' in html]

    ids = [str(job.id) for job in mine]
    assert shown("/jobs") == [ids[3], ids[2]]
    assert shown("/jobs?stage=reward&state=") == [ids[1]]
    assert shown("/jobs?stage=sft&state=cancelled") == [ids[0]]
    assert browser.get("/jobs?stage=nonsense").status_code == 422
    assert "There is no such job." in text_of(browser, "/jobs?state=running")
    older = browser.get("/jobs?stage=sft").text.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert shown(f"/jobs{older}") == [ids[0]]


def test_an_ended_job_tells_the_cause_the_next_step_and_its_last_words(
    browser_of: Any, make: Any, session: Session
) -> None:
    job = claimed(session, make)
    failure = Failure(ErrorKind.DIVERGED, "The loss is <NaN>.", "Lower it.", traceback="Trace & back", log="last words")
    job_store.fail(session, job.id, job.epoch, failure, Again.NEVER)
    text = text_of(browser_of(Role.REVIEWER), f"/jobs/{job.id}")
    for words in ("diverged: The loss is <NaN>.", "What to do: Lower it.", "Trace & back", "last words", "host:1"):
        assert words in text


def test_saved_checkpoints_and_files_are_listed_with_sizes(browser_of: Any, make: Any, session: Session) -> None:
    job = claimed(session, make)
    job_store.mark_running(session, job.id, job.epoch)
    saved = SavedCheckpoint("1/checkpoint-7", 7, "ab" * 32, 2_500_000_000, 1.0)
    job_store.record_checkpoint(session, job.id, job.epoch, saved)
    session.add(Artifact(job_id=job.id, name="a folder/model.safetensors", sha256="cd" * 32, size=3_400_000))
    gone = Artifact(
        job_id=job.id, name="gone.bin", sha256="cd" * 32, size=1, removed_at=datetime(2026, 1, 2, tzinfo=UTC)
    )
    session.add(gone)
    session.flush()
    browser = browser_of(Role.REVIEWER)
    text = text_of(browser, f"/jobs/{job.id}")
    assert "gone.bin removed 2026-01-02" in text
    assert f"/v1/jobs/{job.id}/artifacts/gone.bin" not in browser.get(f"/jobs/{job.id}").text
    assert "2.5 GB" in text
    assert "abababababababab…" in text
    assert "model.safetensors3.4 MB" in text
    assert f'href="/v1/jobs/{job.id}/artifacts/a%20folder/model.safetensors"' in browser.get(f"/jobs/{job.id}").text


def test_the_buttons_follow_the_state(browser_of: Any, make: Any, session: Session) -> None:
    browser, job = browser_of(Role.ENGINEER), claimed(session, make)

    def buttons() -> set[str]:
        html = browser.get(f"/jobs/{job.id}").text
        return {verb for verb in ("pause", "resume", "cancel", "retry") if f'action="/jobs/{job.id}/{verb}"' in html}

    def press(verb: str) -> None:
        assert browser.post(f"/jobs/{job.id}/{verb}").headers["location"] == f"/jobs/{job.id}"
        session.refresh(job)

    assert buttons() == {"pause", "cancel"}
    press("pause")
    assert (buttons(), "pausing" in text_of(browser, f"/jobs/{job.id}")) == ({"resume", "cancel"}, True)
    job_store.mark_paused(session, job.id, job.epoch)
    assert (buttons(), job.state) == ({"resume", "cancel"}, JobState.PAUSED)
    press("resume")
    assert (buttons(), job.state) == ({"pause", "cancel"}, JobState.QUEUED)
    press("cancel")
    assert (buttons(), job.state) == ({"retry"}, JobState.CANCELLED)
    press("retry")
    assert job.state == JobState.QUEUED
    reviewer = browser_of(Role.REVIEWER)
    assert 'method="post" action="/jobs' not in reviewer.get(f"/jobs/{job.id}").text
    assert [reviewer.post(f"/jobs/{job.id}/{verb}").status_code for verb in ("pause", "resume")] == [403, 403]


@pytest.fixture
def pipeline(make: Any, session: Session) -> tuple[Pipeline, list[Job]]:
    row = Pipeline(spec={}, created_by=make.person(name="Ada").id)
    session.add(row)
    session.flush()
    first = make.job(Stage.SFT, pipeline_id=row.id)
    second = make.job(Stage.REWARD, pipeline_id=row.id, needs=[first.id])
    return row, [first, second, make.job(Stage.PPO, pipeline_id=row.id, needs=[first.id, second.id])]


def test_a_pipeline_shows_its_stages_and_is_stopped_and_taken_up(
    browser_of: Any, session: Session, pipeline: tuple[Pipeline, list[Job]]
) -> None:
    (row, jobs), browser = pipeline, browser_of(Role.ENGINEER)
    place = f"/pipelines/{row.id}"
    assert "SFT queued Reward model blocked PPO blocked Ada" in text_of(browser, "/pipelines")
    text = text_of(browser, place)
    assert text.index("SFT queued") < text.index("Reward model blocked") < text.index("PPO blocked")
    assert "Go on from where it stopped" not in text
    assert f'href="{place}"' in browser.get("/jobs").text
    assert f'href="{place}"' in browser.get(f"/jobs/{jobs[1].id}").text
    assert browser.post(f"{place}/cancel").headers["location"] == place
    text = text_of(browser, place)
    assert ("Stop the pipeline" in text, "Go on from where it stopped" in text) == (False, True)
    assert browser.post(f"{place}/resume").status_code == 303
    assert "SFT queued" in text_of(browser, place)
    assert browser.get(f"/pipelines/{uuid.uuid4()}").status_code == 404


def test_what_came_of_data_is_shown_with_links_for_those_who_may_open_them(
    browser_of: Any, make: Any, session: Session
) -> None:
    from alignment.shared.records import Prompt
    from annotation_api.db.snapshots import freeze
    from annotation_api.db.tables import DatasetKind

    dataset = make.dataset(DatasetKind.PROMPTS, [Prompt.from_text("Q?")])
    snapshot = freeze.freeze_dataset(session, dataset.id, DatasetKind.PROMPTS, make.person().id)
    job = make.job(Stage.PPO, inputs={"prompts": {"snapshot": str(snapshot.id)}})
    model = make.model(ModelKind.POLICY, name="the policy", job_id=job.id, snapshot_id=snapshot.id)
    engineer = browser_of(Role.ENGINEER)
    for path in (f"/datasets/{dataset.id}", f"/snapshots/{snapshot.id}"):
        html = engineer.get(path).text
        assert f'href="/models/{model.id}">the policy</a>' in html
        assert f'href="/jobs/{job.id}"' in html
        assert "read by" in html
    assert "Nothing has used it yet." in engineer.get(f"/models/{model.id}").text
    assert f'href="/snapshots/{snapshot.id}"' in engineer.get(f"/models/{model.id}").text
    assert f'href="/snapshots/{snapshot.id}"' not in browser_of(Role.REVIEWER).get(f"/models/{model.id}").text
