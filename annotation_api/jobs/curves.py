"""A job's numbers as a person reads them: five that matter, then charts in groups, each chart one axis. Pure.

A metric that no table below knows has a chart of its own among the others: nothing measured is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel

from alignment.shared.config import Stage
from alignment.shared.validation import SentenceText
from annotation_api.jobs.detail_schemas import Series

# Groups in order; in each, the metrics that share an axis.
GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "Reward and KL": (
        ("score", "raw_score", "reward", "heldout_score", "heldout_objective"),
        ("kl", "heldout_kl"),
        ("kl_coef",),
    ),
    "Learning": (
        ("loss", "aux_loss", "eval_loss", "heldout_loss"),
        ("accuracy", "mean_token_accuracy", "heldout_accuracy"),
        ("margin",),
    ),
    "Language": (
        ("response_length", "heldout_response_length"),
        ("finished_share", "heldout_finished_share", "repeated_share"),
        ("entropy",),
        ("heldout_specificity",),
    ),
    "Optimisation": (
        ("policy_loss", "ptx_loss"),
        ("value_loss",),
        ("learning_rate",),
        ("grad_norm", "critic_grad_norm"),
        ("clip_fraction", "value_clip_fraction"),
        ("ratio",),
        ("approx_kl",),
        ("explained_variance",),
    ),
    "Engine and memory": (
        ("engine_gap", "engine_gap_max"),
        ("peak_memory", "memory"),
        ("tokens_per_second",),
    ),
}
OTHER = "Other numbers"
FIVE: dict[Stage, tuple[str, ...]] = {
    Stage.SFT: ("loss", "mean_token_accuracy", "learning_rate", "grad_norm", "entropy"),
    Stage.SAMPLE: ("responses", "distinct", "response_length", "finished_share", "repeated_share"),
    Stage.REWARD: ("heldout_accuracy", "accuracy", "heldout_calibration_error", "loss", "margin"),
    Stage.PPO: ("heldout_objective", "heldout_score", "heldout_kl", "response_length", "finished_share"),
}
HOLDS_OUT = (Stage.REWARD, Stage.PPO)  # what these say of held-out prompts begins with HELD_OUT
HELD_OUT = "heldout_"
_PLACES = {
    name: (group, place) for group, charts in GROUPS.items() for place, names in enumerate(charts) for name in names
}


class ChartSeries(BaseModel):
    """One metric of one phase."""

    name: str  # phase: metric
    label: str
    points: list[tuple[int, float]]

    @property
    def last(self) -> float:
        return self.points[-1][1]


class Chart(BaseModel):
    """What stands on one axis."""

    key: str
    title: str = ""  # where the series are not named by what they measure
    series: list[ChartSeries]

    def table(self, most: int) -> list[tuple[int, list[float | None]]]:
        """Rows of (step, a value of each series), at even distances with the first and the last."""
        columns = [dict(one.points) for one in self.series]
        steps = sorted({step for column in columns for step in column})
        stride = max(1, -(-len(steps) // most))
        chosen = [*steps[:-1:stride], steps[-1]]
        return [(step, [column.get(step) for column in columns]) for step in chosen]


class ChartGroup(BaseModel):
    """Charts under one heading."""

    title: str
    charts: list[Chart]


class ChartMark(BaseModel):
    """Something that happened at a step."""

    step: int
    kind: str  # alarm, evaluation, chosen
    text: SentenceText


class Curves(BaseModel):
    """All that the charts of a job show."""

    groups: list[ChartGroup]
    marks: list[ChartMark]


def grouped(found: Iterable[Series]) -> list[ChartGroup]:
    """The series in their groups; values that were not finite are left out."""
    groups: dict[str, dict[tuple[str, int, str], list[ChartSeries]]] = {title: {} for title in (*GROUPS, OTHER)}
    for each in found:
        points = [(step, value) for step, value in each.points if value is not None]
        if points:
            group, place = _PLACES.get(each.name, (OTHER, 0))
            own = "" if group != OTHER else each.name
            series = ChartSeries(name=f"{each.phase}: {each.name}", label=each.name.replace("_", " "), points=points)
            groups[group].setdefault((each.phase, place, own), []).append(series)
    return [
        ChartGroup(title=title, charts=[_chart(title, key, charts[key]) for key in sorted(charts)])
        for title, charts in groups.items()
        if charts
    ]


def _chart(title: str, key: tuple[str, int, str], series: list[ChartSeries]) -> Chart:
    order = {name: n for charts in GROUPS.values() for names in charts for n, name in enumerate(names)}
    ordered = sorted(series, key=lambda one: order.get(one.name.partition(": ")[2], 0))
    return Chart(key="-".join((title, *map(str, key))).replace(" ", "-").lower(), series=ordered)


def charted(found: Mapping[tuple[str, str], Sequence[ChartSeries]]) -> list[ChartGroup]:
    """A chart for each metric by its phase and name, with a series of every job that measured it."""
    groups: dict[str, list[tuple[tuple[int, str, str], Chart]]] = {title: [] for title in (*GROUPS, OTHER)}
    for (phase, name), series in found.items():
        group, place = _PLACES.get(name, (OTHER, 0))
        chart = Chart(key=f"{phase}-{name}".replace(" ", "-"), title=name.replace("_", " "), series=list(series))
        groups[group].append(((place, name, phase), chart))
    return [
        ChartGroup(title=title, charts=[chart for _, chart in sorted(charts, key=lambda each: each[0])])
        for title, charts in groups.items()
        if charts
    ]


class Headline(NamedTuple):
    """One of the numbers that matter most."""

    name: str
    value: float
    on_training: bool  # said with its name, where numbers on held-out prompts could stand beside it


def five(stage: Stage, groups: Sequence[ChartGroup], result: Mapping[str, float]) -> list[Headline]:
    """The numbers that matter most, of the job's result or the newest: five at most, in the stage's order."""
    newest = {
        one.name.partition(": ")[2]: one.last for group in groups for chart in group.charts for one in chart.series
    }
    known = newest | {name: value for name, value in result.items() if isinstance(value, int | float)}
    names = [name for name in FIVE.get(stage, ()) if name in known] or list(known)
    return [Headline(name, known[name], _on_training(stage, name)) for name in names[:5]]


def _on_training(stage: Stage, name: str) -> bool:
    return stage in HOLDS_OUT and name in FIVE[stage] and not name.startswith(HELD_OUT)
