"""What a task asks, and about which texts. It changes only when it is erased, so it is kept in memory for a while."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sqlalchemy.orm import Session

from annotation_api.db.forms import QuestionsForm, RankingForm, RulesForm, read_form
from annotation_api.db.sql import rows
from annotation_api.db.tables import FeedbackKind

KEPT_CHARACTERS = 16 * 2**20  # of texts in memory, over all tasks
KEPT_SECONDS = 30.0  # in which people take it and answer it; what is erased is shown no longer than that
OVERHEAD = 2000  # characters that a task's other fields are worth

CONTENT = """
SELECT t.id AS task_id, t.project_id, t.kind, t.rules, f.spec, p.record AS prompt,
    array_agg(r.id ORDER BY tr.position) AS ids, array_agg(r.text ORDER BY tr.position) AS texts
FROM tasks t
JOIN forms f ON f.id = t.form_id
JOIN prompts p ON p.id = t.prompt_id
JOIN task_responses tr ON tr.task_id = t.id
JOIN responses r ON r.id = tr.response_id
WHERE t.id = ANY(%(tasks)s)
GROUP BY t.id, f.id, p.id
"""


@dataclass(frozen=True)
class Content:
    task_id: uuid.UUID
    project_id: uuid.UUID
    kind: FeedbackKind
    form: RankingForm | QuestionsForm | RulesForm
    rules: list[str] | None
    prompt: dict[str, Any]
    texts: Mapping[uuid.UUID, str]  # of the responses, in the order of sampling

    @cached_property
    def turns(self) -> int:
        """After so many showings the orders come round again."""
        return 2 * len(self.texts)

    @cached_property
    def orders(self) -> str:
        """The order of each turn, as JSON."""
        keys = [str(key) for key in self.texts]
        return json.dumps([display_order(self.task_id, keys, turn) for turn in range(self.turns)])

    @property
    def size(self) -> int:
        """Characters, roughly."""
        return OVERHEAD + sum(map(len, self.texts.values())) + len(json.dumps(self.prompt, ensure_ascii=False))


class Contents:
    """The contents used last, up to a size; safe to use from several threads."""

    def __init__(self, limit: int = KEPT_CHARACTERS) -> None:
        self._kept: OrderedDict[uuid.UUID, tuple[Content, float]] = OrderedDict()  # and until when
        self._limit, self._size, self._lock = limit, 0, threading.Lock()

    def of(self, session: Session, task_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Content]:
        """Those that are not kept are asked for in one statement."""
        found = {task_id: kept for task_id in task_ids if (kept := self._fresh(task_id))}
        if missing := set(task_ids) - found.keys():
            for content in _load(session, missing):
                self._keep(content)
                found[content.task_id] = content
        return found

    def _fresh(self, task_id: uuid.UUID) -> Content | None:
        with self._lock:
            kept, until = self._kept.get(task_id, (None, 0.0))
            if kept is None or until <= time.monotonic():
                return None
            self._kept.move_to_end(task_id)
            return kept

    def _keep(self, content: Content) -> None:
        with self._lock:
            before, _ = self._kept.pop(content.task_id, (None, 0.0))  # too old, or another thread was quicker
            self._kept[content.task_id] = content, time.monotonic() + KEPT_SECONDS
            self._size += content.size - (before.size if before else 0)
            while self._size > self._limit:
                _, (oldest, _) = self._kept.popitem(last=False)
                self._size -= oldest.size


_contents = Contents()


def content_of(session: Session, task_id: uuid.UUID) -> Content:
    return contents_of(session, [task_id])[task_id]


def contents_of(session: Session, task_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Content]:
    """By task; for a list, which would otherwise ask for each of its rows."""
    return _contents.of(session, task_ids)


def _load(session: Session, task_ids: Collection[uuid.UUID]) -> Iterator[Content]:
    for row in rows(session, CONTENT, tasks=list(task_ids)):
        texts = dict(zip(row.ids, row.texts, strict=True))
        kind, form = FeedbackKind(row.kind), read_form(row.spec)
        yield Content(row.task_id, row.project_id, kind, form, row.rules, row.prompt, texts)


def display_order(task_id: uuid.UUID, responses: Sequence[str], turn: int) -> list[str]:
    """The order for the `turn`-th showing of a task: random for a task, balanced over its showings.

    K showings are the rows of a cyclic Latin square, so each response stands once in each place; the
    next K run backwards, so that neighbours are not always followed by the same neighbour.
    """
    order = list(responses)
    random.Random(task_id.int).shuffle(order)
    lap, shift = divmod(turn, len(order))
    order = order[shift:] + order[:shift]
    return order[::-1] if lap % 2 else order
