"""Folds what was appended into the sums, some prompts at a time; every few seconds by the dispatcher, and by who reads.

One process folds at a time, and never waits for another: what it leaves the next one takes.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

from sqlalchemy import text as sql
from sqlalchemy.orm import Session, sessionmaker

from alignment.shared.intervals import RatioSums
from annotation_api.db.locks import Lock
from annotation_api.db.sql import rows
from annotation_api.db.tallies import judgements
from annotation_api.db.tallies.contributions import Contribution, contribution

PROMPTS = 300  # judgements from which the prompts of one round are taken

LOCK = "SELECT pg_try_advisory_xact_lock(%(key)s) AS mine"
TAKE = """
DELETE FROM pending_judgements WHERE prompt_id IN (
    SELECT prompt_id FROM (SELECT prompt_id FROM pending_judgements ORDER BY id LIMIT %(limit)s) AS oldest
) RETURNING submission_id, project_id, prompt_id, person_id, day, first
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
            if not fold(session):
                return


def fold(session: Session, limit: int = PROMPTS) -> int:
    """Fold all judgements of the prompts of the oldest `limit` that wait; how many there were.

    0 also where another process is at it.
    """
    if not rows(session, LOCK, key=Lock.TALLIES)[0].mine:
        return 0
    session.execute(sql(FOLD_TASKS))
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


def _count_prompts(session: Session, taken: Sequence[Any]) -> None:
    """What each prompt adds now, less what it added before."""
    new = {row.submission_id for row in taken}
    project_of = {row.prompt_id: row.project_id for row in taken}
    sums: dict[tuple[Any, ...], RatioSums] = {}
    values: dict[tuple[Any, ...], float] = defaultdict(float)
    wins: dict[tuple[Any, ...], Counter[int]] = {}
    for prompt, all_of_it in judgements.of_prompts(session, project_of).items():
        before = [one for one in all_of_it if one.id not in new]
        for sign, judged in ((1, all_of_it), (-1, before)):
            _accumulate(project_of[prompt], contribution(judged), sign, sums, values, wins)
    _add(session, "agreement_sums", SUM_KEYS, SUMS, [(*key, *astuple(one)) for key, one in sums.items()])
    _add(session, "agreement_values", VALUE_KEYS, {"times": "float"}, [(*key, n) for key, n in values.items() if n])
    changed = [(*key, n[0], n[1], n[2]) for key, n in wins.items() if any(n.values())]
    _add(session, "model_wins", WIN_KEYS, WINS, changed)


def _accumulate(
    project: uuid.UUID,
    found: Contribution,
    sign: int,
    sums: dict[tuple[Any, ...], RatioSums],
    values: dict[tuple[Any, ...], float],
    wins: dict[tuple[Any, ...], Counter[int]],
) -> None:
    for sum_key, (total, count) in found.sums.items():
        key = (project, *sum_key)
        sums[key] = sums.get(key, RatioSums()).plus(RatioSums.of(total, count), sign)
    for value_key, times in found.values.items():
        values[project, *value_key] += sign * times
    for win_key, counts in found.wins.items():
        kept = wins.setdefault((project, *win_key), Counter())
        for place, n in enumerate(counts):
            kept[place] += sign * n


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
