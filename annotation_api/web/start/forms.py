"""Posted forms as the bodies that the REST door takes, and what is wrong with them by the names of their fields."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.datastructures import FormData

from alignment.shared.config import CONFIGS, Stage, load_preset, preset_names
from alignment.shared.stages import inputs_of
from alignment.shared.validation import Problem
from annotation_api.http.errors import valid
from annotation_api.jobs.pipelines.schemas import NewPipeline
from annotation_api.jobs.schemas import ChangedSettings, NewJob
from annotation_api.jobs.settings_form import PREFIX, read_settings
from annotation_api.web.start.inputs import reference

Posted = Mapping[str, Sequence[str]]
PIPELINE = (Stage.SFT, Stage.REWARD, Stage.PPO)
PIPELINE_INPUTS = ("model", "demonstrations", "preferences", "prompts", "pretraining", "project")
IN = "in."
KEY = "key"  # of the form: what is sent twice with it is made once


def posted(form: FormData) -> dict[str, list[str]]:
    """Every text field, in the order in which they came."""
    found: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            found.setdefault(name, []).append(value)
    return found


def first(form: Posted) -> dict[str, str]:
    return {name: values[0] for name, values in form.items()}


def job_body(stage: Stage, form: Posted) -> NewJob:
    """Raises ApiError 422 for what no job can be."""
    asked, inputs = inputs_of(stage), dict[str, Any]()
    for name, one in asked.items():
        given = [reference(value) for value in form.get(IN + name, ()) if value]
        if given:
            inputs[name] = given if one.several else given[0]
    fields = first(form)
    body = _shared(fields) | {"stage": stage, "inputs": inputs, "config": read_settings(stage, fields)}
    return valid(NewJob, body)


def pipeline_body(form: Posted) -> NewPipeline:
    """Raises ApiError 422 for what no pipeline can be."""
    fields = first(form)
    given = {name: reference(value) for name in PIPELINE_INPUTS if (value := fields.get(IN + name))}
    config = {stage: found for stage in PIPELINE if (found := read_settings(stage, of_stage(stage, fields)))}
    shared = {name: value for name, value in _shared(fields).items() if name in NewPipeline.model_fields}
    return valid(NewPipeline, shared | given | {"config": config})


def of_stage(stage: Stage, fields: Mapping[str, str]) -> dict[str, str]:
    """The fields of one stage of a pipeline, by the names that they have in a job's form."""
    before = f"{stage.value}."
    return {name.removeprefix(before): value for name, value in fields.items() if name.startswith(before + PREFIX)}


def changes_of(stage: Stage, form: FormData) -> ChangedSettings:
    """What a form changes of a job: its settings, the GPUs, the priority. Raises ApiError 422."""
    fields = first(posted(form))
    numbers = {name: _number(fields[name]) for name in ("gpus", "priority") if fields.get(name)}
    return valid(ChangedSettings, {"config": read_settings(stage, fields)} | numbers)


def _shared(fields: Mapping[str, str]) -> dict[str, Any]:
    """What jobs and pipelines have besides inputs and settings."""
    texts = {name: fields[name].replace("\r\n", "\n") for name in ("preset", "name", "notes") if fields.get(name)}
    numbers = {name: _number(fields[name]) for name in ("gpus", "priority") if fields.get(name)}
    more = {"allow_cpu": fields.get("allow_cpu") == "yes", "tags": tags_of(fields.get("tags", ""))}
    return texts | numbers | more


def tags_of(text: str) -> list[str]:
    return [tag for tag in re.split(r"[\s,，]+", text) if tag]


def _number(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def resolved(stage: Stage, preset: str) -> dict[str, Any]:
    """The settings that hold where nothing is typed."""
    config = load_preset(preset, stage) if preset in preset_names() else CONFIGS[stage]()
    return config.model_dump(mode="json")


def by_field(problems: Sequence[Problem], stage: Stage | None = None) -> dict[str, list[str]]:
    """What is wrong, by the name of the field beside which it is said; without one, by an empty name.

    `stage` is that of a job; without it the pointers are a pipeline's.
    """
    found: dict[str, list[str]] = {}
    for each in problems:
        found.setdefault(_field(each.pointer.strip("/").split("/"), stage), []).append(each.message)
    return found


def _field(path: list[str], stage: Stage | None) -> str:
    match path:
        case ["config", *rest] if stage is not None and rest:
            return PREFIX + ".".join(rest)
        case ["config", of, *rest] if stage is None and rest:
            return f"{of}.{PREFIX}{'.'.join(rest)}"
        case ["inputs", name, *_]:
            return IN + name
        case [name, *_] if stage is None and name in PIPELINE_INPUTS:
            return IN + name
        case [("preset" | "gpus" | "priority" | "name" | "notes" | "tags") as name, *_]:
            return name
    return ""


def content_key(form: Posted) -> str:
    """The form's own key with what it says: the same form sent twice makes one thing, a changed one another."""
    said = json.dumps([[name, values] for name, values in sorted(form.items()) if name != "do"])
    return f"{first(form).get(KEY, '')[:64]}:{hashlib.sha256(said.encode()).hexdigest()}"
