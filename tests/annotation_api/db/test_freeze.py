"""Snapshots: what is in them, where it came from, and that the same sources give the same bytes."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from alignment.records import Demonstration, Message, Prompt, Ranking
from annotation_api.db import frozen_rows
from annotation_api.db.freeze import freeze_dataset, freeze_project
from annotation_api.db.frozen_rows import FreezeError
from annotation_api.db.tables import DatasetKind, Role, Snapshot, SnapshotRow


def rows_of(session: Session, snapshot: Snapshot) -> list[SnapshotRow]:
    query = select(SnapshotRow).where(SnapshotRow.snapshot_id == snapshot.id).order_by(SnapshotRow.position)
    return list(session.scalars(query))


def lines_of(session: Session, snapshot: Snapshot) -> list[str]:
    return [row.line for row in rows_of(session, snapshot)]


def test_a_judgement_becomes_this_very_line(session: Session, make: Any) -> None:
    """The whole line, written out by hand."""
    person = make.person(Role.ANNOTATOR, pseudonym="annotator-7")
    prompt = make.prompt(make.project(), Prompt.from_text("Wie spät?", criterion="honest", language="de"))
    task = make.task(prompt, ("acht", "neun", "ich weiß nicht"))
    given = {"strength": 3, "all_bad": True}
    submission = make.submission(task, [[2], [1, 0]], person, payload=given)
    snapshot = freeze_project(session, task.project_id, person.id)
    line = (
        '{"all_bad":true,"annotator":"annotator-7","criterion":"honest","groups":[[2],[0,1]],'
        f'"lineage":{{"submission":"{submission.id}","task":"{task.id}"}},'
        '"prompt":{"criterion":"honest","language":"de","messages":[{"content":"Wie spät?","role":"user"}]},'
        '"responses":["acht","neun","ich weiß nicht"],"strength":3}'
    )
    assert lines_of(session, snapshot) == [line]
    assert snapshot.sha256 == hashlib.sha256(line.encode() + b"\n").hexdigest()
    assert (snapshot.kind, snapshot.rows) == (DatasetKind.RANKINGS, 1)
    assert snapshot.sources == {"project": str(task.project_id), "last_submission": submission.seq}
    assert rows_of(session, snapshot)[0].submission_id == submission.id


def test_only_the_newest_of_a_chain_of_corrections_counts(session: Session, make: Any) -> None:
    task = make.task(make.prompt(make.project()))
    first = make.submission(task, [[0], [1]])
    second = make.submission(task, [[0, 1]], assignment_id=first.assignment_id, supersedes=first.id)
    third = make.submission(task, [[1], [0]], assignment_id=first.assignment_id, supersedes=second.id)
    other = make.submission(task, [[0], [1]])
    snapshot = freeze_project(session, task.project_id, make.person().id)
    assert [row.submission_id for row in rows_of(session, snapshot)] == [third.id, other.id]
    assert Ranking.from_line(lines_of(session, snapshot)[0]).groups == ((1,), (0,))


def test_judgements_of_other_projects_stay_out(session: Session, make: Any) -> None:
    mine, theirs = make.task(make.prompt(make.project())), make.task(make.prompt(make.project()))
    make.submission(mine, [[0], [1]])
    make.submission(theirs, [[0], [1]])
    assert freeze_project(session, mine.project_id, make.person().id).rows == 1


def test_freezing_twice_is_one_snapshot_until_something_is_added(session: Session, make: Any) -> None:
    task = make.task(make.prompt(make.project()))
    person = make.person()
    make.submission(task, [[0], [1]])
    one = freeze_project(session, task.project_id, person.id)
    assert freeze_project(session, task.project_id, person.id).id == one.id
    make.submission(task, [[1], [0]])
    two = freeze_project(session, task.project_id, person.id)
    assert (two.id != one.id, two.rows, two.sha256 != one.sha256) == (True, 2, True)
    assert lines_of(session, two)[:1] == lines_of(session, one)
    written = session.scalar(select(func.count()).select_from(SnapshotRow))
    assert written == 3  # the repeated freeze left nothing behind


def test_more_rows_than_a_batch_come_whole_and_in_order(
    session: Session, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("annotation_api.db.freeze.BATCH", 3)
    monkeypatch.setattr("annotation_api.db.frozen_rows.BATCH", 2)
    records = [Demonstration(prompt=Prompt.from_text(f"q{i}"), response=f"a{i}") for i in range(10)]
    dataset = make.dataset(DatasetKind.DEMONSTRATIONS, records)
    snapshot = freeze_dataset(session, dataset.id, DatasetKind.DEMONSTRATIONS, make.person().id)
    stored = rows_of(session, snapshot)
    assert [row.position for row in stored] == list(range(10))
    assert [Demonstration.from_line(row.line).response for row in stored] == [f"a{i}" for i in range(10)]
    assert [(row.dataset_id, row.dataset_row) for row in stored] == [(dataset.id, i) for i in range(1, 11)]
    text = "".join(row.line + "\n" for row in stored)
    assert snapshot.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_lineage_of_a_file_is_its_row(session: Session, make: Any) -> None:
    record = Ranking(prompt=Prompt.from_text("q"), responses=("a", "b"), groups=((1,), (0,)), lineage={"task": "old"})
    dataset = make.dataset(DatasetKind.PREFERENCES, [record])
    snapshot = freeze_dataset(session, dataset.id, DatasetKind.RANKINGS, make.person().id)
    (line,) = lines_of(session, snapshot)
    assert json.loads(line)["lineage"] == {"dataset": str(dataset.id), "row": "1"}
    assert Ranking.from_line(line).model_copy(update={"lineage": record.lineage}) == record
    assert freeze_dataset(session, dataset.id, DatasetKind.RANKINGS, make.person().id) is snapshot


@pytest.mark.parametrize("kind", list(DatasetKind))
def test_any_data_set_gives_its_prompts_once(session: Session, make: Any, kind: DatasetKind) -> None:
    def record(text: str, criterion: Any = None) -> Any:
        prompt = Prompt(messages=(Message(role="user", content=text),), criterion=criterion)
        held = frozen_rows.HOLDS[kind]
        if held is Demonstration:
            return Demonstration(prompt=prompt, response="r")
        return prompt if held is Prompt else Ranking(prompt=prompt, responses=("a", "b"), groups=((0,), (1,)))

    dataset = make.dataset(kind, [record("one"), record("two", "honest"), record("one", "helpful")])
    snapshot = freeze_dataset(session, dataset.id, DatasetKind.PROMPTS, make.person().id)
    prompts = [Prompt.from_line(line) for line in lines_of(session, snapshot)]
    assert prompts == [Prompt.from_text("one"), Prompt.from_text("two", criterion="honest")]


def test_the_prompts_of_a_project(session: Session, make: Any) -> None:
    project = make.project()
    make.prompt(project, "only one")
    snapshot = freeze_project(session, project.id, make.person().id, DatasetKind.PROMPTS)
    assert lines_of(session, snapshot) == ['{"messages":[{"content":"only one","role":"user"}]}']
    assert snapshot.sources == {"project": str(project.id)}


def test_what_cannot_be_frozen_is_refused_in_one_sentence(session: Session, make: Any) -> None:
    by = make.person().id
    project = make.project(name="empty one")
    empty = make.dataset(DatasetKind.RANKINGS, [])
    chats = make.dataset(DatasetKind.CONVERSATIONS, [Demonstration(prompt=Prompt.from_text("q"), response="a")])
    before = session.scalar(select(func.count()).select_from(Snapshot))
    with pytest.raises(FreezeError, match="Project empty one has no judgements to freeze: let annotators rank"):
        freeze_project(session, project.id, by)
    with pytest.raises(FreezeError, match="collects rankings; demonstrations come from a data set"):
        freeze_project(session, project.id, by, DatasetKind.DEMONSTRATIONS)
    with pytest.raises(FreezeError, match="has no rows to freeze"):
        freeze_dataset(session, empty.id, DatasetKind.RANKINGS, by)
    with pytest.raises(FreezeError, match="holds conversations; a data set of preferences or rankings is needed"):
        freeze_dataset(session, chats.id, DatasetKind.RANKINGS, by)
    for freeze in (lambda: freeze_project(session, uuid.uuid4(), by),
                   lambda: freeze_dataset(session, uuid.uuid4(), DatasetKind.PROMPTS, by)):  # fmt: skip
        with pytest.raises(FreezeError, match="There is no"):
            freeze()
    assert session.scalar(select(func.count()).select_from(Snapshot)) == before


def test_a_judgement_that_is_no_order_is_named(session: Session, make: Any) -> None:
    task = make.task(make.prompt(make.project()))
    bad = make.submission(task, [[0]])
    with pytest.raises(FreezeError, match=f"submission {bad.id} is no order of the responses of task {task.id}"):
        freeze_project(session, task.project_id, make.person().id)


def test_frozen_lines_cannot_be_changed(session: Session, make: Any) -> None:
    project = make.project()
    make.prompt(project)
    snapshot = freeze_project(session, project.id, make.person().id, DatasetKind.PROMPTS)
    rows_of(session, snapshot)[0].line = "{}"
    with pytest.raises(DBAPIError, match="snapshot_rows is append-only: UPDATE is refused"):
        session.flush()
