"""What making a job asks of the database, counted: a crowd makes them, and each statement is a trip and a wait."""

from __future__ import annotations

from typing import Any

from annotation_api.db.tables import ModelKind, Role
from tests.support.jobs import As, Body

# Who calls; the quota, committed by itself. The models, the data set, its snapshot; the room in the queue; the job with
# its event; the audit's lock and its row. Once more after the commit, alone: all of it is on the disk.
STATEMENTS = 10
COMMITS = 3  # the quota, the work, and what is on the disk: in a test a part of the test's transaction


def cost(asked: list[str]) -> tuple[int, int]:
    """Statements, and the savepoints that stand for transactions in a test."""
    return sum("SAVEPOINT" not in one for one in asked), sum(one.startswith("RELEASE") for one in asked)


def test_a_job_is_made_with_few_statements(as_: As, body: Body, statements: Any) -> None:
    client = as_(Role.ENGINEER)
    assert client.post("/v1/jobs", json=body("sft")).status_code == 202  # freezes the data
    with statements() as asked:
        answer = client.post("/v1/jobs", json=body("sft") | {"name": "n", "notes": "why", "tags": ["t"], "gpus": 1})
    assert answer.status_code == 202, answer.text
    assert cost(asked) == (STATEMENTS, COMMITS), asked
    made = answer.json()
    assert (made["name"], made["notes"], made["tags"], made["preset"]) == ("n", "why", ["t"], "defaults")


def test_several_models_are_asked_for_together(as_: As, body: Body, make: Any, things: Any, statements: Any) -> None:
    client, path = as_(Role.ENGINEER), make.session.get_one(type(make.model()), things["base"]).path
    models = [{"model": str(make.model(ModelKind.SFT, path=path).id)} for _ in range(4)]
    job = body("sample", models=[*models, {"alias": "champion"}])
    assert client.post("/v1/jobs", json=job).status_code == 202
    with statements() as asked:
        assert client.post("/v1/jobs", json=job).status_code == 202
    assert cost(asked)[0] == STATEMENTS + 1, asked  # the aliases


def test_a_repeat_with_its_key_makes_nothing(as_: As, body: Body, statements: Any) -> None:
    client, headers = as_(Role.ENGINEER), {"Idempotency-Key": "once"}
    first = client.post("/v1/jobs", json=body("sft"), headers=headers)
    with statements() as asked:
        again = client.post("/v1/jobs", json=body("sft"), headers=headers)
    assert (again.status_code, again.json()) == (202, first.json())
    assert not any("INSERT INTO jobs" in one for one in asked)
