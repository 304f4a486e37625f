"""What is wrong with an input, said so that it can be mended: the field, the value, the near miss.

The REST door, the CLI and the importers explain pydantic's errors with these.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field, SkipValidation, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails

from alignment.shared.sentence import Sentence, either

Scalar = bool | int | float | str | None
SentenceText = Annotated[str, SkipValidation]  # of a model's field: pydantic would make a plain str of a Sentence
MOST_SHOWN = 80  # characters of a value
MOST_WHOLE = 2**53  # what every reader of JSON reads as it was written


class NumbersAreNumbers(BaseModel):
    """A true or false where a number belongs is refused; pydantic would read 1 or 0."""

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, values: Any) -> Any:
        given = values.items() if isinstance(values, dict) else ()
        wrong = [
            InitErrorDetails(type=kind, loc=(name,), input=value)
            for name, value in given
            if isinstance(value, bool) and (kind := _number_of(cls.model_fields.get(name)))
        ]
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return values


def _number_of(field: FieldInfo | None) -> Literal["int_type", "float_type"] | None:
    """The error that it is none, of a field for a number."""
    kinds = _options(field.annotation) if field else []
    return None if bool in kinds else "int_type" if int in kinds else "float_type" if float in kinds else None


class Problem(BaseModel):
    """One thing wrong with an input: where (JSON pointer), what, and what would be right."""

    pointer: str
    message: SentenceText
    value: Scalar = Field(
        default="",
        description="What was sent, cut to 80 characters; empty for what has parts, null for what is not there.",
    )

    @property
    def written(self) -> str:
        """The value as JSON."""
        return json.dumps(self.value, ensure_ascii=False)


# Kinds of pydantic's errors that have a code of ours, each with the values of its sentence.
PYDANTICS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("missing", "string_type", "int_type", "int_parsing", "int_from_float", "float_type", "float_parsing"), ()
    ),
    **dict.fromkeys(("bool_type", "bool_parsing", "list_type", "dict_type", "model_type", "finite_number"), ()),
    **dict.fromkeys(("model_attributes_type", "tuple_type", "union_tag_not_found"), ()),
    **dict.fromkeys(("uuid_type", "uuid_parsing", "datetime_type", "datetime_from_date_parsing"), ()),
    **dict.fromkeys(("datetime_parsing", "datetime_object_invalid", "int_parsing_size", "string_unicode"), ()),
    "greater_than": ("gt",),
    "greater_than_equal": ("ge",),
    "less_than": ("lt",),
    "less_than_equal": ("le",),
    "string_too_short": ("min_length",),
    "string_too_long": ("max_length",),
    "too_short": ("min_length", "actual_length"),
    "too_long": ("max_length", "actual_length"),
    "string_pattern_mismatch": ("pattern",),
    "literal_error": ("expected",),
    "enum": ("expected",),
    "union_tag_invalid": ("tag", "expected_tags"),
}
# Words of ours where pydantic's speak of how it reads a value.
_ID = "This is no id; an id looks like 00000000-0000-4000-8000-000000000000"
_TIME = "This is no time; write it as 2026-01-31T12:00:00Z"
WORDS: dict[str, str] = {
    **dict.fromkeys(("uuid_type", "uuid_parsing"), _ID),
    **dict.fromkeys(("int_type", "int_parsing"), "This is no whole number"),
    "int_from_float": "This is no whole number: it has a fraction",
    "int_parsing_size": "This number has too many digits",
    **dict.fromkeys(("float_type", "float_parsing"), "This is no number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "This is neither true nor false"),
    **dict.fromkeys(
        ("datetime_type", "datetime_parsing", "datetime_from_date_parsing", "datetime_object_invalid"), _TIME
    ),
    "string_type": "This is no text",
    "string_unicode": "This is no text that can be stored",
    **dict.fromkeys(("list_type", "tuple_type"), "This is no list"),
    "too_short": "At least %(min_length)s must be given, not %(actual_length)s",
    "too_long": "At most %(max_length)s may be given, not %(actual_length)s",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "This is no object with fields"),
}
OURS = ("value_error", "assertion_error")  # what a validator of ours has raised
OTHER_KIND = (
    "_type",
    "_parsing",
    "literal_error",
)  # how the kinds of errors end that say that a value is of another kind
NO_KEY = "[key]"  # where pydantic puts a key of a dictionary that is none of those it may have
MOST_EXPLAINED = 50  # problems of one input: a near miss takes a while to find


def explain(error: ValidationError, model: Any = None) -> list[Problem]:
    """Turn pydantic's errors into problems that name the field, the value and the near miss.

    `model` is what was validated against: a model class, or a union of such told apart by a field.
    """
    problems, found = [], sorted(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    found = _of_kinds_that_fit(found, model)
    for item in found[:MOST_EXPLAINED]:
        path, known, _ = _locate(model, item["loc"])
        if path[-1:] == [NO_KEY] and item["type"] in ("enum", "literal_error"):
            path = path[:-1]
            message = _unknown_key(path[-1], re.findall(r"'(\w+)'", item["ctx"]["expected"]))
        elif item["type"] == "extra_forbidden":
            message = _unknown_key(path[-1], known)
        else:
            message = said(item)
        value = None if item["type"] == "missing" else shown(item["input"])
        problems.append(Problem(pointer="/" + "/".join(path), message=message, value=value))
    if (rest := len(found) - MOST_EXPLAINED) > 0:
        problems.append(
            Problem(pointer="/", message=Sentence("more-problems", "%(rest)s more problems are not listed.", rest=rest))
        )
    return problems


def shown(value: object) -> Scalar:
    """A value as an error tells it: JSON as it came, shortened; empty for an object or a list."""
    match value:
        case bool() | None:
            return value
        case float() if not math.isfinite(value):
            return str(value)
        case int() if abs(value) > MOST_WHOLE:
            return "a number with many digits"
        case int() | float():
            return value
        case dict() | list() | tuple() | BaseModel():
            return ""
    return str(value)[:MOST_SHOWN]


def sentences(error: ValidationError, model: Any = None) -> str:
    """`explain` in one line, for a terminal or a log."""
    problems = explain(error, model)
    return " ".join(
        f"{p.pointer}: {p.message}{f' (got {p.written})' if p.value not in ('', None) else ''}." for p in problems
    )


def _of_kinds_that_fit(found: list[Any], model: Any) -> list[Any]:
    """Of a value that may be of several kinds, what is wrong with it as those that it could be; if it is of none, all.

    A list of names with a bad name is no whole number either, which helps nobody.
    """
    tried = [_locate(model, item["loc"])[2] for item in found]
    other = [k == item["loc"] and item["type"].endswith(OTHER_KIND) for k, item in zip(tried, found, strict=True)]
    fitting = {k[:-1] for k, is_other in zip(tried, other, strict=True) if k and not is_other}
    inner = {
        item["loc"][:n] for item in found for n in range(len(item["loc"]))
    }  # pydantic counts what is right of a list alone
    return [
        item
        for item, k, is_other in zip(found, tried, other, strict=True)
        if not (k and is_other and k[:-1] in fitting) and not (item["type"] == "too_short" and item["loc"] in inner)
    ]


def _locate(kind: Any, loc: Sequence[int | str]) -> tuple[list[str], list[str], Sequence[int | str]]:
    """The parts of a JSON pointer, the field names of the model that holds the last one, and the start of `loc` up to
    the kind that it names last.

    pydantic puts a union's tag, or the name of the kind that it tried, into the location, where the input has nothing
    of that name: left out.
    """
    path: list[str] = []
    known: list[str] = []
    tried = loc[:0]
    for number, part in enumerate(loc):
        options = _options(kind)
        tagged = [option for option in options if len(options) > 1 and part in _tags(option)]
        if tagged:
            kind = tagged[0]
            continue
        if len(options) > 1 and not any(map(_is_model, options)) and isinstance(part, str):
            kind, tried = _named(part, options), loc[: number + 1]
            continue
        path.append(str(part))
        model = next((option for option in options if _is_model(option)), None)
        known = list(model.model_fields) if model else []
        if model is not None:
            field = model.model_fields.get(str(part))
            kind = field.annotation if field else None
        else:
            inner = next((get_args(option) for option in options if get_args(option)), (None,))
            kind = inner[0] if isinstance(part, int) else inner[-1]  # of a list, of a dict
    return path, known, tried


def _options(kind: Any) -> list[Any]:
    """The members of a union but for None, or the type alone; what Annotated adds is put aside."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) in (Union, UnionType):
        return [option for member in get_args(kind) if member is not NoneType for option in _options(member)]
    return [kind]


def _named(label: str, options: Sequence[Any]) -> Any:
    """The member of a union that pydantic calls so: "constrained-int", "tuple[str, ...]", "literal['usual']"."""
    said = label.removeprefix("constrained-")
    return next((kind for kind in options if said.startswith((get_origin(kind) or kind).__name__.lower())), None)


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _tags(kind: Any) -> list[Any]:
    """The values by which a model says which one of a union it is."""
    fields = kind.model_fields.values() if _is_model(kind) else ()
    return [tag for field in fields if get_origin(field.annotation) is Literal for tag in get_args(field.annotation)]


def pointed(problem: Problem, more: str = "") -> Sentence:
    """What is wrong, and where."""
    english = "%(pointer)s: %(message)s%(more)s"
    return Sentence("pointer-and-message", english, pointer=problem.pointer, message=problem.message, more=more)


def said(item: Mapping[str, Any]) -> str:
    """What pydantic or a validator of ours says, under a code; kinds that no input meets keep pydantic's words."""
    values = item.get("ctx", {})
    if item["type"] in OURS:  # pydantic would put the kind of exception before our words
        inner = next(iter(values["error"].args), "")
        return inner if isinstance(inner, Sentence) else str(inner)
    if expected := values.get("expected"):
        values = {**values, "expected": either(expected.rsplit(" or ", 1))}
    if item["type"] in PYDANTICS:
        english = WORDS[item["type"]] % values if item["type"] in WORDS else item["msg"]
        return Sentence.filled(f"input-{item['type']}", english, values)
    return str(item["msg"])


def _unknown_key(key: str, known: list[str]) -> str:
    hint: str = ""
    if near := difflib.get_close_matches(key, known, n=1, cutoff=0.5):
        hint = Sentence("near-key", " Did you mean %(near)s?", near=repr(near[0]))
    elif known:
        hint = Sentence("known-keys", " Known keys: %(known)s.", known=", ".join(known))
    return Sentence("unknown-key", "Unknown key %(key)s.%(hint)s", key=repr(key), hint=hint)
