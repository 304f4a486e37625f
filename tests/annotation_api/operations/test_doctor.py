"""`rankloop doctor`: each thing that it looks for, planted and found."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from annotation_api.cli import main
from annotation_api.db.audit import notes
from annotation_api.db.audit.ledger import Noted
from annotation_api.db.tables import Role
from annotation_api.operations import doctor
from annotation_api.operations.backup import LAST
from annotation_api.operations.doctor import Finding, FindingState
from annotation_api.settings import Settings

Examine = Callable[..., dict[str, list[Finding]]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    for name in ("logs", "artifacts"):
        (home / name).mkdir(parents=True)
    doctor.close(home, as_root=False, ours=home.stat().st_uid)
    return home


@pytest.fixture
def examine(fresh_database: str, home: Path) -> Examine:
    def look(**settings: Any) -> dict[str, list[Finding]]:
        found: dict[str, list[Finding]] = {}
        for finding in doctor.examine(Settings(database_url=fresh_database, home=home, **settings)):
            found.setdefault(finding.check, []).append(finding)
        return found

    return look


def states(found: dict[str, list[Finding]], check: str) -> list[FindingState]:
    return [finding.state for finding in found[check]]


def test_a_sound_deployment_has_no_fault(examine: Examine, fresh_engine: Engine, factory: Any, home: Path) -> None:
    with Session(fresh_engine) as session:
        for _ in range(2):
            factory(session).person(Role.ADMIN)
        session.commit()
    (home / LAST).write_text(json.dumps({"at": datetime.now(UTC).isoformat()}))
    found = examine()
    assert [one for many in found.values() for one in many if one.state is not FindingState.OK] == []
    assert {"exposure", "proxy", "files", "secrets", "disk", "backup", "versions", "database role", "clock", "accounts",
            "audit", "audit files"} == found.keys()  # fmt: skip


def test_passwords_in_the_clear_and_a_proxy_that_is_not_believed(examine: Examine) -> None:
    assert states(examine(public_url="http://rank.example.org"), "exposure") == [FindingState.FAULT]
    found = examine(public_url="https://rank.example.org", published_on_loopback=True)
    assert states(found, "exposure") == [FindingState.OK, FindingState.FAULT]
    assert states(found, "proxy") == [FindingState.FAULT]
    assert states(found, "second factor") == [FindingState.WARNING]
    believed = examine(public_url="https://rank.example.org", trusted_proxies="10.0.0.1", admin_second_factor=True)
    assert states(believed, "proxy") == [FindingState.OK]
    assert "second factor" not in believed
    assert states(examine(public_url="http://localhost:8000"), "exposure") == [FindingState.OK]


@pytest.mark.parametrize(("name", "mode"), [("", 0o755), ("logs", 0o750), ("credentials.json", 0o644)])
def test_files_that_others_may_read(examine: Examine, home: Path, name: str, mode: int) -> None:
    path = home / name
    if not path.exists():
        path.write_text("{}")
    path.chmod(mode)
    [fault] = examine()["files"]
    assert (fault.state, fault.words.endswith(f"chmod go= {path}")) == (FindingState.FAULT, True)
    path.chmod(0o711 if not name else 0o600)
    assert states(examine(), "files") == [FindingState.OK]


def test_a_full_disk_and_a_backup_that_is_late(examine: Examine, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(examine(), "backup") == [FindingState.WARNING]
    (home / LAST).write_text(json.dumps({"at": (datetime.now(UTC) - timedelta(days=8)).isoformat()}))
    monkeypatch.setattr(doctor, "ROOM_BYTES", 2**70)
    monkeypatch.setattr(doctor, "ROOM_SHARE", 1.1)
    found = examine()
    assert found["backup"] == [Finding("backup", FindingState.WARNING, "The newest backup is 8 days old.")]
    assert states(found, "disk") == [FindingState.WARNING]


def test_clocks_that_differ(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_now_of", lambda connection: 0.0)
    assert states(examine(), "clock") == [FindingState.WARNING]


def test_tables_of_another_version(examine: Examine, fresh_engine: Engine) -> None:
    with fresh_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    assert states(examine(), "versions") == [FindingState.FAULT, FindingState.OK]


def test_accounts(examine: Examine, fresh_engine: Engine, factory: Any) -> None:
    assert examine()["accounts"][0].words == "There is no admin yet: open the set-up link."
    with Session(fresh_engine) as session:
        admin = factory(session).person(Role.ADMIN)
        session.execute(
            text("INSERT INTO api_keys (id, person_id, name, prefix, key_hash) VALUES (:id, :id, 'k', 'p', 'h')"),
            {"id": admin.id},
        )
        session.commit()
    words = " ".join(finding.words for finding in examine(public_url="https://rank.example.org")["accounts"])
    assert "One admin alone" in words
    assert "1 of 1 admins have no second factor." in words
    assert "1 API keys never end." in words


def test_an_audit_that_was_cut(examine: Examine, home: Path) -> None:
    notes.note(home, Noted(3, "a" * 64))
    assert states(examine(), "audit") == [FindingState.FAULT]


def test_the_command_says_it_and_fails_on_a_fault(
    fresh_database: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANKLOOP_DATABASE_URL", fresh_database)
    monkeypatch.setenv("RANKLOOP_HOME", str(home))
    assert main(["doctor"]) == 0
    assert "The role rankloop is a plain one." in capsys.readouterr().out
    home.chmod(0o755)
    assert main(["doctor", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [one["check"] for one in found if one["state"] == "fault"] == ["files"]


def test_without_a_service_or_its_folder_it_is_one_sentence(
    fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "nowhere"
    monkeypatch.setenv("RANKLOOP_HOME", str(nowhere))
    monkeypatch.delenv("RANKLOOP_DATABASE_URL", raising=False)
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err.startswith(f"rankloop doctor: There is no service in {nowhere}: name its folder")
    monkeypatch.setenv("RANKLOOP_DATABASE_URL", fresh_database)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().err
    assert said == f"rankloop doctor: There is no folder {nowhere}: name that of the service in RANKLOOP_HOME.\n"


def test_what_is_not_there_yet_is_said_so(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANKLOOP_SLOT", "3")
    found = examine()
    assert found["audit files"][0].words == "No file is sealed yet: the first is when there are 10000 rows."
    assert found["settings"][0].words.endswith("Did you mean RANKLOOP_SLOTS?")


def test_a_role_that_may_too_much_is_a_fault() -> None:
    asked = SimpleNamespace(execute=lambda statement: SimpleNamespace(one=lambda: ("boss", True)))
    (finding,) = doctor._role(asked, Settings())  # type: ignore[arg-type]
    assert finding.state is FindingState.FAULT
    assert "ALTER ROLE boss NOSUPERUSER" in finding.words
