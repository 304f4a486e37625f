"""The audit: what is recorded, that it stands or falls with the work, and that tampering shows."""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
import uuid
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import Engine, event, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from annotation_api.audit import sealed
from annotation_api.cli.commands import admin as command
from annotation_api.db.audit import ledger, notes
from annotation_api.db.tables import AuditOutcome, AuditRow, Person, Role, Task
from annotation_api.http.audit import UNRECORDED

As = Callable[..., TestClient]


def rows(session: Session) -> list[AuditRow]:
    return list(session.scalars(select(AuditRow).order_by(AuditRow.seq)))


def deed(**fields: Any) -> ledger.Deed:
    values: dict[str, Any] = {
        "action": "POST /v1/things/{id}",
        "outcome": AuditOutcome.DONE,
        "person_id": None,
        "pseudonym": None,
        "objects": {"id": "7"},
        "request_id": "r1",
        "address": "10.0.0.9",
    }
    return ledger.Deed(**values | fields)


# ---------------------------------------------------------------- what is recorded


def test_work_is_recorded_with_who_did_what_to_what(as_: As, person: Callable[..., Person], session: Session) -> None:
    admin, other = person(Role.ADMIN), person(Role.ANNOTATOR)
    answer = as_(admin).patch(f"/v1/people/{other.id}", json={"role": "reviewer"}, headers={"X-Request-ID": "abc-1"})
    assert answer.status_code == 200
    [row] = rows(session)
    assert (row.seq, row.person_id, row.pseudonym) == (1, admin.id, admin.pseudonym)
    assert (row.action, row.objects) == ("PATCH /v1/people/{person_id}", {"person_id": str(other.id)})
    assert (row.outcome, row.request_id, row.address) == (AuditOutcome.DONE, "abc-1", "testclient")


def test_what_was_made_is_named_and_a_replay_is_called_one(as_: As, session: Session) -> None:
    client = as_(Role.ENGINEER)
    for _ in range(2):
        made = client.post("/v1/projects", json={"name": "p"}, headers={"Idempotency-Key": "k"})
    first, second = rows(session)
    assert first.objects == {"made": f"/v1/projects/{made.json()['id']}"}
    assert [first.outcome, second.outcome] == [AuditOutcome.DONE, AuditOutcome.REPLAYED]


def test_reading_and_what_failed_are_not_recorded(as_: As, session: Session) -> None:
    client = as_(Role.ADMIN)
    assert client.get("/v1/people").status_code == 200
    assert client.post("/v1/projects", json={"nam": "p"}).status_code == 422
    assert client.post(f"/v1/people/{uuid.uuid4()}:erase").status_code == 404
    assert rows(session) == []


def test_pages_are_recorded_unless_they_only_ask_again(browser_of: As, person: Callable[..., Person], session) -> None:
    admin, other = person(Role.ADMIN), person(Role.ANNOTATOR)
    browser = browser_of(admin)
    assert browser.post("/projects", data={"name": ""}).status_code == 422
    assert browser.post(f"/people/{other.id}/erase", data={}).status_code == 303
    assert browser.post("/preferences", data={"language": "zh"}).status_code == 303
    assert rows(session) == []
    assert browser.post(f"/people/{other.id}/erase", data={"sure": "yes"}).status_code == 303
    assert [row.action for row in rows(session)] == ["POST /people/{person_id}/erase"]


def test_annotators_at_work_are_not_recorded(as_: As, browser_of: As, make, person, session: Session) -> None:
    project = make.project()
    task: Task = make.task(make.prompt(project))
    annotator = person(Role.ANNOTATOR)
    client = as_(annotator)
    held = client.post(f"/v1/projects/{project.id}/next").json()
    order = [[response["id"]] for response in held["responses"]]
    body = {"id": str(uuid.uuid4()), "kind": "ranking", "assignment": held["assignment"], "payload": {"groups": order}}
    assert client.put(f"/v1/assignments/{held['assignment']}/draft", json={"payload": {}}).status_code == 204
    assert client.post("/v1/submissions", json=body).status_code == 201, task
    assert browser_of(annotator).post(f"/projects/{project.id}/card").status_code == 204
    assert rows(session) == []


def test_tokens_of_links_are_not_recorded(as_: As, client: TestClient, session: Session) -> None:
    token = as_(Role.ADMIN).post("/v1/invitations", json={"role": "annotator"}).json()["token"]
    new = {"email": "new@example.org", "name": "New", "password": "three plain words"}
    joined = client.post(f"/v1/invitations/{token}:accept", json=new).json()
    made, accepted = rows(session)
    assert accepted.objects == {}
    assert str(accepted.person_id) == joined["id"]
    assert not any(token in json.dumps(row.objects) + row.action for row in (made, accepted))


@pytest.mark.parametrize("page", [False, True])
def test_failed_sign_ins_are_recorded(client: TestClient, person, session: Session, page: bool) -> None:
    someone = person()
    wrong = {"email": someone.email, "password": "four plain words here"}
    send = (lambda: client.post("/login", data=wrong)) if page else (lambda: client.post("/v1/session", json=wrong))
    assert send().status_code == 401
    [row] = rows(session)
    assert (row.outcome, row.person_id) == (AuditOutcome.WRONG_CREDENTIALS, None)  # who it was is not proven
    assert row.objects == {"person_id": str(someone.id)}
    right = {"email": someone.email, "password": "three plain words"}
    assert client.post("/v1/session", json=right).status_code == 204
    assert (rows(session)[1].outcome, rows(session)[1].person_id) == (AuditOutcome.DONE, someone.id)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/people"), ("POST", "/v1/submissions"), ("GET", "/audit")])
def test_refused_permissions_are_recorded(as_: As, person, session: Session, method: str, path: str) -> None:
    someone = person(Role.ENGINEER)
    assert as_(someone).request(method, path, json={}).status_code == 403
    [row] = rows(session)
    assert (row.action, row.outcome, row.person_id) == (f"{method} {path}", AuditOutcome.FORBIDDEN, someone.id)


def test_a_refusal_stands_where_it_cannot_be_recorded(as_: As, session: Session, caplog) -> None:
    client = as_(Role.ENGINEER)
    session.execute(text("ALTER TABLE audit RENAME TO elsewhere"))
    assert client.get("/v1/people").status_code == 403
    assert "the audit does not have this refusal: GET /v1/people" in caplog.text


def test_without_the_audit_nothing_is_done(as_: As, session: Session) -> None:
    client = as_(Role.ENGINEER)
    session.execute(text("ALTER TABLE audit RENAME TO elsewhere"))
    assert client.post("/v1/projects", json={"name": "unseen"}).status_code == 500
    session.execute(text("ALTER TABLE elsewhere RENAME TO audit"))
    assert client.get("/v1/projects").json()["items"] == []


def test_every_unrecorded_action_is_a_route(app) -> None:
    listed = {
        f"{method} {context.path}" for context in iter_route_contexts(app.routes) for method in context.methods or ()
    }
    assert listed >= UNRECORDED


# ---------------------------------------------------------------- the chain


def test_the_seal_is_a_hash_over_the_seal_before_and_the_row(session: Session) -> None:
    ledger.append(session, deed())
    [row] = rows(session)
    at = row.at.strftime("%Y-%m-%dT%H:%M:%S.%f")
    fields = (
        '{"action":"POST /v1/things/{id}","address":"10.0.0.9","objects":{"id":"7"},"outcome":"done",'
        '"person_id":null,"pseudonym":null,"request_id":"r1"}'
    )
    written = f"{'0' * 64}\n1\n{at}\n{fields}"
    assert row.sha256 == hashlib.sha256(written.encode()).hexdigest()


@pytest.mark.parametrize("change", ["UPDATE audit SET address = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
def test_rows_are_never_changed(session: Session, change: str) -> None:
    ledger.append(session, deed())
    with pytest.raises(DBAPIError, match="append-only"), session.begin_nested():
        session.execute(text(change))


@pytest.fixture
def chain(session: Session, make: Any) -> Session:
    """Twelve rows, with the triggers off: what the owner of the tables or a superuser can do to them."""
    someone = make.person()
    for number in range(12):
        ledger.append(session, deed(objects={"id": str(number)}, person_id=someone.id, pseudonym=someone.pseudonym))
    session.execute(text("ALTER TABLE audit DISABLE TRIGGER audit_append_only"))
    return session


@pytest.mark.parametrize(
    ("tampering", "broken", "reason"),
    [
        ("UPDATE audit SET address = '10.0.0.8' WHERE seq = 5", 5, "was changed"),
        ("UPDATE audit SET at = at + interval '1 microsecond' WHERE seq = 5", 5, "was changed"),
        ("UPDATE audit SET person_id = NULL WHERE seq = 5", 5, "was changed"),
        ("UPDATE audit SET pseudonym = 'another' WHERE seq = 1", 1, "was changed"),
        ("UPDATE audit SET action = 'GET /' WHERE seq = 12", 12, "was changed"),
        ("UPDATE audit SET objects = '{}' WHERE seq = 7", 7, "was changed"),
        ("UPDATE audit SET outcome = 'forbidden' WHERE seq = 7", 7, "was changed"),
        ("UPDATE audit SET request_id = '' WHERE seq = 7", 7, "was changed"),
        ("UPDATE audit SET sha256 = repeat('a', 64) WHERE seq = 7", 7, "was changed"),
        ("DELETE FROM audit WHERE seq = 7", 7, "is missing"),
        ("DELETE FROM audit WHERE seq <= 2", 1, "is missing"),
        ("UPDATE audit SET seq = 20 WHERE seq = 7", 7, "is missing"),
    ],
)
def test_tampering_is_found_at_its_row(chain: Session, tampering: str, broken: int, reason: str) -> None:
    assert ledger.verify(chain) == ledger.ChainCheck(12, rows(chain)[11].sha256)
    chain.execute(text(tampering))
    chain.expire_all()
    found = ledger.verify(chain)
    assert (found.broken, found.rows) == (broken, broken - 1)
    assert found.reason is not None
    assert reason in found.reason


def test_a_row_that_is_changed_and_sealed_anew_breaks_the_next(chain: Session) -> None:
    before, row = rows(chain)[4:6]
    forged = ledger.seal(before.sha256, {**vars(row), "address": "10.0.0.8"})
    chain.execute(text("UPDATE audit SET address = '10.0.0.8', sha256 = :seal WHERE seq = 6"), {"seal": forged})
    chain.expire_all()
    assert ledger.verify(chain).broken == 7


def test_a_noted_row_shows_that_the_newest_vanished(chain: Session) -> None:
    noted = (12, rows(chain)[11].sha256)
    chain.execute(text("DELETE FROM audit WHERE seq > 10"))
    assert ledger.verify(chain).broken is None
    assert ledger.verify(chain, noted).broken == 11
    assert ledger.verify(chain, (9, "f" * 64)).broken == 9


def test_the_service_notes_each_row_beside_the_database(as_: As, app: Any, session: Session) -> None:
    """Who cuts the newest rows is found without anybody having noted anything."""
    admin, home = as_(Role.ADMIN), app.state.settings.home
    for number in range(3):
        as_(Role.ENGINEER).post("/v1/projects", json={"name": f"p{number}"})
    newest = rows(session)[-1]
    assert notes.newest(home) == ((3, newest.sha256),)
    [path] = (home / notes.FOLDER).glob("noted-*")
    assert path.stat().st_mode & 0o077 == 0
    assert admin.get("/v1/audit:verify").json()["ok"] is True
    session.execute(text("ALTER TABLE audit DISABLE TRIGGER audit_append_only"))
    session.execute(text("DELETE FROM audit WHERE seq = 3"))
    session.expire_all()
    found = admin.get("/v1/audit:verify").json()
    assert (found["ok"], found["broken"]) == (False, 3)
    assert "which was noted, are missing" in admin.get("/audit?verify=true", headers={"Accept": "text/html"}).text


def test_a_note_that_cannot_be_written_stops_nobody(
    as_: As, app: Any, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    (app.state.settings.home / notes.FOLDER).write_text("in the way")
    try:
        assert as_(Role.ENGINEER).post("/v1/projects", json={"name": "p"}).status_code == 201
    finally:
        (app.state.settings.home / notes.FOLDER).unlink()
    assert "the audit's row 1 is noted in this log only" in caplog.text


def test_notes_that_were_cut_short_or_came_out_of_order_are_read(tmp_path: Path) -> None:
    (tmp_path / notes.FOLDER).mkdir()
    lines = [f"2 {'b' * 64} x", f"3 {'c' * 64} x", f"1 {'a' * 64} x", f"4 {'d' * 10}"]
    (tmp_path / notes.FOLDER / "noted-2026-01.txt").write_text("\n".join(lines))
    (tmp_path / notes.FOLDER / "noted-2026-02.txt").write_text("")
    assert notes.newest(tmp_path) == ((3, "c" * 64),)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealed, "SEGMENT", 5)


@pytest.mark.usefixtures("small")
def test_the_audit_is_sealed_into_files_that_vouch_for_themselves(chain: Session, tmp_path: Path) -> None:
    assert sealed.write(chain, tmp_path) == 2
    assert sealed.write(chain, tmp_path) == 0
    assert sealed.ends(tmp_path) == [(5, rows(chain)[4].sha256), (10, rows(chain)[9].sha256)]
    assert sealed.check(tmp_path) == ledger.ChainCheck(10, rows(chain)[9].sha256)
    assert len(rows(chain)) == 12  # nothing is taken out
    chain.execute(text("DELETE FROM audit WHERE seq > 8"))
    chain.expire_all()
    assert ledger.verify(chain, *sealed.ends(tmp_path)).broken == 9


@pytest.mark.usefixtures("small")
def test_a_file_that_was_changed_or_taken_out_is_found(chain: Session, tmp_path: Path) -> None:
    sealed.write(chain, tmp_path)
    first, second = sorted((tmp_path / notes.FOLDER).glob("rows-*"))
    whole = gzip.decompress(second.read_bytes())
    second.write_bytes(gzip.compress(whole.replace(b"10.0.0.9", b"10.0.0.8", 1)))
    assert sealed.check(tmp_path).broken == 6
    second.write_bytes(gzip.compress(whole[: whole.rindex(b"\n", 0, -1) + 1]))
    assert sealed.check(tmp_path).broken == 10
    second.write_bytes(gzip.compress(whole)[:-20])
    assert "cannot be read" in str(sealed.check(tmp_path).reason)
    second.write_bytes(gzip.compress(whole))
    assert sealed.check(tmp_path).broken is None
    first.unlink()
    assert sealed.check(tmp_path).broken == 1


def test_rows_that_come_together_form_one_chain(fresh_engine: Engine) -> None:
    start = threading.Barrier(8)

    def add(_: int) -> None:
        start.wait()
        for _ in range(10):
            with Session(fresh_engine) as session:
                ledger.commit_with(session, deed())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(8)))
    with Session(fresh_engine) as session:
        assert ledger.verify(session).rows == 80
        assert ledger.verify(session).broken is None


def test_what_is_acknowledged_is_on_the_disk(fresh_engine: Engine) -> None:
    """The commit that others wait for does not wait for the disk; what follows does, before anybody is answered."""
    committed: list[str] = []
    with Session(fresh_engine) as session, Session(fresh_engine) as other:

        def note(_: Session) -> None:
            committed.append(other.scalar(text("SELECT pg_current_wal_insert_lsn()::text")) or "")

        event.listen(session, "before_commit", lambda s: committed.append(s.scalar(text("SHOW synchronous_commit"))))
        event.listen(session, "after_commit", note)
        ledger.commit_with(session, deed())
        waits, written = committed[:2]
        asked = text("SELECT pg_current_wal_flush_lsn() >= CAST(:written AS pg_lsn)")
        assert (waits, other.scalar(asked, {"written": written})) == ("off", True)


def test_what_waits_for_the_disk_is_one_trip_and_leaves_the_connection_as_it_was(fresh_engine: Engine) -> None:
    with Session(fresh_engine) as session:
        ledger.commit_with(session, deed())
        driver = session.connection().connection.driver_connection
        assert driver is not None
        assert not driver.autocommit
        assert session.scalar(text("SELECT count(*) FROM audit")) == 1
        session.rollback()


# ---------------------------------------------------------------- reading it


def test_the_list_has_pages_and_filters(as_: As, person, session: Session) -> None:
    admin, engineer = person(Role.ADMIN), person(Role.ENGINEER)
    mine = [as_(engineer).post("/v1/projects", json={"name": f"p{n}"}).json()["id"] for n in range(3)]
    client = as_(admin)
    client.patch(f"/v1/projects/{mine[1]}", json={"overlap": 2})
    as_(engineer).get("/v1/people")

    def seqs(**query: Any) -> list[int]:
        return [row["seq"] for row in client.get("/v1/audit", params=query).json()["items"]]

    assert seqs() == [5, 4, 3, 2, 1]
    first = client.get("/v1/audit", params={"limit": 2}).json()
    assert [row["seq"] for row in first["items"]] == [5, 4]
    assert seqs(limit=2, cursor=first["next"]) == [3, 2]
    assert seqs(person=str(admin.id)) == [4]
    assert seqs(action="PATCH") == [4]
    assert seqs(object=mine[1]) == [4, 2]  # its id in the path, and at the end of what was made
    assert seqs(outcome="forbidden") == [5]
    assert seqs(since="2999-01-01T00:00:00Z") == []
    assert client.get("/v1/audit", params={"cursor": "x"}).status_code == 422


def test_admins_have_a_page(browser_of: As, as_: As, person) -> None:
    engineer = person(Role.ENGINEER)
    as_(engineer).post("/v1/projects", json={"name": "p"})
    as_(engineer).get("/v1/people")
    browser = browser_of(Role.ADMIN)
    page = browser.get("/audit")
    assert page.status_code == 200
    assert "POST /v1/projects" in page.text
    assert engineer.pseudonym in page.text
    assert 'href="/audit"' in browser.get("/").text
    assert "POST /v1/projects" not in browser.get("/audit?person=&action=&object=&outcome=forbidden").text
    assert "All rows hold: 2." in browser.get("/audit?verify=true").text


def test_the_command_names_the_broken_row(chain: Session, as_: As, capsys: pytest.CaptureFixture[str]) -> None:
    client = as_(Role.ADMIN)

    class Reads:
        def get(self, path: str, **query: Any) -> Any:
            return client.get(path, params=query).json()

    def run(noted: str | None = None, as_json: bool = False) -> int:
        return command.verify(Reads(), Namespace(json=as_json, noted=noted))  # type: ignore[arg-type]

    assert run() == 0
    noted = capsys.readouterr().out.split()[-1]
    assert noted.startswith("12:")
    assert run(noted) == 0
    chain.execute(text("UPDATE audit SET address = 'x' WHERE seq = 3"))
    chain.expire_all()
    assert run() == 1
    assert "row 3 does not hold: The row or the one before it was changed." in capsys.readouterr().err
