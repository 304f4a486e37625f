"""What each step of a preparation left out or changed: counts before and after, and a few examples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

EXAMPLES = 3  # of a reason
SHOWN = 300  # characters of one


@dataclass
class StepReport:
    name: str
    before: int = 0
    changed: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)
    _shown: Counter[str] = field(default_factory=Counter)

    def leave_out(self, row: int, reason: str, text: str) -> None:
        self.left_out[reason] += 1
        self._show(row, reason, {"text": text[:SHOWN]})

    def change(self, row: int, before: str, after: str) -> None:
        self.changed += 1
        self._show(row, "changed", {"text": before[:SHOWN], "after": after[:SHOWN]})

    def _show(self, row: int, why: str, texts: dict[str, str]) -> None:
        self._shown[why] += 1
        if self._shown[why] <= EXAMPLES:
            self.examples.append({"row": row, "why": why, **texts})

    def as_dict(self) -> dict[str, Any]:
        return {
            "step": self.name,
            "before": self.before,
            "after": self.before - self.left_out.total(),
            "changed": self.changed,
            "left_out": dict(self.left_out.most_common()),
            "examples": self.examples,
        }
