"""The alarms that a run has raised, and whether they end it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from alignment.ppo.alarms.rules import RULES
from alignment.ppo.alarms.view import Bounds, Standing, View
from alignment.shared.policy.guard_config import AlarmConfig, AlarmName
from alignment.shared.sentence import Sentence, counted, in_turn, joined, parts


@dataclass(frozen=True)
class Alarm:
    """Something that a person should know while the run can still be stopped."""

    name: AlarmName
    update: int  # after which it was raised
    found: Sentence  # what was measured
    likely: Sentence  # what it most likely is
    advice: Sentence  # what to do

    @property
    def sentence(self) -> Sentence:
        return in_turn([self.found, self.likely, self.advice])

    def record(self) -> dict[str, Any]:
        """As it stands in a job's result: English, and the codes by which pages say it in other languages."""
        return {**asdict(self), "sentence": self.sentence, "said": parts(self.sentence)}

    def state(self) -> dict[str, Any]:
        """As it stands in a checkpoint."""
        said = {"found": self.found, "likely": self.likely, "advice": self.advice}
        return asdict(self) | {name: parts(text) for name, text in said.items()}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Alarm:
        """What `state` gave; those of earlier versions hold plain words."""
        said = {name: _sentence(state[name]) for name in ("found", "likely", "advice")}
        return cls(state["name"], state["update"], **said)


def _sentence(stored: Any) -> Sentence:
    found = joined(stored)
    return found if isinstance(found, Sentence) else Sentence.filled("plain", stored, {})


class Monitor:
    """Remembers the alarms of a run. `idle`: updates at first in which no policy learns, so none can be better."""

    def __init__(self, config: AlarmConfig, bounds: Bounds, reference_std: float | None = None, idle: int = 0) -> None:
        self.config, self.bounds, self.reference_std, self.idle = config, bounds, reference_std, idle
        self.alarms: list[Alarm] = []

    def observe(self, curve: Sequence[Mapping[str, float]], evaluations: Sequence[Standing]) -> list[Alarm]:
        """The alarms that the last update raises and that none before it did."""
        view = View(curve, evaluations, self.config, self.bounds, self.reference_std)
        known, update = {alarm.name for alarm in self.alarms}, int(curve[-1]["update"])
        found = ((name, rule(view)) for name, rule in RULES.items() if name not in known)
        new = [Alarm(name, update, *diagnosis) for name, diagnosis in found if diagnosis is not None]
        self.alarms += new
        return new

    def stops(self, evaluations: Sequence[Standing]) -> Sentence | None:
        """Why training ends here by the settings; None: it goes on."""
        for alarm in self.alarms:
            if alarm.name in self.config.stop_on:
                english = "The alarm %(name)s of update %(update)s ended training (alarms.stop_on). %(found)s"
                return Sentence(
                    "alarm-ended-training", english, name=alarm.name, update=alarm.update, found=alarm.found
                )
        since = max([self.idle, *(entry.update for entry in evaluations if entry.kept)])
        waited = sum(entry.update > since for entry in evaluations)
        if self.config.patience is not None and waited >= self.config.patience:
            return counted(
                "patience-ended-training",
                "The last evaluation kept no new policy, which ended training (alarms.patience).",
                "The last %(n)s evaluations kept no new policy, which ended training (alarms.patience).",
                n=waited,
            )
        return None
