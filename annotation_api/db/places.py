"""A task has `overlap` places. What takes one, said once, for statements in SQL text and in SQLAlchemy's words.

Time is the database's clock at the moment of the look, not of the transaction's start.
"""

from __future__ import annotations

from sqlalchemy import Boolean, ColumnElement, literal_column


def running(assignments: str = "assignments") -> str:
    """SQL: the lease of a row of `assignments` (the name or its alias) has not run out."""
    return f"({assignments}.state = 'leased' AND {assignments}.lease_until > clock_timestamp())"


def taken(assignments: str = "assignments") -> str:
    """SQL: a row takes a place, by a submission or by a lease that still runs."""
    return f"({assignments}.state = 'submitted' OR {running(assignments)})"


def takes_place() -> ColumnElement[bool]:
    """`taken` of the table Assignment."""
    return literal_column(taken(), Boolean)
