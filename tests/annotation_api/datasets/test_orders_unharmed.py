"""Generated partial orders, from what a form sends to what an export holds, without a mismatch: 1,000, or 10,000.

The generator knows for each response how good it is. The expectation is worked from that alone; the
code under test sees response ids in groups. Some go over HTTP and some through the service that
the routes and pages call; the rest are read and checked by the same code, and stored many in a statement
in the form in which the service stored those.
"""

from __future__ import annotations

import csv
import io
import json
import random
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import TypeAdapter
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from alignment.shared.records import Message, Prompt, sha256_text
from annotation_api.annotation.submissions import service
from annotation_api.annotation.submissions.checks import problems_of
from annotation_api.annotation.submissions.schemas import NewSubmission
from annotation_api.datasets.exports import ExportFormat, export
from annotation_api.db.forms import FLAGS, RankingForm, Rule
from annotation_api.db.snapshots.freeze import freeze_project
from annotation_api.db.tables import (
    Assignment,
    AssignmentState,
    Form,
    Person,
    Project,
    PromptRow,
    ResponseRow,
    Role,
    SnapshotRow,
    Submission,
    Task,
    TaskResponse,
)

OVER_HTTP = 0.03  # of the orders
BY_SERVICE = 0.07
OF_A_PROMPT = 4  # orders
RULES = (Rule(id="no_threats", text="Do not threaten."), Rule(id="no_advice", text="No medical advice."))
FORM = RankingForm(ratings="optional", rules=RULES)
SUBMISSION: TypeAdapter[Any] = TypeAdapter(NewSubmission)
MARGIN = {None: 0.0, 1: 0.0, 2: 1 / 3, 3: 2 / 3, 4: 1.0}  # Llama 2, table 27: of the best over the others
TEXTS = ("=1+2", "+1", "-x", "@SUM(A1)", "\tcell", "\rcell", '"quoted", twice ""', "好的，谢谢", "שלום", "é\u0301",
         "👩‍👩‍👧", "<script>alert(1)</script>", "two\nlines", " ", "a,b;c", "\u2028", "'", "\\")  # fmt: skip


@dataclass
class Case:
    """One task, how good each response is in truth (0 = best, by position), and all else that was said."""

    task: uuid.UUID
    assignment: uuid.UUID
    person: int
    prompt: Prompt
    ids: list[uuid.UUID]
    texts: list[str]
    ranks: list[int]
    said: dict[str, Any]
    submission: uuid.UUID


def some_prompt(chance: random.Random, number: int) -> Prompt:
    asked = Message(role="user", content=f"{chance.choice(TEXTS)} question {number}")
    before = (Message(role="user", content="before"), Message(role="assistant", content=chance.choice(TEXTS)))
    return Prompt(messages=(*(before if chance.random() < 0.2 else ()), asked))


def some_ranks(chance: random.Random, texts: list[str]) -> list[int]:
    """Any weak order, best = 0 and without gaps; equal texts are equally good. One in ten is a single tie."""
    levels = 1 if chance.random() < 0.1 else chance.randint(1, len(texts))
    raw = {text: chance.randrange(levels) for text in set(texts)}
    step = {value: place for place, value in enumerate(sorted(set(raw.values())))}
    return [step[raw[text]] for text in texts]


def some_words(chance: random.Random, count: int) -> dict[str, Any]:
    """What is said besides the order, by position."""
    flags = {i: chance.sample([flag.id for flag in FLAGS], chance.randint(1, 3)) for i in range(count)
             if chance.random() < 0.1}  # fmt: skip
    broken = {i: ["no_advice"] for i in range(count) if chance.random() < 0.05}
    return {
        "all_bad": chance.random() < 0.1,
        "strength": chance.choice((None, None, 1, 2, 3, 4)),
        "ratings": [chance.randint(1, 7) for _ in range(count)] if chance.random() < 0.5 else None,
        "flags": flags,
        "broken": broken,
        "note": chance.choice((None, "=why", "因为 🙂")),
    }


def payload(case: Case, chance: random.Random) -> dict[str, Any]:
    """The body's payload, as the page builds it: groups of ids, best first, each in any order inside."""
    groups = [[str(case.ids[i]) for i, rank in enumerate(case.ranks) if rank == level]
              for level in range(max(case.ranks) + 1)]  # fmt: skip
    for group in groups:
        chance.shuffle(group)
    said = case.said
    body: dict[str, Any] = {"groups": groups}
    body |= {name: said[name] for name in ("all_bad", "strength", "note") if said[name]}
    if said["ratings"]:
        body["ratings"] = {str(key): rating for key, rating in zip(case.ids, said["ratings"], strict=True)}
    for name in ("flags", "broken"):
        if said[name]:
            body[name] = {str(case.ids[i]): names for i, names in said[name].items()}
    return body


def prepared(
    session: Session, project: Project, people: list[Person], chance: random.Random, orders: int
) -> list[Case]:
    """The tasks, each leased to somebody, stored in a few statements."""
    prompts = [some_prompt(chance, number) for number in range(orders // OF_A_PROMPT)]
    prompt_ids = [uuid.uuid4() for _ in prompts]
    form = session.scalars(select(Form.id).where(Form.project_id == project.id)).one()
    cases, rows = [], defaultdict(list)
    for key, prompt in zip(prompt_ids, prompts, strict=True):
        record = prompt.model_dump(mode="json", exclude_none=True)
        rows[PromptRow].append({"id": key, "project_id": project.id, "key": prompt.key, "record": record})
    for number in range(orders):
        asked, count = number % len(prompts), 2 + number % 8
        texts = [f"{chance.choice(TEXTS)} {chance.randrange(12)}" for _ in range(count)]
        case = Case(uuid.uuid4(), uuid.uuid4(), number % len(people), prompts[asked], [uuid.uuid4() for _ in texts],
                    texts, some_ranks(chance, texts), some_words(chance, count), uuid.uuid4())  # fmt: skip
        cases.append(case)
        rows[Task].append({"id": case.task, "project_id": project.id, "prompt_id": prompt_ids[asked], "overlap": 1,
                           "form_id": form})  # fmt: skip
        for place, (key, answer) in enumerate(zip(case.ids, texts, strict=True)):
            response = {"id": key, "prompt_id": prompt_ids[asked], "text": answer, "text_hash": sha256_text(answer)}
            rows[ResponseRow].append(response)
            rows[TaskResponse].append({"task_id": case.task, "position": place, "response_id": key})
        rows[Assignment].append(
            {"id": case.assignment, "task_id": case.task, "person_id": people[case.person].id,
             "state": AssignmentState.LEASED, "display_order": [str(key) for key in chance.sample(case.ids, count)],
             "lease_until": datetime.now(UTC) + timedelta(hours=1)})  # fmt: skip
    for table in (PromptRow, Task, ResponseRow, TaskResponse, Assignment):
        session.execute(insert(table), rows[table])
    as_autovacuum_would(session)
    return cases


def as_autovacuum_would(session: Session) -> None:
    """Tell the planner of so many new rows: on the figures of an empty table a statement takes minutes."""
    session.execute(text("ANALYZE"))


def stored(new: Any) -> dict[str, Any]:
    """The columns of a submission."""
    payload = new.payload.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return {"id": new.id, "assignment_id": new.assignment, "supersedes": new.supersedes, "payload": payload,
            "payload_hash": "0" * 64}  # fmt: skip


def judge(cases: list[Case], send: Callable[[Case, dict[str, Any]], None], chance: random.Random) -> None:
    """Every case once; a third is corrected, some of them twice. Only the last word is expected."""
    for case in cases:
        last = None
        for _ in range(chance.choice((1, 1, 1, 1, 2, 3))):
            case.ranks, case.said = some_ranks(chance, case.texts), some_words(chance, len(case.texts))
            case.submission = uuid.uuid4()
            body = {"id": str(case.submission), "assignment": str(case.assignment), "payload": payload(case, chance)}
            send(case, body | ({"supersedes": str(last)} if last else {}))
            last = case.submission


def expected_record(case: Case, people: list[Person]) -> dict[str, Any]:
    """The canonical record, from positions alone."""
    said, count = case.said, len(case.texts)
    groups = [[i for i in range(count) if case.ranks[i] == level] for level in sorted(set(case.ranks))]
    record = {
        "prompt": {"messages": [{"role": m.role, "content": m.content} for m in case.prompt.messages]},
        "responses": case.texts,
        "groups": groups,
        "annotator": people[case.person].pseudonym,
        "lineage": {"task": str(case.task), "submission": str(case.submission), "form_version": "1"},
    }
    record |= {name: said[name] for name in ("all_bad", "strength", "ratings") if said[name]}
    record |= {"rationale": said["note"]} if said["note"] else {}
    for name, ours in (("flags", "flags"), ("broken", "broken_rules")):
        if said[name]:
            record[ours] = [said[name].get(i, []) for i in range(count)]
    return record


def expected_pairs(case: Case) -> list[tuple[str, str]]:
    ranked = sorted(zip(case.ranks, case.texts, strict=True))
    return sorted((good, bad) for rank, good in ranked for worse, bad in ranked if rank < worse)


@pytest.fixture(params=[1_000, pytest.param(10_000, marks=pytest.mark.deep(reason="ten times as many of the same"))])
def collected(
    session: Session, make: Any, as_: Any, request: pytest.FixtureRequest
) -> tuple[list[Case], list[Person], list[str]]:
    """The cases, and the lines of the snapshot that they gave."""
    orders: int = request.param
    chance = random.Random(20260722)
    people = [make.person(Role.ANNOTATOR) for _ in range(8)]
    project = make.project(forms=[FORM])
    cases = prepared(session, project, people, chance, orders)
    clients: list[TestClient] = [as_(person) for person in people]

    def over_http(case: Case, body: dict[str, Any]) -> None:
        answer = clients[case.person].post("/v1/submissions", json=body)
        assert answer.status_code == 201, answer.text

    def by_service(case: Case, body: dict[str, Any]) -> None:
        new = SUBMISSION.validate_json(json.dumps(body))
        shown, first = service.judge(session, people[case.person], new)
        assert (first, shown.payload) == (True, stored(new)["payload"])

    rows: list[dict[str, Any]] = []

    def in_bulk(case: Case, body: dict[str, Any]) -> None:
        new = SUBMISSION.validate_json(json.dumps(body))
        assert problems_of(FORM, new.payload, dict(zip(case.ids, case.texts, strict=True)), None) == []
        rows.append(stored(new))

    first, second = round(OVER_HTTP * orders), round((OVER_HTTP + BY_SERVICE) * orders)
    judge(cases[:first], over_http, chance)
    judge(cases[first:second], by_service, chance)
    judge(cases[second:], in_bulk, chance)
    session.execute(insert(Submission), rows)
    as_autovacuum_would(session)
    snapshot = freeze_project(session, project.id, project.created_by)
    lines = select(SnapshotRow.line).where(SnapshotRow.snapshot_id == snapshot.id).order_by(SnapshotRow.position)
    return cases, people, list(session.scalars(lines))


def test_orders_come_out_as_they_went_in(
    collected: tuple[list[Case], list[Person], list[str]],
) -> None:
    cases, people, lines = collected
    assert {len(case.texts) for case in cases} == set(range(2, 10))
    by_task = {str(case.task): case for case in cases}
    found = [json.loads(line) for line in lines]
    assert len(found) == len(cases)
    wrong = [row for row in found if row != expected_record(by_task[row["lineage"]["task"]], people)]
    assert wrong[:3] == []

    exported = b"".join(export(lines, "rankings", ExportFormat.TRL))
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    sides: dict[str, set[str]] = defaultdict(set)
    for row in map(json.loads, exported.splitlines()):
        rows[json.loads(row["lineage"])["task"]].append(row)
        sides[json.dumps(row["prompt"])].add(row["split"])
    for case in cases:
        check_pairs(case, rows[str(case.task)])
    assert max(map(len, sides.values())) == 1
    assert 0.05 < sum(side == {"heldout"} for side in sides.values()) / len(sides) < 0.15  # a tenth is held out
    assert b"".join(export(lines, "rankings", ExportFormat.TRL)) == exported
    check_table(exported, b"".join(export(lines, "rankings", ExportFormat.CSV)))


def check_pairs(case: Case, rows: list[dict[str, Any]]) -> None:
    pairs = expected_pairs(case)
    best = {text for rank, text in zip(case.ranks, case.texts, strict=True) if rank == min(case.ranks)}
    assert sorted((row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows) == pairs
    for row in rows:
        assert row["prompt"] == [{"role": m.role, "content": m.content} for m in case.prompt.messages]
        asked = MARGIN[case.said["strength"]] if row["chosen"][0]["content"] in best else 0.0
        assert (row["margin"], row["weight"]) == (asked, 1 / len(pairs))


def check_table(trl: bytes, table: bytes) -> None:
    """The CSV has the same rows, and no cell that a spreadsheet would run."""
    read = list(csv.DictReader(io.StringIO(table.decode(), newline="")))
    rows = [json.loads(line) for line in trl.splitlines()]
    assert len(read) == len(rows)
    for cells, row in zip(read, rows, strict=True):
        assert not any(text.startswith(("=", "+", "-", "@", "\t", "\r")) for text in cells.values())
        for name in ("chosen", "rejected"):
            text = row[name][0]["content"]
            assert cells[name] == (f"'{text}" if text[0] in "=+-@\t\r" else text)
        assert float(cells["weight"]) == row["weight"]
