"""What all tables share: names of constraints, types of columns, the columns that most of them have."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import DateTime, Enum, MetaData, Text, func
from sqlalchemy import text as sql
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        uuid.UUID: UUID(as_uuid=True),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
        str: Text,
    }


def new_id() -> Mapped[uuid.UUID]:
    return mapped_column(primary_key=True, default=uuid.uuid4)


def now() -> Mapped[datetime]:
    """The database's clock; leases and order never depend on a client's."""
    return mapped_column(server_default=func.now(), nullable=False)


def notes_text() -> Mapped[str]:
    """What people wrote beside it."""
    return mapped_column(server_default=sql("''"))


def tag_list() -> Mapped[list[Any]]:
    """Words by which people find it again."""
    return mapped_column(server_default=sql("'[]'::jsonb"))


def text_enum(kind: type[StrEnum]) -> Enum:
    """Stored as text with a check, so that a new value is an ordinary migration."""
    return Enum(kind, native_enum=False, create_constraint=True, values_callable=lambda e: [m.value for m in e])
