"""What stages, workers and requests note reaches a page with its code, and is said in the page's language."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from alignment.ppo.alarms.rules import entropy
from alignment.ppo.alarms.view import Bounds, View
from alignment.shared.config import Stage
from alignment.shared.policy.guard_config import AlarmConfig
from alignment.shared.sentence import Sentence, counted, in_turn, parts
from annotation_api.db import sql
from annotation_api.db.erasing import traces
from annotation_api.db.jobs import store as job_store
from annotation_api.db.jobs.events import Event
from annotation_api.db.kinds import ErasureScope
from annotation_api.db.tables import Erasure, Job, JobEventRow, ModelKind, Role, made_name
from annotation_api.db.tables.erasures import ErasureState
from annotation_api.web.markup.language import speaking, translate
from tests.annotation_api.web.test_pages import Page
from workers.executors.machines import Machine, Machines, count

ONE = ("demonstrations-left-out", "%(n)s of %(total)s was left out.", "%(n)s of %(total)s were left out.")


@pytest.fixture
def job(session: Session, make: Any) -> Job:
    make.job(Stage.PPO)
    claimed = job_store.claim(session, "host:1", 60)
    assert claimed is not None
    return claimed


def text_in(browser: Any, path: str, language: str) -> str:
    browser.post("/preferences", data={"language": language, "back": "/"})
    return " ".join(Page(browser.get(path).text).text.split())


def test_what_is_said_of_one_is_said_in_the_singular() -> None:
    assert counted(*ONE, n=1, total=5) == "1 of 5 was left out."
    assert counted(*ONE, n=0, total=5) == "0 of 5 were left out."
    assert [count(wanted) for wanted in (0.5, 1.0, 2.0)] == ["0.5 GPU", "1 GPU", "2 GPUs"]
    assert counted("gpus", "%(n)s GPU", "%(n)s GPUs", n=1.0) == "1 GPU"


def test_a_note_is_said_in_the_language_of_the_page(browser_of: Any, session: Session, job: Job) -> None:
    note = Sentence("going-on-from", "Going on from %(name)s of %(folder)s.", name="<b>", folder="/home/100%")
    job_store.append_events(session, job.id, job.epoch, [Event.note(note)])
    session.add(JobEventRow(job_id=job.id, seq=100, epoch=1, type="note", data={"message": "As it was 100%."}))
    session.flush()
    browser = browser_of(Role.ENGINEER)
    told = {language: text_in(browser, f"/jobs/{job.id}", language) for language in ("en", "zh")}
    assert "Going on from <b> of /home/100%." in told["en"]
    assert "从 /home/100% 的 <b> 继续。" in told["zh"]
    assert "Going on from" not in told["zh"]
    assert "As it was 100%." in told["zh"], "a note of before codes were kept"
    kept = session.scalars(select(JobEventRow).where(JobEventRow.job_id == job.id, JobEventRow.type == "note")).first()
    assert kept is not None
    assert kept.data["message"] == str(note), "REST and the command line read on"


def test_what_a_job_waits_for_is_said_in_the_language_of_the_page(
    browser_of: Any, as_: Any, session: Session, job: Job
) -> None:
    left_out = (("h7 (10.0.0.7)", "has no folder /data"),)
    there = Machines((Machine("n", "h", gpus=8.0, free_gpus=3.0),), ("10.0.0.3",), left_out)
    job_store.set_starting_reason(session, job.id, job.epoch, "waiting_gpu", there.busy(4.0))
    english = "4 GPUs on machines with 3 free of 8; 10.0.0.3 left it; h7 (10.0.0.7) has no folder /data"
    assert as_(Role.ENGINEER).get(f"/v1/jobs/{job.id}").json()["reason_detail"] == english
    browser = browser_of(Role.ENGINEER)
    for path in ("/jobs", f"/jobs/{job.id}"):
        assert english in text_in(browser, path, "en")
        assert "4 个 GPU；这些机器共 8 个，空闲 3 个；10.0.0.3 已离开" in text_in(browser, path, "zh")


def test_alarms_are_said_in_the_language_of_the_page(browser_of: Any, session: Session, job: Job) -> None:
    rows = [{"update": n, "entropy": 2.0 if n <= 6 else 0.1} for n in range(1, 13)]
    found = entropy(View(rows, [], AlarmConfig(), Bounds(20.0, 0.8), None))
    assert found is not None
    said = in_turn(list(found))
    alarm = {"update": 7, "sentence": str(said), "said": parts(said)}
    before = {"update": 8, "sentence": "It was said plainly."}
    job.result = {"metrics": {}, "details": {"alarms": [alarm, before], "samples": []}}
    step = {"phase": "train", "step": 7, "total": 9, "rate": 1.0, "seconds_left": 1.0, "metrics": {"entropy": 0.1}}
    job_store.append_events(session, job.id, job.epoch, [Event("progress", step)])
    session.flush()
    from annotation_api.web.runs import curves

    english, plain = curves.marks_of(session, job)
    with speaking("zh"):
        assert translate(english.text).startswith("熵从每词元 2.00 降到 0.10 nat。")
        assert translate(plain.text) == "It was said plainly."


def test_an_erasure_takes_what_a_note_quotes_with_its_code(session: Session, job: Job) -> None:
    note = Sentence("checkpoint-passed-over", "A damaged checkpoint was passed over: %(cause)s", cause="SECRET")
    job_store.append_events(session, job.id, job.epoch, [Event.note(note)])
    job_store.set_starting_reason(session, job.id, job.epoch, "loading", Sentence("no-gpu", "SECRET"))
    running = Erasure(
        scope=ErasureScope.RECORD,
        target={"key": "k"},
        sought=[],
        reason="They asked for it.",
        created_by=job.created_by,
        counts={},
        state=ErasureState.RUNNING,
    )
    session.add(running)
    session.flush()
    sql.rows(session, "SELECT set_config('rankloop.erasing', %(id)s, true)", id=str(running.id))
    for step in ("job notes", "job states"):
        assert sql.rows(session, traces.OF_JOBS[step] + " RETURNING job_id", jobs=[job.id], gone="gone")
    session.expire_all()
    data = session.scalars(select(JobEventRow.data).where(JobEventRow.job_id == job.id)).all()
    assert "SECRET" not in str(data)
    assert any(each.get("message") == "gone" for each in data)


def test_what_a_comparison_says_of_models_names_them_as_the_page_does(browser_of: Any, make: Any) -> None:
    sides = []
    for name in ("Bold try", "Shy try"):
        run = make.job(Stage.SFT)
        run.name = name
        model = make.model(ModelKind.SFT, name=made_name(Stage.SFT, run.id))
        model.job_id = run.id
        sides.append(model)
    path = "/compare?" + "&".join(f"model={side.id}" for side in sides)
    browser = browser_of(Role.ENGINEER)
    for language, said in (("en", "has kept replies of Bold try"), ("zh", "Bold try")):
        told = text_in(browser, path, language)
        assert said in told
        assert sides[0].name not in told


def test_a_comparison_of_jobs_names_what_they_read_as_the_page_does(browser_of: Any, as_: Any, make: Any) -> None:
    made = make.job(Stage.SFT)
    made.name = "Bold try"
    model = make.model(ModelKind.SFT, name=made_name(Stage.SFT, made.id))
    model.job_id = made.id
    jobs = [make.job(Stage.SFT, inputs=inputs) for inputs in ({"model": {"model": str(model.id)}}, {})]
    query = "&".join(f"job={job.id}" for job in jobs)
    told = text_in(browser_of(Role.ENGINEER), f"/compare?{query}", "en")
    assert f"Bold try ({str(model.id)[:8]})" in told
    assert as_(Role.ENGINEER).get(f"/v1/jobs:compare?{query}").json()["settings"][0]["values"][0].startswith(model.name)
