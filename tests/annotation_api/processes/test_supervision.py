"""What died is started again, more slowly each time, whatever stands in its way; logs do not grow without end."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from annotation_api.db.postgres.account import EmbeddedPostgresError
from annotation_api.processes import supervision
from annotation_api.processes.supervision import Child, Database, Pace, rotate


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_pauses_double_until_it_is_steady_again() -> None:
    clock = Clock()
    pace, pauses = Pace(clock), []
    for _ in range(8):
        pauses.append(pace.died())
        clock.now += max(0, pauses[-1] - 0.1)
        assert pace.is_due == (pauses[-1] == 0)
        clock.now += 0.2
        assert pace.is_due
        pace.start()
        assert not pace.is_due
    assert pauses == [0, 1, 2, 4, 8, 16, 30, 30]
    clock.now += supervision.STEADY + 1
    assert pace.died() == 0


def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    said: list[str] = []
    clock = Clock()
    child = Child(
        "API", [sys.executable, "-c", "raise SystemExit(3)"], {}, tmp_path / "logs" / "api.log", pace=Pace(clock)
    )
    child.log.parent.mkdir()
    child.start()
    child.process.wait()
    child.log.unlink()
    child.log.parent.rmdir()
    child.tend(said.append)
    child.tend(said.append)
    assert said[0] == f"The API ended with code 3; starting it again. Its log: {child.log}"
    assert said[1].startswith("The API cannot be started: [Errno 2]")
    assert len(said) == 2
    child.log.parent.mkdir()
    clock.now += 1.1
    child.tend(said.append)
    assert child.process.wait() == 3
    assert len(said) == 2


class Server:
    """A server whose starts come to nothing until it is told otherwise."""

    running = False
    starts = 0

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.refusing: Exception | None = EmbeddedPostgresError("no room")

    def start(self, given_up: Any) -> str:
        self.starts += 1
        while not self.go_on.wait(0.01):
            if given_up():
                raise EmbeddedPostgresError("given up")
        if self.refusing:
            raise self.refusing
        self.running = True
        return "url"

    def stop(self) -> None:
        self.running = False


def finished(database: Database) -> None:
    assert database._start is not None
    database._start.exception()


def test_a_database_that_does_not_start_is_tried_again_and_nobody_waits_for_it() -> None:
    server, said, clock = Server(), [], Clock()
    database = Database(server)  # type: ignore[arg-type]
    database.pace = Pace(clock)
    for _ in range(3):
        database.tend(said.append)  # the start is under way
    assert (server.starts, said) == (1, ["Postgres ended; starting it again."])
    server.go_on.set()
    finished(database)
    database.tend(said.append)
    assert said[1] == "Postgres did not start: no room; starting it again in 1 s."
    database.tend(said.append)
    assert server.starts == 1
    clock.now, server.refusing = 1.1, None
    database.tend(said.append)
    finished(database)
    database.tend(said.append)
    assert said[2:] == ["Postgres runs again."]
    database.stop()


def test_a_start_under_way_is_given_up_when_the_service_stops() -> None:
    server = Server()
    database = Database(server)  # type: ignore[arg-type]
    database.tend(lambda text: None)
    database.stop()
    assert isinstance(database._start and database._start.exception(), EmbeddedPostgresError)


def test_a_fault_of_ours_is_not_hidden() -> None:
    server = Server()
    server.refusing = ZeroDivisionError()
    server.go_on.set()
    database = Database(server)  # type: ignore[arg-type]
    database.tend(lambda text: None)
    finished(database)
    with pytest.raises(ZeroDivisionError):
        database.tend(lambda text: None)
    database.stop()


def test_a_long_log_is_cut_and_its_older_parts_are_kept_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervision, "LOG_BYTES", 10)
    log = tmp_path / "api.log"
    with log.open("ab") as file:  # as a child holds it
        for number in range(7):
            file.write(f"{number}: a long line\n".encode())
            file.flush()
            rotate(log)
            rotate(log)
        file.write(b"short\n")
    rotate(log)
    assert log.read_text() == "short\n"
    kept = {path.name: path.read_text() for path in tmp_path.glob("*.log.*")}
    assert kept == {f"api.log.{n}": f"{7 - n}: a long line\n" for n in range(1, 5)}
    rotate(tmp_path / "none.log")
