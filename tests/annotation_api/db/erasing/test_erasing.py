"""After an erasure a scan of all columns and files finds nothing of it, wherever it lay and whenever it was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from sqlalchemy import Engine, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared import artifact
from annotation_api.annotation.submissions import service as submissions
from annotation_api.annotation.submissions.schemas import NewSubmission
from annotation_api.db.engine import session_factory
from annotation_api.db.erasing import erasures, marks, plan, work
from annotation_api.db.kinds import ErasureScope
from annotation_api.db.snapshots import freeze
from annotation_api.db.snapshots.frozen_rows import FreezeError
from annotation_api.db.tables import (
    Comment,
    DatasetKind,
    Draft,
    Erasure,
    ErasureState,
    Form,
    Job,
    PromptRow,
    Role,
    Snapshot,
    SnapshotRow,
    Submission,
)
from annotation_api.db.tallies import counts, fold
from annotation_api.http.errors import ApiError
from tests.support.factory import Factory
from tests.support.planted import KEPT, WORD, Planted, found
from workers.attempt.snapshot import write_snapshot
from workers.stage.faults import AttemptError

REASON = "its author asked"


@pytest.fixture
def planted(session: Session, make: Any, tmp_path: Path) -> Planted:
    return Planted(session, make, tmp_path)


def here(session: Session) -> Any:
    return sessionmaker(bind=session.connection(), join_transaction_mode="create_savepoint", expire_on_commit=False)


def record(planted: Planted, **fields: Any) -> Erasure:
    sought = [{"role": message.role, "content": message.content} for message in planted.asks.messages]
    target = {"key": planted.asks.key}
    return Erasure(
        scope=ErasureScope.RECORD, target=target, sought=sought, reason=REASON, created_by=planted.owner.id, counts={},
        **fields,
    )  # fmt: skip


def whole(planted: Planted) -> Erasure:
    return Erasure(
        scope=ErasureScope.PROJECT, target={"project": str(planted.project.id)}, project_id=planted.project.id,
        reason=REASON, created_by=planted.owner.id, counts={},
    )  # fmt: skip


def answers(planted: Planted, person: Any) -> Erasure:
    return Erasure(
        scope=ErasureScope.PERSON, target={"person": str(person.id)}, reason=REASON, created_by=planted.owner.id,
        counts={},
    )  # fmt: skip


def erase(session: Session, planted: Planted, erasure: Erasure) -> Erasure:
    erasures.begin(session, erasure)
    assert erasures.work_off(here(session), planted.home) == 1
    session.expire_all()
    assert erasure.state is ErasureState.SUCCEEDED
    return erasure


def test_nothing_of_a_record_is_left(session: Session, planted: Planted) -> None:
    kept = [line for line in found(session, planted.home, KEPT) if ".jsonl" not in line]
    assert len(found(session, planted.home, WORD)) >= 20  # it lies everywhere
    foreseen = plan.plan(session, record(planted))
    assert (foreseen.prompts, foreseen.responses, foreseen.answers, foreseen.dataset_rows) == (1, 4, 1, 1)
    done = erase(session, planted, record(planted))
    assert found(session, planted.home, WORD) == []
    assert found(session, planted.home, KEPT) == kept  # and nothing else went
    assert done.sought is None
    assert {"prompts", "responses", "answers", "comments", "drafts", "decisions", "snapshot rows"} <= done.counts.keys()


def test_nothing_of_a_project_is_left(session: Session, planted: Planted) -> None:
    planted.project.name, planted.project.guidelines = f"{WORD} project", WORD
    planted.dataset.project_id, planted.dataset.name = planted.project.id, WORD
    session.add(Form(project_id=planted.project.id, kind="rules", version=1, created_by=planted.owner.id, spec=rules()))
    session.flush()
    erase(session, planted, whole(planted))
    assert found(session, planted.home, WORD) == []
    assert found(session, planted.home, KEPT) == []  # all of it is the project's
    assert planted.project.archived_at is not None


def rules() -> dict[str, Any]:
    return {"kind": "rules", "rules": [{"id": "polite", "text": WORD, "explanation": WORD}], "instruction": WORD}


def test_a_person_s_answers_go_and_their_task_stays(session: Session, planted: Planted) -> None:
    erase(session, planted, answers(planted, planted.person))
    session.refresh(planted.answer)
    assert planted.answer.payload == {"groups": [[str(key) for key in planted.make.response_ids(planted.task)]]}
    assert planted.answer.erased_at is not None
    assert len(planted.answer.payload_hash) == 64
    assert planted.prompt.erased_at is None
    lines = session.scalars(select(SnapshotRow.line).where(SnapshotRow.submission_id == planted.answer.id))
    assert set(lines) == {""}
    assert planted.of_project[1].erased_rows == 1  # the better answer


def test_an_erased_answer_is_changed_no_more(session: Session, planted: Planted) -> None:
    """What it counted for is known to nobody, so it could not be taken out of the sums."""
    answer = planted.answer
    payload = {"groups": answer.payload["groups"][::-1]}
    again = {"id": str(uuid.uuid4()), "assignment": str(answer.assignment_id), "supersedes": str(answer.id)}
    new: NewSubmission = TypeAdapter(NewSubmission).validate_python(again | {"kind": "ranking", "payload": payload})
    erase(session, planted, answers(planted, planted.person))
    with pytest.raises(ApiError, match="was erased: it is not changed any more"):
        submissions.submit(session, planted.person, new)


def test_nothing_that_a_person_said_is_left(session: Session, planted: Planted) -> None:
    """Answers, drafts, reasons and messages: their own, and what others wrote about their answers."""
    make, hers, before = planted.make, "Hqxhers", dict(planted.kept_answer.payload)
    person = make.person(Role.ANNOTATOR)
    said = {"note": f"{hers} because", "demonstration": {"text": f"{hers} better"}}
    own = make.submission(planted.kept_task, [[1], [0]], person, payload=said)
    held = make.assignment(planted.task, person, state="leased")
    other = make.task(make.prompt(planted.project, "and this?"))
    make.assignment(other, person, state="skipped", skip_reason=hers)
    session.add(Draft(assignment_id=held.id, payload={"note": hers}))
    for place in (own.assignment_id, planted.kept_answer.assignment_id):
        session.add(Comment(assignment_id=place, author_id=person.id, text=hers, asks=True))
    quoting = f"You wrote {hers}."
    session.add(Comment(assignment_id=own.assignment_id, author_id=planted.reviewer.id, text=quoting, asks=False))
    frozen = freeze.freeze_project(session, planted.project.id, planted.owner.id, DatasetKind.DEMONSTRATIONS)
    assert (
        len(found(session, planted.home, hers)) == 5
    )  # answers, drafts, reasons, messages and the lines of a snapshot
    erase(session, planted, answers(planted, person))
    assert found(session, planted.home, hers) == []
    assert frozen.erased_rows == 1
    assert planted.kept_answer.payload == before


def test_a_reviewer_s_decisions_are_answers_too(session: Session, planted: Planted) -> None:
    """The decision stood instead of the votes; they stand again."""
    assert planted.of_project[0].rows == 2
    erase(session, planted, answers(planted, planted.reviewer))
    assert planted.of_project[0].erased_rows == 1
    again = freeze.freeze_project(session, planted.project.id, planted.owner.id)
    lines = session.scalars(select(SnapshotRow).where(SnapshotRow.snapshot_id == again.id)).all()
    assert [row.submission_id for row in lines] == [planted.answer.id, planted.kept_answer.id]


def test_within_a_project_nothing_else_is_touched(session: Session, planted: Planted, make: Any) -> None:
    elsewhere = make.prompt(make.project(), planted.asks)
    make.task(elsewhere, (f"{WORD} there", "x"))
    erase(session, planted, record(planted, project_id=planted.project.id))
    session.refresh(elsewhere)
    assert elsewhere.erased_at is None
    assert (planted.of_dataset.erased_rows, planted.of_project[2].erased_rows) == (0, 1)


def test_hashes_and_counts_stay_and_what_was_made_is_marked(session: Session, planted: Planted) -> None:
    fold.catch_up(here(session), 5)
    before = counts.progress_of(session, [planted.project.id])[planted.project.id]
    sha256, key = planted.of_dataset.sha256, planted.prompt.key
    erase(session, planted, record(planted))
    fold.catch_up(here(session), 5)
    after = counts.progress_of(session, [planted.project.id])[planted.project.id]
    assert (after.tasks, after.judged) == (before.tasks, before.judged)
    assert after.left == before.left - 2  # nobody gets the task any more
    assert (planted.of_dataset.sha256, planted.of_dataset.rows, planted.of_dataset.erased_rows) == (sha256, 2, 1)
    assert planted.prompt.erased_key == key
    said = marks.of_models(session, [planted.model.id, planted.child.id])
    assert {one: found.rows for one, found in said.items()} == {planted.model.id: 2, planted.child.id: 2}
    folder = Path(planted.model.path)
    artifact.verify(folder)  # the model can be used as before
    assert said[planted.model.id].sentence in (folder / "README.md").read_text()


def test_a_marked_snapshot_is_read_by_nobody(session: Session, planted: Planted, tmp_path: Path) -> None:
    erase(session, planted, record(planted))
    with pytest.raises(AttemptError, match="were erased on"):
        write_snapshot(session, planted.of_dataset.id, tmp_path / "x.jsonl")
    fresh = freeze.freeze_dataset(session, planted.dataset.id, DatasetKind.RANKINGS, planted.owner.id)
    assert (fresh.id != planted.of_dataset.id, fresh.rows) == (True, 1)
    with pytest.raises(FreezeError):
        freeze.freeze_dataset(session, planted.prepared.id, DatasetKind.RANKINGS, planted.owner.id)
    again = freeze.freeze_project(session, planted.project.id, planted.owner.id)
    assert (again.id != planted.of_project[0].id, again.rows) == (True, 1)


def test_it_is_refused_while_a_job_reads_it(session: Session, planted: Planted) -> None:
    session.execute(update(Job).values(state="queued", finished_at=None))
    with pytest.raises(erasures.InUse, match=f"reward job {planted.job.id} .queued."):
        erasures.begin(session, record(planted))


def test_a_job_that_came_in_between_stops_it_before_anything(session: Session, planted: Planted) -> None:
    erasure = record(planted)
    erasures.begin(session, erasure)
    before = found(session, planted.home, WORD)
    session.execute(update(Job).values(state="queued", finished_at=None))
    erasures.work_off(here(session), planted.home)
    session.refresh(erasure)
    assert (erasure.state, erasure.sought) == (ErasureState.FAILED, None)
    assert str(planted.job.id) in str(erasure.error)
    assert [line for line in found(session, planted.home, WORD) if "erasures" not in line] == [
        line for line in before if "erasures" not in line
    ]


class Died(BaseException):
    """A process that ends at once."""


@pytest.mark.parametrize("scope", ["record", "project"])
def test_killed_after_any_step_it_goes_on(
    session: Session, planted: Planted, scope: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies in each of its transactions in turn, and is taken up again from the beginning."""
    erasure = record(planted) if scope == "record" else whole(planted)
    planted.dataset.project_id = planted.project.id
    erasures.begin(session, erasure)
    deaths, note = {"next": 0}, work.Eraser._note

    def dying(self: Any, session: Session, step: str, counted: Any) -> None:
        note(self, session, step, counted)
        self.steps = getattr(self, "steps", -1) + 1
        if self.steps == deaths["next"]:
            deaths["next"] += 1
            raise Died

    monkeypatch.setattr(work.Eraser, "_note", dying)
    for _ in range(60):
        try:
            erasures.work_off(here(session), planted.home)
            break
        except Died:
            session.execute(update(Erasure).values(lease_until=text("clock_timestamp() - interval '1 s'")))
    session.expire_all()
    assert erasure.state is ErasureState.SUCCEEDED
    assert deaths["next"] > 8
    assert found(session, planted.home, WORD) == []
    assert planted.of_dataset.erased_rows == (1 if scope == "record" else 2)  # nothing is counted twice


def test_append_only_rows_change_for_an_erasure_at_work_alone(session: Session, planted: Planted) -> None:
    erasure = record(planted)
    erasures.begin(session, erasure)
    change = update(Submission).values(payload={})
    for claimed in (str(erasure.id), "", "x"):  # it waits; it is none
        session.execute(text("SELECT set_config('rankloop.erasing', :id, true)"), {"id": claimed})
        with pytest.raises(IntegrityError, match="append-only"), session.begin_nested():
            session.execute(change)
    erasures.WAITING.claim(session)
    session.execute(text("SELECT set_config('rankloop.erasing', :id, true)"), {"id": str(erasure.id)})
    session.execute(change)
    for statement in ("DELETE FROM snapshot_rows", "UPDATE audit SET action = 'x'"):
        with pytest.raises(IntegrityError, match="append-only"), session.begin_nested():
            session.execute(text(statement))


def test_the_process_is_killed_and_another_goes_on(fresh_engine: Engine, tmp_path: Path, monkeypatch: Any) -> None:
    """The real process on rows that are there to stay, killed as soon as it has begun."""
    sessions = session_factory(fresh_engine)
    monkeypatch.setenv("RANKLOOP_DATABASE_URL", fresh_engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("RANKLOOP_HOME", str(tmp_path))
    with sessions.begin() as session:
        make = Factory(session)
        project = make.project()
        for n in range(3000):
            session.add(PromptRow(project_id=project.id, key=f"{n}", record={"messages": [{"content": WORD}]}))
        erasure = Erasure(
            scope=ErasureScope.PROJECT, target={"project": str(project.id)}, project_id=project.id, reason=REASON,
            created_by=project.created_by, counts={},
        )  # fmt: skip
        erasures.begin(session, erasure)
    command = [sys.executable, "-m", "workers.dispatch.freezing"]
    child = subprocess.Popen(command)
    until = time.monotonic() + 60
    while time.monotonic() < until and child.poll() is None and not _done(sessions):
        pass
    child.send_signal(signal.SIGKILL)
    child.wait()
    with sessions.begin() as session:
        session.execute(update(Erasure).values(lease_until=text("clock_timestamp() - interval '1 s'")))
        session.execute(update(Erasure).values(state="running"))
    assert subprocess.run(command, timeout=120, check=False).returncode == 0
    with sessions.begin() as session:
        assert session.scalars(select(Erasure)).one().counts["prompts"] == 3000
        assert found(session, tmp_path, WORD) == []


def _done(sessions: Any) -> int:
    with sessions.begin() as session:
        return int(session.scalars(select(Erasure.done)).one())


def test_a_freeze_that_began_before_is_waited_for(session: Session, planted: Planted) -> None:
    """Its lines come after the rows were emptied, and are found all the same."""
    erasure = record(planted)
    erasures.begin(session, erasure)
    claimed = erasures.WAITING.claim(session)
    assert claimed is not None
    eraser = work.Eraser(here(session), planted.home, claimed, erasures.WAITING.lease)
    eraser._live()
    sources = {"project": str(planted.project.id)}
    late = Snapshot(kind="prompts", sources=sources, sha256="0", rows=1, created_by=planted.owner.id)
    session.add(late)
    session.flush()
    session.add(SnapshotRow(snapshot_id=late.id, position=0, line=planted.asks.canonical()))
    session.flush()
    eraser.run()
    assert found(session, planted.home, WORD) == []
