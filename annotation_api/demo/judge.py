"""The gold side of the demo: grades that nothing trained or chosen ever sees."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alignment.shared.intervals import interval95
from alignment.shared.records import Prompt
from alignment.toyworld.world import World, grade


@dataclass(frozen=True)
class Reply:
    """One response of one model to a held-out prompt, with its gold grade in [0, 1]."""

    prompt: int
    criterion: str
    model: str
    text: str
    grade: float


@dataclass(frozen=True)
class WinRate:
    rate: float
    low: float
    high: float
    n: int


def grade_replies(
    world: World, prompts: Sequence[Prompt], rows: Iterable[Mapping[str, Any]], names: Mapping[str, str]
) -> list[Reply]:
    """Grade the rows of a sample job's responses.jsonl; `names` says what to call each model."""
    replies = []
    for row in rows:
        prompt, text = prompts[row["prompt"]], row["text"]
        gold = world.gold(prompt, text)
        replies.append(Reply(row["prompt"], prompt.criterion or "", names[row["model"]], text, gold))
    return replies


def count_by_criterion(replies: Sequence[Reply], model: str) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for reply in replies:
        counts[reply.criterion] += reply.model == model
    return dict(sorted(counts.items()))


def win_rate(replies: Sequence[Reply], ours: str, theirs: str) -> WinRate:
    """How often `ours` is graded above `theirs` on the same prompt, ties half.

    Every reply of one meets every reply of the other; the 95 % interval is over prompts, since replies to one
    prompt are not independent.
    """
    grades: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for reply in replies:
        grades[reply.prompt][reply.model].append(reply.grade)
    wins = []
    for sides in grades.values():
        difference = np.subtract.outer(sides[ours], sides[theirs])
        wins.append(float(np.mean((difference > 0) + 0.5 * (difference == 0))))
    return WinRate(float(np.mean(wins)), *interval95(wins), sum(r.model == ours for r in replies))


def standings(board: Mapping[str, Any], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Of the leaderboard's models what the report shows, under the names that it calls them; the strongest first."""
    shown = ("elo", "elo_low", "elo_high", "comparisons", "wins", "losses", "ties")
    return [{"model": names[row["model"]]} | {name: row[name] for name in shown} for row in board["models"]]


def gold_by_update(world: World, rows: Iterable[Mapping[str, Any]]) -> dict[int, float]:
    """Mean gold grade of each evaluation of a PPO run, from the rows of its looks.jsonl."""
    grades: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        grades[row["update"]].append(grade(world.asks[row["key"]], row["response"]))
    return {update: sum(found) / len(found) for update, found in grades.items()}


def side_by_side(prompts: Sequence[Prompt], replies: Sequence[Reply], models: Sequence[str]) -> list[dict[str, Any]]:
    """For each prompt its first reply of each model: what the report shows."""
    first: dict[tuple[int, str], Reply] = {}
    for reply in replies:
        first.setdefault((reply.prompt, reply.model), reply)
    return [
        {
            "prompt": prompt.text,
            "criterion": prompt.criterion,
            "replies": [{"model": m, "text": first[i, m].text, "grade": first[i, m].grade} for m in models],
        }
        for i, prompt in enumerate(prompts)
        if all((i, m) in first for m in models)
    ]
