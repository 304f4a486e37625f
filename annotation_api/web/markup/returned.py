"""A form that comes back: its page again, with all that was typed in it and what is wrong beside each field."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from annotation_api.http.errors import ApiError

INSIDE = ("config", "inputs")  # of a job's body, where a form has its fields side by side
Posted = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Returned:
    """One of a page's forms as it was sent; without a name none was, and each stands as usual."""

    form: str = ""
    sent: Posted = field(default_factory=dict)
    wrong: Mapping[str, Sequence[str]] = field(default_factory=dict)
    status: int = 200

    def is_of(self, form: str) -> bool:
        return self.form == form

    def typed(self, form: str, name: str, usual: str = "") -> str:
        """What the field shows: what was typed, else the usual."""
        if not self.is_of(form):
            return usual
        return next(iter(self.sent.get(name, ())), "")

    def ticked(self, form: str, name: str, value: str, *, usual: bool = False) -> bool:
        return value in self.sent.get(name, ()) if self.is_of(form) else usual

    def problems(self, form: str, name: str = "") -> Sequence[str]:
        """What is said at the field; without a name, what belongs to none."""
        return self.wrong.get(name, ()) if self.is_of(form) else ()


NOTHING_SENT = Returned()


def returned(
    form: str, sent: Posted, error: ApiError, fields: Collection[str], also: Mapping[str, str] | None = None
) -> Returned:
    """The form with its error: each problem at the field that its pointer names; `also` has other names of fields."""
    wrong: dict[str, list[str]] = {}
    for each in error.problems:
        wrong.setdefault(_field(each.pointer, fields, also or {}), []).append(each.message)
    return Returned(form, sent, wrong or {"": [error.detail]}, error.status)


def _field(pointer: str, fields: Collection[str], also: Mapping[str, str]) -> str:
    path = [part for part in pointer.split("/") if part]
    name = next(iter(path[1:] if path and path[0] in INSIDE else path), "")
    name = also.get(name, name)
    return name if name in fields else ""
