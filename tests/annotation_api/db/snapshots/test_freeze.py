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

from alignment.shared.records import Answer, Answers, Candidates, Demonstration, Message, Prompt, Ranking, RuleVerdict
from annotation_api.db import form_rows
from annotation_api.db.forms import Option, Question, QuestionsForm, RankingForm, Rule, RulesForm
from annotation_api.db.snapshots import frozen_rows
from annotation_api.db.snapshots.freeze import freeze_dataset, freeze_project
from annotation_api.db.snapshots.frozen_rows import FreezeError
from annotation_api.db.tables import (
    Assignment,
    DatasetKind,
    FeedbackKind,
    Project,
    Role,
    Snapshot,
    SnapshotRow,
    Submission,
    Task,
)

SIDES = (Option(id="a", text="A"), Option(id="b", text="B"))


def rows_of(session: Session, snapshot: Snapshot) -> list[SnapshotRow]:
    query = select(SnapshotRow).where(SnapshotRow.snapshot_id == snapshot.id).order_by(SnapshotRow.position)
    return list(session.scalars(query))


def lines_of(session: Session, snapshot: Snapshot) -> list[str]:
    return [row.line for row in rows_of(session, snapshot)]


def records(session: Session, project: Project, kind: DatasetKind, of: type[Any]) -> list[Any]:
    snapshot = freeze_project(session, project.id, project.created_by, kind)
    assert snapshot.kind == kind
    return [of.from_line(line) for line in lines_of(session, snapshot)]


def judge(make: Any, task: Task, payload: dict[str, Any], shown: Assignment | None = None) -> Submission:
    """A judgement of a task that is no ranking."""
    shown = shown or make.assignment(task, make.person(Role.ANNOTATOR))
    row = Submission(id=uuid.uuid4(), assignment_id=shown.id, kind=task.kind, payload=payload, payload_hash="0" * 64)
    make.session.add(row)
    make.session.flush()
    return row


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
        f'"lineage":{{"form_version":"1","submission":"{submission.id}","task":"{task.id}"}},'
        '"prompt":{"criterion":"honest","language":"de","messages":[{"content":"Wie spät?","role":"user"}]},'
        '"responses":["acht","neun","ich weiß nicht"],"strength":3}'
    )
    assert lines_of(session, snapshot) == [line]
    assert snapshot.sha256 == hashlib.sha256(line.encode() + b"\n").hexdigest()
    assert (snapshot.kind, snapshot.rows) == (DatasetKind.RANKINGS, 1)
    assert snapshot.sources == {"project": str(task.project_id), "last_submission": submission.seq}
    assert rows_of(session, snapshot)[0].submission_id == submission.id


def test_a_ranking_keeps_all_that_was_said_of_each_response(session: Session, make: Any) -> None:
    """By position of the response, not by its id; the form's criterion goes before the prompt's."""
    rule = Rule(id="no_threats", text="Do not threaten.")
    project = make.project(forms=[RankingForm(criterion="harmless", ratings="required", rules=(rule,))])
    task = make.task(make.prompt(project, Prompt.from_text("q", criterion="honest")), ("a", "b", "c"))
    one, two, three = (str(key) for key in make.response_ids(task))
    said = {
        "ratings": {three: 7, one: 1, two: 4},
        "flags": {two: ["unsafe", "pii"]},
        "broken": {three: ["no_threats"]},
        "note": "c is clear",
    }
    make.submission(task, [[2], [0, 1]], payload=said)
    (record,) = records(session, project, DatasetKind.RANKINGS, Ranking)
    assert (record.ratings, record.flags) == ((1, 4, 7), ((), ("unsafe", "pii"), ()))
    assert (record.broken_rules, record.rationale) == (((), (), ("no_threats",)), "c is clear")
    assert (record.criterion, record.groups) == ("harmless", ((2,), (0, 1)))


def test_answers_carry_the_wording_of_the_form_that_was_shown(session: Session, make: Any) -> None:
    """A pair stands as it was shown, because the questions call its sides A and B."""
    old = QuestionsForm(about="pair", questions=(
        Question(id="better", text="Which is better?", kind="choice", options=SIDES, criterion="helpful"),
        Question(id="polite", text="Is B polite?", kind="yes_no"),
        Question(id="grade", text="How sure?", kind="scale", required=False),
    ))  # fmt: skip
    project = make.project(forms=[old])
    task = make.task(make.prompt(project), ("first", "second"), kind=FeedbackKind.QUESTIONS)
    newer = old.model_copy(update={"questions": (Question(id="polite", text="Another wording", kind="text"),)})
    form_rows.add_form(session, project.id, newer, project.created_by)
    person = make.person(Role.ANNOTATOR, pseudonym="annotator-7")
    first, second = (str(key) for key in make.response_ids(task))
    shown = make.assignment(task, person, display_order=[second, first])
    answers = {"polite": False, "better": "a"}
    submission = judge(make, task, {"answers": answers, "flags": {first: ["pii"]}, "note": "why"}, shown)
    (record,) = records(session, project, DatasetKind.ANSWERS, Answers)
    assert record == Answers(
        prompt=Prompt.from_text("What is 2 + 2?"),
        responses=("second", "first"),
        answers=(
            Answer(question="better", text="Which is better?", value="a", criterion="helpful"),
            Answer(question="polite", text="Is B polite?", value=False),
        ),
        flags=((), ("pii",)),
        rationale="why",
        annotator="annotator-7",
        lineage={"submission": str(submission.id), "task": str(task.id), "form_version": "1"},
    )


def test_each_rule_gives_a_verdict_in_the_order_of_the_rule_set(session: Session, make: Any) -> None:
    rules = (Rule(id="threats", text="No threats."), Rule(id="facts", text="No false facts.", criterion="honest"),
             Rule(id="advice", text="No medical advice."))  # fmt: skip
    project = make.project(forms=[RulesForm(rules=rules)])
    task = make.task(make.prompt(project), ("only",), kind=FeedbackKind.RULES, rules=["facts", "threats"])
    (response,) = (str(key) for key in make.response_ids(task))
    judge(make, task, {"verdicts": {"facts": "broken", "threats": "unsure"}, "flags": {response: ["unsafe"]}})
    found = records(session, project, DatasetKind.VERDICTS, RuleVerdict)
    said = [(one.rule, one.text, one.verdict, one.criterion, one.response, one.flags) for one in found]
    assert said == [
        ("threats", "No threats.", "unsure", "harmless", "only", ("unsafe",)),
        ("facts", "No false facts.", "broken", "honest", "only", ("unsafe",)),
    ]
    assert len({row.lineage["submission"] for row in found}) == 1


def test_better_answers_of_every_kind_of_task_are_demonstrations(session: Session, make: Any) -> None:
    question = Question(id="ok", text="Ok?", kind="yes_no")
    project = make.project(forms=[RankingForm(), QuestionsForm(questions=(question,)), RulesForm(rules=(
        Rule(id="threats", text="No threats."),))])  # fmt: skip
    prompt = make.prompt(project)
    ranked, plain = make.task(prompt), make.task(prompt)
    asked = make.task(prompt, ("x",), kind=FeedbackKind.QUESTIONS)
    probed = make.task(prompt, ("y",), kind=FeedbackKind.RULES)
    base = str(make.response_ids(ranked)[0])
    first = make.submission(ranked, [[0], [1]], payload={"demonstration": {"text": "old"}})
    make.submission(ranked, [[0], [1]], assignment_id=first.assignment_id, supersedes=first.id,
                    payload={"demonstration": {"text": "4, of course", "based_on": base}})  # fmt: skip
    make.submission(plain, [[0], [1]])
    judge(make, asked, {"answers": {"ok": True}, "demonstration": {"text": "from a question"}})
    judge(make, probed, {"verdicts": {"threats": "kept"}, "demonstration": {"text": "from a rule"}})
    found = records(session, project, DatasetKind.DEMONSTRATIONS, Demonstration)
    assert [one.response for one in found] == ["4, of course", "from a question", "from a rule"]
    assert [one.lineage.get("based_on") for one in found] == [base, None, None]
    assert [one.lineage["task"] for one in found] == [str(task.id) for task in (ranked, asked, probed)]


def test_an_answer_that_the_form_does_not_ask_is_named(session: Session, make: Any) -> None:
    project = make.project(forms=[QuestionsForm(questions=(Question(id="ok", text="Ok?", kind="yes_no"),))])
    task = make.task(make.prompt(project), ("x",), kind=FeedbackKind.QUESTIONS)
    bad = judge(make, task, {"answers": {"other": True}})
    with pytest.raises(FreezeError, match=f"submission {bad.id} is no answer .* the form does not ask other"):
        freeze_project(session, project.id, project.created_by, DatasetKind.ANSWERS)


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
    monkeypatch.setattr("annotation_api.db.snapshots.freeze.BATCH", 3)
    monkeypatch.setattr("annotation_api.db.snapshots.freeze.BATCH_SIZE", 200)
    monkeypatch.setattr("annotation_api.db.snapshots.frozen_rows.BATCH", 2)
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


@pytest.mark.parametrize("kind", sorted(set(DatasetKind) - frozen_rows.COLLECTED))
def test_any_data_set_gives_its_prompts_once(session: Session, make: Any, kind: DatasetKind) -> None:
    def record(text: str, criterion: Any = None) -> Any:
        prompt = Prompt(messages=(Message(role="user", content=text),), criterion=criterion)
        held = frozen_rows.HOLDS[kind]
        if held is Demonstration:
            return Demonstration(prompt=prompt, response="r")
        if held is Candidates:
            return Candidates(prompt=prompt, responses=("a", "b"))
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


NOTHING_YET = {
    DatasetKind.PROMPTS: "prompts to freeze: add tasks",
    DatasetKind.ANSWERS: "answers to freeze: let annotators answer",
    DatasetKind.VERDICTS: "verdicts to freeze: let annotators judge",
    DatasetKind.DEMONSTRATIONS: "better answers to freeze: annotators write them",
}


def test_what_cannot_be_frozen_is_refused_in_one_sentence(session: Session, make: Any) -> None:
    by = make.person().id
    project = make.project(name="empty one")
    empty = make.dataset(DatasetKind.RANKINGS, [])
    chats = make.dataset(DatasetKind.CONVERSATIONS, [Demonstration(prompt=Prompt.from_text("q"), response="a")])
    before = session.scalar(select(func.count()).select_from(Snapshot))
    with pytest.raises(FreezeError, match="Project empty one has no judgements to freeze: let annotators rank"):
        freeze_project(session, project.id, by)
    for kind, words in NOTHING_YET.items():
        with pytest.raises(FreezeError, match=f"Project empty one has no {words}"):
            freeze_project(session, project.id, by, kind)
    with pytest.raises(FreezeError, match="verdicts, demonstrations, prompts; preferences come from a data set"):
        freeze_project(session, project.id, by, DatasetKind.PREFERENCES)
    with pytest.raises(FreezeError, match="holds no verdicts: they are collected in a project"):
        freeze_dataset(session, chats.id, DatasetKind.VERDICTS, by)
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
