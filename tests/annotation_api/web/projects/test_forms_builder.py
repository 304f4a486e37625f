"""Form specs to the fields of a plain page and back: exact, or as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from annotation_api.db.forms import QuestionsForm, RankingForm, RulesForm, read_form
from annotation_api.web.projects import project_form
from annotation_api.web.projects.form_builder import UnreadableForm, fields_of, form_of, new_id

IDS = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
WORDS = st.text(st.sampled_from("ab =/|.,é中\n "), min_size=1, max_size=12)
NEED = st.sampled_from(["off", "optional", "required"])
CRITERION = st.sampled_from(["helpful", "honest", "harmless"])


def entries(**more: Any) -> st.SearchStrategy[list[dict[str, Any]]]:
    entry = st.fixed_dictionaries({"id": IDS, "text": WORDS}, optional=more)
    return st.lists(entry, max_size=3, unique_by=lambda each: each["id"])


COMMON: dict[str, Any] = {
    "instruction": st.just("") | WORDS,
    "flags": entries(),
    "rationale": NEED,
    "demonstration": st.booleans(),
}
RANKING = st.fixed_dictionaries(
    {},
    optional=COMMON
    | {
        "strength": NEED,
        "ratings": NEED,
        "criterion": CRITERION,
        "rules": entries(explanation=WORDS, criterion=CRITERION),
    },
)
RULES = st.fixed_dictionaries(
    {"rules": entries(explanation=WORDS, criterion=CRITERION).filter(bool)}, optional=COMMON | {"probe": st.booleans()}
)


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    made: list[dict[str, Any]] = []
    for entry in draw(entries(criterion=CRITERION, required=st.booleans()).filter(bool)):
        kind = draw(st.sampled_from(["choice", "scale", "yes_no", "text"]))
        more: dict[str, Any] = {"kind": kind}
        if kind == "choice":
            more["options"] = [*draw(entries()), {"id": "zz", "text": "z"}, {"id": "zzz", "text": "y"}]
        if kind == "scale":
            more |= {"least": draw(st.integers(0, 4)), "most": draw(st.integers(5, 10)), "least_label": draw(WORDS)}
        asked = draw(st.sampled_from([None, *made]))
        if asked:
            takes = {"yes_no": True, "scale": 5, "choice": "zz", "text": "a / b"}
            more["when"] = {"question": asked["id"], "answers": [takes[asked["kind"]]]}
        made.append(entry | more)
    return {"questions": made, "about": draw(st.sampled_from(["response", "pair"]))}


@given(
    RANKING.map(lambda spec: spec | {"kind": "ranking"})
    | RULES.map(lambda spec: spec | {"kind": "rules"})
    | questions().map(lambda spec: spec | {"kind": "questions"})
)
def test_a_form_survives_its_page(spec: dict[str, Any]) -> None:
    try:
        form = read_form(spec)
    except ValidationError:
        assume(False)
    assert form_of(form.kind, fields_of(form)) == form


@pytest.mark.parametrize("name", project_form.presets())
def test_a_starting_set_is_edited_in_fields_not_as_json(name: str) -> None:
    fields = project_form.preset_fields(name) | {"name": "Mine"}
    made = project_form.read_new(fields)
    (spec,) = project_form.presets()[name]["project"]["forms"]
    assert made.forms == [read_form(spec)]
    assert not [field for field in fields if field.endswith("use_json")]
    assert made.guidelines.startswith("# ")


def test_ids_are_made_from_words_and_differ() -> None:
    fields = {
        "questions.1.text": "Which is better?",
        "questions.1.kind": "choice",
        "questions.1.options": "The first\nThe first\n第二个\nb = B = best",
        "questions.4.text": "Which is better?",
        "questions.4.kind": "yes_no",
    }
    form = form_of("questions", fields)
    assert isinstance(form, QuestionsForm)
    assert [question.id for question in form.questions] == ["which_is_better", "which_is_better_2"]
    assert [option.id for option in form.questions[0].options] == ["the_first", "the_first_2", "item", "b"]
    assert form.questions[0].options[3].text == "B = best"
    assert new_id("9 lives", set()) == "lives"


def test_a_condition_names_an_option_by_its_words_or_its_id() -> None:
    fields = {
        "questions.1.text": "Usable?",
        "questions.1.kind": "choice",
        "questions.1.options": "all = All of it\nnone = Nothing",
        "questions.2.text": "Why?",
        "questions.2.kind": "text",
        "questions.2.when": "1",
        "questions.2.answers": "All of it / none",
    }
    form = form_of("questions", fields)
    assert isinstance(form, QuestionsForm)
    assert form.questions[1].when is not None
    assert form.questions[1].when.answers == ("all", "none")


@pytest.mark.parametrize(
    ("kind", "fields", "field", "says"),
    [
        ("questions", {}, "questions.problem", "At least one is needed."),
        ("questions", {"3.text": "x", "3.kind": "choice"}, "questions.3.options", "two options or more"),
        (
            "questions",
            {"1.text": "x", "1.kind": "scale", "1.least": "5", "1.most": "5"},
            "questions.1.most",
            "A scale rises",
        ),
        ("questions", {"1.text": "x", "1.kind": "scale", "1.most": "no"}, "questions.1.most", "whole number"),
        ("questions", {"1.text": "x", "1.kind": "text", "1.id": "A b"}, "questions.1.id", "Lower-case letters"),
        ("questions", {"1.text": "x", "1.kind": "text", "1.when": "2"}, "questions.1.answers", "At least one"),
        (
            "questions",
            {"1.text": "x", "1.kind": "yes_no", "2.text": "y", "2.kind": "text", "2.when": "1", "2.answers": "maybe"},
            "questions.problem",
            "takes true or false",
        ),
        ("rules", {"1.text": "x", "2.text": "y", "1.id": "a", "2.id": "a"}, "rules.problem", "stands twice"),
        ("ranking", {"rules": "\n".join(f"r{n} = x" for n in range(41))}, "ranking.rules", "At most 40 may be given"),
        ("ranking", {"use_json": "yes", "json": "{"}, "ranking.json", "not JSON"),
        ("ranking", {"use_json": "yes", "json": '{"strenght": "off"}'}, "ranking.json", "strength"),
        ("ranking", {"use_json": "yes", "json": "[" * 100_000}, "ranking.json", "nested too deep"),
    ],
)
def test_what_is_wrong_stands_at_its_field(kind: str, fields: dict[str, str], field: str, says: str) -> None:
    with pytest.raises(UnreadableForm) as caught:
        form_of(kind, {f"{kind}.{name}": value for name, value in fields.items()})
    assert list(caught.value.problems) == [field]
    assert says in caught.value.problems[field]
    assert "Value error" not in caught.value.problems[field]


def test_json_counts_only_when_it_is_chosen() -> None:
    fields = {"rules.1.text": "Be kind.", "rules.json": json.dumps({"rules": [{"id": "other", "text": "Other."}]})}
    plain, chosen = form_of("rules", fields), form_of("rules", fields | {"rules.use_json": "yes"})
    assert isinstance(plain, RulesForm)
    assert isinstance(chosen, RulesForm)
    assert (plain.rules[0].id, chosen.rules[0].id) == ("be_kind", "other")


def test_all_problems_of_a_project_come_together() -> None:
    fields = project_form.empty_fields() | {"overlap": "many", "rules.on": "yes", "questions.on": "yes"}
    with pytest.raises(UnreadableForm) as caught:
        project_form.read_new(fields)
    assert set(caught.value.problems) == {"name", "overlap", "rules.problem", "questions.problem"}
    with pytest.raises(UnreadableForm) as none:
        project_form.read_new(project_form.empty_fields() | {"name": "x", "ranking.on": ""})
    assert set(none.value.problems) == {"forms"}


def test_an_empty_page_is_a_project_of_defaults() -> None:
    made = project_form.read_new(project_form.empty_fields() | {"name": "x"})
    assert made.forms == [RankingForm()]
    assert (made.overlap, made.responses_per_task, made.lease_seconds, made.daily_limit) == (1, 4, 300, None)


def test_blocks_leave_room_and_grow() -> None:
    fields = {"rules.1.text": "a", "rules.7.text": "b", "rules.8.text": " "}
    assert project_form.blocks_of("rules", {}) == range(1, 3)
    assert project_form.blocks_of("rules", fields) == range(1, 10)
    assert project_form.blocks_of("rules", fields | {"rules.blocks": "9", "do": "more-rules"}) == range(1, 15)
    assert project_form.blocks_of("rules", {"rules.blocks": "99", "do": "more-rules"}) == range(1, 41)
