"""Which settings differ: nested settings as flat names, and what two or more of them do not share. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ABSENT = "absent"  # what stands for a setting that one side does not have; JSON has no such bare word
LONGEST = 80  # characters of a value in a sentence


@dataclass(frozen=True)
class Difference:
    """A setting by its dotted name, and what each side has; in the order of the sides."""

    name: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.name} from {written(self.values[0])} to {written(self.values[-1])}"


def flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """`{"lora": {"rank": 8}}` as `lora.rank`, 8. An empty table is a value."""
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{above}{name}.")
        else:
            yield above + name, value


def differences(*sides: Mapping[str, Any]) -> list[Difference]:
    """Every setting that is not the same on all sides, in the order of first sight."""
    tables = [dict(flat(side)) for side in sides]
    names = dict.fromkeys(name for table in tables for name in table)
    found = (Difference(name, tuple(table.get(name, ABSENT) for table in tables)) for name in names)
    return [each for each in found if any(_unlike(each.values[0], other) for other in each.values[1:])]


def _unlike(one: Any, other: Any) -> bool:
    """1 and 1.0 are alike, 1 and True are not."""
    return one != other or isinstance(one, bool) is not isinstance(other, bool)


def written(value: Any) -> str:
    """A value as people type it: JSON, shortened."""
    text = "unset" if value is None else "absent" if value == ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any], whole: Sequence[str] = ()) -> dict[str, Any]:
    """Settings with others on top: tables are merged, anything else is replaced; so are the tables named in `whole`."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(under, Mapping) and name not in whole
        merged[name] = laid_over(under, value) if both else value  # type: ignore[arg-type]
    return merged
