"""The form on which engineers make and change a project: its fields, and what they say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData

from alignment.shared.sentence import Sentence
from alignment.shared.validation import explain
from annotation_api.annotation.projects.schemas import ProjectPatch
from annotation_api.annotation.tasks.schemas import NewProject, ProjectOut
from annotation_api.db.forms import RankingForm
from annotation_api.web.markup.language import LOCALES
from annotation_api.web.projects.form_builder import (
    CLASSES,
    MOST_BLOCKS,
    AnyForm,
    Fields,
    UnreadableForm,
    fields_of,
    form_of,
    plain,
)

M = TypeVar("M", bound=BaseModel)
PRESETS = Path(__file__).parents[2] / "presets"
SETTINGS = ("name", "guidelines", "overlap", "responses_per_task", "lease_seconds", "daily_limit")
BLANK = 2  # empty blocks after the last one
MORE = 5  # that a press on “more” adds


@cache
def presets() -> Mapping[str, dict[str, Any]]:
    """The ready-made starting sets by name, by kind: title, about, and the fields of a new project."""
    found = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(PRESETS.glob("*.json"))}
    kinds = list(CLASSES)
    return dict(sorted(found.items(), key=lambda item: kinds.index(item[1]["project"]["forms"][0]["kind"])))


def empty_fields() -> dict[str, str]:
    """A new project: the defaults, a ranking, and the other forms at hand with their defaults."""
    fields = {f"{kind}.{name}": value for kind in CLASSES for name, value in _defaults(kind).items()}
    return _settings_of(NewProject(name="-")) | {"name": ""} | fields | {"ranking.on": "yes"}


def preset_fields(name: str, language: str = "en") -> dict[str, str]:
    """A new project that begins with a starting set, in the words of a language."""
    project = NewProject.model_validate({"name": "-", **_in_words(presets()[name]["project"], preset_words(language))})
    return empty_fields() | {"ranking.on": ""} | _settings_of(project) | {"name": ""} | _forms_of(project.forms)


@cache
def preset_words(language: str) -> Mapping[str, str]:
    """The texts of the starting sets in a language, by the English ones; English needs none."""
    path = LOCALES / f"presets.{language}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def _in_words(value: Any, words: Mapping[str, str]) -> Any:
    """The same with every text that has other words in those; ids have none."""
    if isinstance(value, dict):
        return {key: _in_words(each, words) for key, each in value.items()}
    if isinstance(value, list):
        return [_in_words(each, words) for each in value]
    return words.get(value, value) if isinstance(value, str) else value


def project_fields(project: ProjectOut) -> dict[str, str]:
    """A project as it stands."""
    forms = [form.spec for form in project.forms]
    return empty_fields() | {"ranking.on": ""} | _settings_of(project) | _forms_of(forms)


def _defaults(kind: str) -> dict[str, str]:
    """The common fields of a kind that is not asked yet."""
    form = RankingForm()
    common = ("rationale", "demonstration", "flags", "strength", "ratings")
    fields = {name.removeprefix("ranking."): value for name, value in fields_of(form).items()}
    return {name: fields[name] for name in common[: None if kind == "ranking" else 3]} | {"on": ""}


def _settings_of(project: NewProject | ProjectOut) -> dict[str, str]:
    return {name: "" if (value := getattr(project, name)) is None else str(value) for name in SETTINGS}


def _forms_of(forms: list[AnyForm]) -> dict[str, str]:
    return {name: value for form in forms for name, value in fields_of(form).items()}


def posted(form: FormData) -> dict[str, str]:
    """Every text field of a posted form."""
    return {name: value for name, value in form.items() if isinstance(value, str)}


def read_new(fields: Fields) -> NewProject:
    """The project that the fields describe; without any form on the page, a ranking. Raises Unreadable."""
    bare = not any("." in name for name in fields)
    return _read(NewProject, fields, None if bare else _on(fields))


def read_patch(fields: Fields) -> ProjectPatch:
    """The changes that the fields describe: every setting, and the forms that are on. Raises Unreadable."""
    return _read(ProjectPatch, fields, _on(fields))


def _on(fields: Fields) -> list[str]:
    return [kind for kind in CLASSES if fields.get(f"{kind}.on")]


def _read(model: type[M], fields: Fields, kinds: list[str] | None) -> M:
    """The settings and the forms of `kinds`, with every problem by the name of its field."""
    body: dict[str, Any] = {name: fields[name].replace("\r\n", "\n") for name in SETTINGS if name in fields}
    if not body.get("daily_limit"):
        body["daily_limit"] = None
    problems: dict[str, str] = (
        {} if kinds is None or kinds else {"forms": Sentence("no-form", "Choose one form at least.")}
    )
    forms = []
    for kind in kinds or ():
        try:
            forms.append(form_of(kind, fields))
        except UnreadableForm as error:
            problems |= error.problems
    try:
        read = model.model_validate(body | ({"forms": forms} if forms else {}))
    except ValidationError as error:
        problems |= {_setting(each.pointer): plain(each.message) for each in explain(error, model)}
        raise UnreadableForm(problems) from None
    if problems:
        raise UnreadableForm(problems)
    return read


def _setting(pointer: str) -> str:
    return pointer.strip("/").split("/")[0] or "forms"


def blocks_of(kind: str, fields: Fields) -> range:
    """The numbers of the blocks to show: those filled, and empty ones after them."""
    marks = (name.split(".") for name in fields if name.startswith(f"{kind}.") and name.endswith(".text"))
    last = max((int(parts[1]) for parts in marks if fields[".".join(parts)].strip()), default=0)
    asked = fields.get(f"{kind}.blocks", "")
    more = MORE if fields.get("do") == f"more-{kind}" else 0
    shown = (int(asked) if asked.isascii() and asked.isdecimal() and len(asked) < 3 else 0) + more
    return range(1, min(max(last + BLANK, shown), MOST_BLOCKS) + 1)
