"""Carries an erasure out, some rows a transaction. Killed at any moment it is taken up again: what is empty stays so.

Live rows come first, so that no new freeze takes them; then freezes that began before are waited for; then what is
frozen, what was made of it, and the files.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import func
from sqlalchemy import text as sql
from sqlalchemy.orm import Session, sessionmaker

from annotation_api.db.erasing import files, frozen, live, marks, targets, traces
from annotation_api.db.erasing.plan import conditions
from annotation_api.db.kinds import ErasureScope
from annotation_api.db.locks import Lock
from annotation_api.db.sql import one_row, rows
from annotation_api.db.tables import Erasure, ErasureState

BATCH = 1000  # prompts, or rows
NOBODY = "00000000-0000-0000-0000-000000000000"


class Busy(Exception):
    """A backup reads the files; the rest is done when it is through."""


class Eraser:
    """One erasure at work."""

    def __init__(self, sessions: sessionmaker[Session], home: Path, erasure: Erasure, lease: Any) -> None:
        self._sessions, self._home, self._erasure, self._lease = sessions, home, erasure, lease
        self._values = targets.values_of(erasure) | {"since": erasure.created_at, "batch": BATCH}
        self._values["whole"] = erasure.scope is ErasureScope.PROJECT
        self._where = conditions(erasure)

    def run(self) -> None:
        """Everything, in its order. Raises Busy."""
        self._live()
        self._frozen()
        if self._prompts():  # of a fill that had read rows of data sets before they were empty
            self._frozen()
        self._traces()
        self._files()
        self._requests()

    # ------------------------------------------------------------ a transaction

    @contextmanager
    def _batch(self, step: str) -> Iterator[tuple[Session, dict[str, int]]]:
        """What is counted within is stored with the work itself."""
        with self._sessions.begin() as session:
            rows(session, "SELECT set_config('rankloop.erasing', %(id)s, true)", id=str(self._erasure.id))
            counted: dict[str, int] = {}
            yield session, counted
            self._note(session, step, {name: n for name, n in counted.items() if n})

    def _note(self, session: Session, step: str, counted: Mapping[str, int]) -> None:
        row = session.get_one(Erasure, self._erasure.id, with_for_update=True, populate_existing=True)
        row.step, row.lease_until = step, func.clock_timestamp() + self._lease
        row.counts = row.counts | {name: row.counts.get(name, 0) + n for name, n in counted.items()}
        row.done += sum(counted.values())

    def _change(self, session: Session, statement: str, **more: Any) -> int:
        """How many rows it changed."""
        session.flush()
        driver: Any = session.connection().connection.driver_connection
        with driver.cursor() as cursor:
            cursor.execute(statement, self._values | more)
            return max(0, int(cursor.rowcount))

    def _rows(self, session: Session, statement: str, **more: Any) -> list[Any]:
        return rows(session, statement, **self._values | more)

    # ------------------------------------------------------------ the steps

    def _prompts(self) -> int:
        return self._walk("prompts", live.NEXT_PROMPTS, live.OF_PROMPTS)

    def _live(self) -> None:
        self._prompts()
        self._walk("answers", live.NEXT_ASSIGNMENTS, live.OF_ASSIGNMENTS)
        with self._batch("answers") as (session, counted):
            for name, statement in live.ELSEWHERE.items():
                counted[name] = self._change(session, statement.format(**self._where))
        if self._values["whole"]:
            self._project()

    def _walk(self, step: str, following: str, statements: Mapping[str, str]) -> int:
        """Some at a time with all that hangs on them, which is held first; how many there were."""
        done, after = 0, NOBODY
        while True:
            with self._batch(step) as (session, counted):
                ids = [row.id for row in self._rows(session, following.format(**self._where), after=after)]
                for statement in live.HOLD[step] if ids else ():
                    self._rows(session, statement, ids=ids)
                for name, statement in statements.items() if ids else ():
                    counted[name] = self._change(session, statement, ids=ids)
            if not ids:
                return done
            done, after = done + len(ids), str(ids[-1])

    def _project(self) -> None:
        with self._batch("project") as (session, counted):
            for name, statement in live.OF_PROJECT.items():
                counted[f"{name} unnamed"] = self._change(session, statement)
            for form in self._rows(session, live.FORMS):
                spec = live.wordless(form.spec)
                if spec != form.spec:
                    counted["forms"] = counted.get("forms", 0) + 1
                    self._change(session, live.FORM, id=form.id, spec=json.dumps(spec))

    def _wait_for_readers(self) -> None:
        """Freezes and fills that read rows before they were empty store what they made before this lock is had."""
        with self._batch("freezes") as (session, _):
            rows(session, "SELECT pg_advisory_xact_lock(%(key)s)", key=Lock.FREEZING)

    def _frozen(self) -> None:
        """Rows of data sets and lines of snapshots; what was prepared from what is empty now is frozen, too."""
        self._wait_for_readers()
        while self._frozen_round():
            self._wait_for_readers()

    def _frozen_round(self) -> int:
        """How many rows and lines were emptied."""
        with self._batch("prepared data") as (session, counted):
            where = f"(({self._where['snapshot_rows']}) OR {frozen.OF_EMPTY_ROWS})"
            prepared: int = self._rows(session, frozen.PREPARED_ROWS.format(snapshot_rows=where))[0].n
            counted["data rows"] = prepared
        return prepared + self._dataset_rows() + self._lines()

    def _dataset_rows(self) -> int:
        done, at = 0, {"dataset": NOBODY, "row": 0, "part": 0}
        while True:
            with self._batch("data rows") as (session, counted):
                found = self._rows(session, frozen.DATASET_ROWS.format(**self._where), **at)
                counted["data rows"] = len(found)
            if not found:
                return done
            done += len(found)
            at = {"dataset": str(found[-1].dataset_id), "row": found[-1].row, "part": found[-1].part}

    def _lines(self) -> int:
        done = 0
        with self._sessions.begin() as session:
            sought = self._rows(session, frozen.HOLDING.format(**self._where))
            empty = self._rows(session, frozen.HOLDING.format(snapshot_rows=frozen.OF_EMPTY_ROWS))
        for condition, snapshots in ((self._where["snapshot_rows"], sought), (frozen.OF_EMPTY_ROWS, empty)):
            done += sum(self._lines_of(row.id, condition) for row in snapshots)
        return done

    def _lines_of(self, snapshot: uuid.UUID, condition: str) -> int:
        statement, done, first = frozen.LINES.format(snapshot_rows=condition), 0, 0
        with self._sessions.begin() as session:
            size = one_row(session, "SELECT rows FROM snapshots WHERE id = %(id)s", id=snapshot).rows
        while first < size:
            with self._batch("snapshots") as (session, counted):
                counted["snapshot rows"] = n = self._rows(session, statement, snapshot=snapshot, first=first)[0].n
            done, first = done + n, first + BATCH
        return done

    def _traces(self) -> None:
        with self._batch("jobs") as (session, counted):
            jobs = [row.id for row in self._rows(session, traces.JOBS)]
            for name, statement in traces.OF_JOBS.items() if jobs else ():
                counted[name] = self._change(session, statement, jobs=jobs)

    def _files(self) -> None:
        """Nobody makes a backup meanwhile. What went is marked after it went: a killed run removes it again."""
        with self._batch("files") as (session, counted):
            if not rows(session, "SELECT pg_try_advisory_xact_lock(%(key)s) AS mine", key=Lock.FILES)[0].mine:
                raise Busy
            jobs = self._rows(session, traces.JOBS)
            datasets = [row.id for row in self._rows(session, traces.DATASETS)]
            for job in jobs:
                names = files.empty_folder(self._home / "artifacts" / str(job.id) / str(job.epoch))
                counted["files"] = counted.get("files", 0) + self._change(
                    session, traces.ARTIFACT, job=job.id, names=names
                )
            gone = [*files.of_jobs(self._home, [job.id for job in jobs]), *files.beside_data(self._home, datasets)]
            counted["folders and logs"] = files.remove(gone)
            self._change(session, traces.CHECKPOINTS, jobs=[job.id for job in jobs])
            self._say_on_cards(session)

    def _say_on_cards(self, session: Session) -> None:
        marked = session.execute(sql("SELECT id, erased_rows FROM snapshots WHERE erased_rows > 0")).all()
        made = marks.models_of(session, {row.id: row.erased_rows for row in marked})
        said = marks.of_models(session, [model.id for model in made])
        for model in made:
            if model.job_id is not None and model.id in said:
                files.say_on_card(Path(model.path), said[model.id].sentence)

    def _requests(self) -> None:
        with self._batch("requests") as (session, counted):
            counted["kept answers"] = self._change(session, traces.REQUESTS)
        with self._sessions.begin() as session:
            row = session.get_one(Erasure, self._erasure.id, with_for_update=True, populate_existing=True)
            row.state, row.step, row.sought, row.lease_until = ErasureState.SUCCEEDED, "", None, None
            row.finished_at = func.clock_timestamp()
