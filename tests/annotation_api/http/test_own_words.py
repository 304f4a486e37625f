"""What is told of an input that is wrong: own words, the near miss first, and the value as it was sent."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alignment.shared.sentence import Sentence
from alignment.shared.validation import explain
from annotation_api.db.tables import Role


class Colour(StrEnum):
    RED = "red"


class Whole(BaseModel):
    """A field of each kind that bodies have."""

    model_config = ConfigDict(extra="forbid")

    key: uuid.UUID
    count: Annotated[int, Field(gt=0, le=9)]
    share: Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
    flag: bool
    at: datetime
    text: Annotated[str, Field(min_length=2, max_length=3)]
    colour: Colour
    word: Literal["a"]
    many: Annotated[list[str], Field(min_length=1, max_length=2)]
    table: dict[Colour, int]


WRONG = [None, "x", "", "abcd", 0, 1.5, 10, True, [], ["a", "b", "c"], [1], {}, {"rde": 1}, "1e400", "9" * 5000,
         float("nan"), "2026-13-01", "2026-01-01", "\ud800"]  # fmt: skip


@pytest.mark.parametrize("field", Whole.model_fields)
def test_every_kind_of_error_has_own_words(field: str) -> None:
    for value in WRONG:
        with pytest.raises(ValidationError) as refused:
            Whole.model_validate({field: value})
        for problem in explain(refused.value, Whole):
            assert isinstance(problem.message, Sentence), (problem, value)
            assert not any(word in problem.message for word in ("valid", "parse", "Keys should", "UUID")), problem


def test_a_near_miss_leads_and_what_is_missing_has_no_value(as_: Any) -> None:
    body = as_(Role.ENGINEER).post("/v1/projects", json={"nam": "x"}).json()
    assert body["detail"] == "/nam: Unknown key 'nam'. Did you mean 'name'? (and 1 more)"
    assert [(one["pointer"], one["value"]) for one in body["errors"]] == [("/nam", "x"), ("/name", None)]


def test_true_is_no_number_in_a_body_or_a_form(as_: Any) -> None:
    scale = {"kind": "questions", "questions": [{"id": "q", "text": "How much?", "kind": "scale", "least": True}]}
    body = {"name": "x", "overlap": True, "forms": [scale]}
    told = {
        pointer: one["message"]
        for sent in (body, body | {"overlap": 2})
        for one in as_(Role.ENGINEER).post("/v1/projects", json=sent).json()["errors"]
        for pointer in [one["pointer"]]
    }
    assert told == dict.fromkeys(("/overlap", "/forms/0/questions/0/least"), "This is no whole number")


def test_a_stage_that_is_none_is_told_with_its_near_miss(as_: Any) -> None:
    errors = as_(Role.ENGINEER).post("/v1/pipelines", json={"config": {"pppo": {"updates": 1}}}).json()["errors"]
    assert ("/config/pppo", "Unknown key 'pppo'. Did you mean 'ppo'?") in [(e["pointer"], e["message"]) for e in errors]


def test_query_path_and_address_in_own_words(as_: Any) -> None:
    engineer = as_(Role.ENGINEER)
    [error] = engineer.get("/v1/jobs?states=running").json()["errors"]
    assert (error["pointer"], error["value"]) == ("query:states", "running")
    [error] = engineer.get("/v1/jobs/abc").json()["errors"]
    assert (error["message"].split(";")[0], error["value"]) == ("This is no id", "abc")
    wrong = {"name": "Ada", "email": "ada", "password": "three plain words"}
    answer = as_(Role.ADMIN).post("/v1/invitations/none:accept", json=wrong).json()
    assert "one looks like ada@example.org" in answer["detail"]
