"""The settings of a stage as fields of a form, read off the classes that check them; and such a form read back.

A field is named `set.` and the setting's dotted name. One that is left empty is the preset's, or the job's own.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from alignment.shared.config import CONFIGS, Stage
from alignment.shared.differences import flat, written

PREFIX = "set."
UNSET = "unset"  # typed where a setting can be none
ON, OFF = "on", "off"  # of a table that can be absent, as lora

# The eight that most people change, in the order in which they think of them; the rest is folded.
COMMON: dict[Stage, tuple[str, ...]] = {
    Stage.SFT: (
        "epochs", "learning_rate", "batch_size", "micro_batch_size", "max_length", "lora", "gradient_checkpointing",
        "seed",
    ),
    Stage.SAMPLE: (
        "responses_per_prompt", "tasks_per_prompt", "temperature", "top_p", "max_response_length", "distinct",
        "batch_size", "seed",
    ),
    Stage.REWARD: (
        "epochs", "learning_rate", "batch_size", "micro_batch_size", "max_length", "members", "heldout_fraction",
        "lora",
    ),
    Stage.PPO: (
        "updates", "learning_rate", "batch_size", "kl_coef", "max_response_length", "max_length", "evaluate_every",
        "accept_reward_model",
    ),
}  # fmt: skip
UNITS = {
    "alarms.critic_grace": "updates",
    "alarms.engine_gap": "nats",
    "alarms.patience": "evaluations",
    "alarms.window": "updates",
    "epochs": "passes",
    "evaluate_every": "updates",
    "evaluate_replies": "replies",
    "kl_horizon": "episodes",
    "kl_target": "nats",
    "length_free": "tokens",
    "max_kl": "nats",
    "max_length": "tokens",
    "max_response_length": "tokens",
    "save_minutes": "minutes",
    "target_kl": "nats",
    "updates": "updates",
}  # what a number counts, where its sentence does not begin with it


@dataclass(frozen=True)
class SettingField:
    """A setting as a form asks for it."""

    path: str
    # data: JSON; switch: whether there is a table; table: its heading, which is not asked
    kind: Literal["choice", "number", "text", "data", "switch", "table"]
    about: str
    default: str  # as people type it
    choices: tuple[str, ...]
    bounds: tuple[tuple[str, str], ...]  # (at least | above | at most | below, number)
    unit: str | None

    @property
    def name(self) -> str:
        return PREFIX + self.path


def fields_of(stage: Stage, values: Mapping[str, Any]) -> dict[str, SettingField]:
    """Every setting of the stage by its dotted name; `values` are what holds where nothing is typed."""
    schema, at = _schema(stage), dict(flat(values))
    tables = {name for name, value in values.items() if isinstance(value, Mapping)}
    return {field.path: field for field in _fields(schema, schema.get("$defs", {}), at, tables, "")}


@functools.cache
def _schema(stage: Stage) -> dict[str, Any]:
    return CONFIGS[stage].model_json_schema()


def _fields(
    schema: Mapping[str, Any], defs: Mapping[str, Any], at: Mapping[str, Any], tables: set[str], above: str
) -> Iterator[SettingField]:
    for name, given in schema["properties"].items():
        path, forms = above + name, [_resolved(one, defs) for one in given.get("anyOf", [given])]
        about, table = given.get("description", ""), next((form for form in forms if "properties" in form), None)
        if table is not None and len(forms) > 1:
            yield SettingField(path, "switch", about, ON if path in tables else OFF, (ON, OFF), (), None)
        elif table is not None:
            yield SettingField(path, "table", about, "", (), (), None)
        if table is not None:
            yield from _fields(table, defs, at, tables, f"{path}.")
        else:
            yield _field(path, about, forms, at.get(path, given.get("default")))


def _field(path: str, about: str, forms: list[dict[str, Any]], value: Any) -> SettingField:
    default = value if isinstance(value, str) else written(value)
    some = [form for form in forms if form.get("type") != "null"]
    only, unit = some[0] if len(some) == 1 else {}, UNITS.get(path)
    if only.get("type") == "boolean":
        return SettingField(path, "choice", about, default, ("true", "false"), (), unit)
    if "enum" in only:
        return SettingField(path, "choice", about, default, tuple(map(str, only["enum"])), (), unit)
    if only.get("type") in ("number", "integer"):
        return SettingField(path, "number", about, default, (), _bounds(only), unit)
    kind: Literal["text", "data"] = "text" if only.get("type") == "string" else "data"
    return SettingField(path, kind, about, default, (), (), unit)


BOUNDS = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "above"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "below"),
)


def _bounds(form: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((word, f"{form[key]:,}") for key, word in BOUNDS if key in form)


def _resolved(form: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    reference = form.get("$ref")
    return {**defs[reference.rpartition("/")[2]], **form} if reference else dict(form)


def read_settings(stage: Stage, form: Mapping[str, str]) -> dict[str, Any]:
    """What the form's fields change, nested as the settings are; JSON where it can be, text otherwise."""
    known, found = fields_of(stage, {}), dict[str, Any]()
    typed = {name.removeprefix(PREFIX): text.strip() for name, text in form.items() if name.startswith(PREFIX)}
    for path, text in sorted(typed.items()):  # a switch comes before what is in its table
        if text:
            _put(found, path.split("."), _value(known.get(path), text))
    return found


def _put(found: dict[str, Any], path: list[str], value: Any) -> None:
    *rooms, last = path
    inner: Any = found
    for room in rooms:
        inner = inner.setdefault(room, {})
        if inner is None:  # switched off: what stands in its fields does not count
            return
    inner[last] = value


def _value(field: SettingField | None, text: str) -> Any:
    """An unknown name is kept: the door says what it thinks of it."""
    if text == UNSET:
        return None
    if field is not None and field.kind == "text":
        return text.replace("\r\n", "\n")
    if field is not None and field.kind == "switch":
        return None if text == OFF else {}
    try:
        return json.loads(text)
    except ValueError:
        return text
