"""Cursor pages, newest first: an opaque cursor over (table, created_at, id), stable while rows are added."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, Protocol, TypeVar

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import Select, tuple_
from sqlalchemy.orm import Session

from alignment.shared.sentence import Sentence
from alignment.shared.validation import Problem
from annotation_api.http.errors import invalid

T = TypeVar("T", bound=BaseModel)

Limit = Annotated[int, Query(ge=1, le=500, description="Most items of a page.")]
Cursor = Annotated[str | None, Query(description="`next` of the page before.")]


class Listed(Protocol):
    """A table whose rows have an age and an id."""

    __tablename__: str
    id: Any
    created_at: Any


R = TypeVar("R", bound=Listed)


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = None  # cursor of the next page; null on the last


@dataclass(frozen=True)
class More:
    """Where the next page is said: in the answer, and in its header Link."""

    request: Request
    response: Response

    def page(self, items: list[T], after: str | None) -> Page[T]:
        """The page, whose next one begins after the cursor `after`."""
        if after is not None:
            there = self.request.url.include_query_params(cursor=after)
            self.response.headers["Link"] = f'<{there.path}?{there.query}>; rel="next"'
        return Page(items=items, next=after)


async def _more(request: Request, response: Response) -> More:
    return More(request, response)


NextPage = Annotated[More, Depends(_more)]


def fetch_rows(
    session: Session, query: Select[Any], table: type[R], *, limit: int, cursor: str | None
) -> tuple[Sequence[R], str | None]:
    """The rows of `query` (whole rows of `table`) newest first, and the cursor of what follows."""
    if cursor:
        query = query.where(tuple_(table.created_at, table.id) < decode(table, cursor))
    rows = session.scalars(query.order_by(table.created_at.desc(), table.id.desc()).limit(limit + 1)).all()
    after = encode(table, rows[limit - 1]) if len(rows) > limit else None
    return rows[:limit], after


def fetch_page(
    session: Session,
    query: Select[Any],
    table: type[R],
    show: Callable[[R], T],
    *,
    limit: int,
    cursor: str | None,
) -> tuple[list[T], str | None]:
    """As `fetch_rows`, each row shown as an answer."""
    rows, after = fetch_rows(session, query, table, limit=limit, cursor=cursor)
    return [show(row) for row in rows], after


def encode(table: type[Listed], row: Listed) -> str:
    return base64.urlsafe_b64encode(f"{table.__tablename__} {row.created_at.isoformat()} {row.id}".encode()).decode()


def decode(table: type[Listed], cursor: str) -> tuple[datetime, uuid.UUID]:
    """Raises a 422 for anything that `encode` did not make of the same table."""
    try:
        name, when, key = base64.urlsafe_b64decode(cursor.encode()).decode().split(" ")
        if name != table.__tablename__:
            raise ValueError(name)
        return datetime.fromisoformat(when), uuid.UUID(key)
    except ValueError:
        problem = Problem(
            pointer="query:cursor",
            message=Sentence("no-cursor", "It is not a cursor of this list; leave it out to begin."),
        )
        raise invalid([problem]) from None
