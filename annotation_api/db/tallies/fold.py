"""Folds what was appended into the sums, some prompts at a time; every few seconds by the dispatcher, and by who reads.

One process folds at a time, and `fold` never waits for another: what it leaves the next one takes. Only `counted_anew`
waits.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text as sql
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.intervals import RatioSums
from annotation_api.db.locks import Lock
from annotation_api.db.sql import rows
from annotation_api.db.tallies import judgements
from annotation_api.db.tallies.contributions import Contribution, SumKey, ValueKey, contribution
from annotation_api.db.tallies.wins import WinKey

PROMPTS = 300  # judgements from which the prompts of one round are taken
MANY = 3000  # where nobody waits for the round: the sums are written once for all of them

LOCK = "SELECT pg_try_advisory_xact_lock(%(key)s) AS mine"
WAIT = "SELECT pg_advisory_xact_lock(%(key)s)"
# A round reads some prompts of however many. The list of what waits was empty a moment ago and holds a million now, so
# that what Postgres knows of it says nothing; without this it reads whole tables for each round.
BY_INDEX = """
SELECT set_config(name, 'off', true)
FROM unnest(ARRAY['enable_seqscan', 'enable_hashjoin', 'enable_mergejoin', 'jit']) AS name
"""
TAKE = """
DELETE FROM pending_judgements WHERE prompt_id = ANY (ARRAY(
    SELECT DISTINCT prompt_id FROM (SELECT prompt_id FROM pending_judgements ORDER BY id LIMIT %(limit)s) AS oldest
)) RETURNING submission_id, project_id, prompt_id, person_id, day, first
"""
NUMBERS = ("tasks", "wanted", "judged", "open", "places")
FOLD_TASKS = f"""
WITH gone AS (DELETE FROM task_deltas RETURNING *)
INSERT INTO task_counts (project_id, form_id, {", ".join(NUMBERS)})
SELECT project_id, form_id, {", ".join(f"sum({name})" for name in NUMBERS)} FROM gone GROUP BY project_id, form_id
ON CONFLICT (project_id, form_id) DO UPDATE
SET {", ".join(f"{name} = task_counts.{name} + EXCLUDED.{name}" for name in NUMBERS)}
"""
Columns = Mapping[str, str]  # their types by name
SUM_KEYS: Columns = dict.fromkeys(("project_id",), "uuid") | dict.fromkeys(
    ("measure", "subject", "slice", "value"), "text"
)
SUMS: Columns = dict.fromkeys(("total", "count", "squares", "products", "count_squares"), "float") | {
    "prompts": "bigint"
}
VALUE_KEYS: Columns = {"project_id": "uuid"} | dict.fromkeys(("subject", "slice", "value", "one", "other"), "text")
WIN_KEYS: Columns = {
    "project_id": "uuid",
    "criterion": "text",
    "language": "text",
    "first": "uuid",
    "second": "uuid",
    "bucket": "smallint",
    "longer": "smallint",
}
WINS: Columns = dict.fromkeys(("wins", "losses", "ties"), "bigint")
DAY_KEYS: Columns = {"project_id": "uuid", "person_id": "uuid", "day": "date"}
DAYS: Columns = dict.fromkeys(("tasks", "corrections"), "int")


def catch_up(sessions: sessionmaker[Session], seconds: float) -> None:
    """Fold for so long, a transaction a round, or until nothing waits."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with sessions.begin() as session:
            if not fold(session, MANY):
                return


def fold(session: Session, limit: int = PROMPTS) -> int:
    """Fold all judgements of the prompts of the oldest `limit` that wait; how many there were.

    0 also where another process is at it.
    """
    if not rows(session, LOCK, key=Lock.TALLIES)[0].mine:
        return 0
    session.execute(sql(FOLD_TASKS))
    rows(session, BY_INDEX)
    taken = rows(session, TAKE, limit=limit)
    if taken:
        _count_days(session, taken)
        _count_prompts(session, taken)
    return len(taken)


def _count_days(session: Session, taken: Sequence[Any]) -> None:
    days: dict[tuple[Any, ...], Counter[bool]] = {}
    for row in taken:
        days.setdefault((row.project_id, row.person_id, row.day), Counter())[row.first] += 1
    _add(session, "judged_days", DAY_KEYS, DAYS, [(*key, n[True], n[False]) for key, n in days.items()])


@dataclass
class _Changes:
    """What the prompts of a project add now, less what they added before."""

    sums: dict[SumKey, list[tuple[float, float, int]]] = field(default_factory=lambda: defaultdict(list))
    values: dict[ValueKey, float] = field(default_factory=lambda: defaultdict(float))
    wins: dict[WinKey, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))

    def add(self, found: Contribution, sign: int) -> None:
        for sum_key, (total, count) in found.sums.items():
            self.sums[sum_key].append((total, count, sign))
        for value_key, times in found.values.items():
            self.values[value_key] += sign * times
        for win_key, counts in found.wins.items():
            kept = self.wins[win_key]
            for place, n in enumerate(counts):
                kept[place] += sign * n


def _count_prompts(session: Session, taken: Sequence[Any]) -> None:
    new = {row.submission_id for row in taken}
    project_of = {row.prompt_id: row.project_id for row in taken}
    changes: dict[uuid.UUID, _Changes] = defaultdict(_Changes)
    for prompt, all_of_it in judgements.of_prompts(session, project_of).items():
        change = changes[project_of[prompt]]
        change.add(contribution(all_of_it), 1)
        if before := [one for one in all_of_it if one.id not in new]:
            change.add(contribution(before), -1)
    for project, change in changes.items():
        _store(session, project, change)


@contextmanager
def counted_anew(session: Session, project: uuid.UUID, prompt: uuid.UUID) -> Iterator[None]:
    """For a block that changes which judgements of the prompt count, as when its task becomes a gold item: what the
    prompt added to the sums before the block is taken out, and what it adds after the block is put in.

    Waits until nobody else folds; raises sqlalchemy.exc.OperationalError where that takes longer than `lock_timeout`.
    """
    rows(session, WAIT, key=Lock.TALLIES)  # who folds now reads the prompt as before, who folds next as after
    change = _Changes()
    change.add(_of_prompt(session, prompt), -1)
    yield
    change.add(_of_prompt(session, prompt), 1)
    _store(session, project, change)


def _of_prompt(session: Session, prompt: uuid.UUID) -> Contribution:
    return contribution(judgements.of_prompts(session, [prompt]).get(prompt, []))


def _store(session: Session, project: uuid.UUID, change: _Changes) -> None:
    sums = [(project, *key, *vars(RatioSums.over(entries)).values()) for key, entries in change.sums.items()]
    _add(session, "agreement_sums", SUM_KEYS, SUMS, sums)
    values = [(project, *key, n) for key, n in change.values.items() if n]
    _add(session, "agreement_values", VALUE_KEYS, {"times": "float"}, values)
    wins = [(project, *key, *counts) for key, counts in change.wins.items() if any(counts)]
    _add(session, "model_wins", WIN_KEYS, WINS, wins)


def _add(session: Session, table: str, keys: Columns, numbers: Columns, added: Iterable[tuple[Any, ...]]) -> None:
    """Add to the numbers of rows, made where they are missing, in one statement; in one order for all who do so."""
    ordered = sorted(added, key=lambda row: tuple(map(str, row[: len(keys)])))
    if not ordered:
        return
    columns = {**keys, **numbers}
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    places = ", ".join(f'"{name}"' for name in columns)
    sums = ", ".join(f'"{name}" = {table}."{name}" + EXCLUDED."{name}"' for name in numbers)
    conflict = ", ".join(f'"{name}"' for name in keys)
    insert = f"INSERT INTO {table} ({places}) SELECT * FROM unnest({arrays})"
    values = dict(zip(columns, map(list, zip(*ordered, strict=True)), strict=True))
    session.execute(sql(f"{insert} ON CONFLICT ({conflict}) DO UPDATE SET {sums}"), values)
