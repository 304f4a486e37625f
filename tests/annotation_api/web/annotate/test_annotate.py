"""The page's forms: what was entered is what is stored, comes back for a correction, and bad input is told apart."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.datastructures import FormData

from alignment.shared.records import Prompt
from annotation_api.annotation.submissions.checks import problems_of
from annotation_api.annotation.tasks.schemas import AssignmentOut, ShownResponse
from annotation_api.db.forms import RankingForm, Rule
from annotation_api.db.tables import Assignment, Draft, FeedbackKind, Role, Submission
from annotation_api.http.errors import ApiError
from annotation_api.web.annotate.cards import cards_of
from annotation_api.web.annotate.work import TaskPage

FORM = RankingForm(ratings="optional", rules=(Rule(id="polite", text="Be polite."), Rule(id="true", text="Be true.")))


def shown(texts: list[str], draft: dict[str, Any] | None = None) -> AssignmentOut:
    return AssignmentOut(
        assignment=uuid.uuid4(),
        task=uuid.uuid4(),
        project=uuid.uuid4(),
        kind=FeedbackKind.RANKING,
        form=FORM,
        rules=None,
        prompt=Prompt.from_text("Hi").model_dump(mode="json"),
        responses=[ShownResponse(id=uuid.uuid4(), text=text) for text in texts],
        lease_until=datetime.now(UTC),
        draft=draft,
    )


@st.composite
def filled(draw: st.DrawFn) -> tuple[AssignmentOut, list[tuple[str, str]]]:
    """A task of 2 to 9 responses, some of them identical, and all its fields filled at will."""
    task = shown(draw(st.lists(st.sampled_from("stuvwxyz"), min_size=2, max_size=9)))
    labels = [card.label for card in cards_of(task)]
    rank = st.integers(1, len(labels)).map(str)
    fields = [("submission", str(uuid.uuid4())), ("supersedes", "")]
    fields += [(f"rank-{label}", draw(rank)) for label in labels]
    if draw(st.booleans()):
        fields += [(f"rating-{label}", draw(st.sampled_from("1234567"))) for label in labels]
    for prefix, ids in (("flag", ("pii", "unsafe", "off_topic")), ("broken", ("polite", "true"))):
        fields += [(f"{prefix}-{label}", one) for label in labels for one in draw(st.sets(st.sampled_from(ids)))]
    fields += [
        ("strength", draw(st.sampled_from(["", "1", "2", "3", "4"]))),
        ("note", draw(st.sampled_from(["", "x"]))),
    ]
    if draw(st.booleans()):
        fields += [("better", "a better one\r\nof two lines"), ("better_from", draw(st.sampled_from(["", *labels])))]
    if draw(st.booleans()):
        fields += [("all_bad", "yes")]
    return task, fields


@given(filled())
def test_what_is_entered_is_what_is_sent(case: tuple[AssignmentOut, list[tuple[str, str]]]) -> None:
    """The order is worked out here by text and rank, not by groups."""
    task, fields = case
    new = TaskPage.read(FormData(fields), task).submit(task)
    values = dict(fields)
    rank = {card.text: int(values[f"rank-{card.label}"]) for card in cards_of(task)}
    place = {key: number for number, group in enumerate(new.payload.groups) for key in group}
    assert set(place) == {response.id for response in task.responses}
    for one in task.responses:
        for other in task.responses:
            assert (place[one.id] < place[other.id]) == (rank[one.text] < rank[other.text])
    assert new.payload.all_bad == ("all_bad" in values)
    expected = int(values["strength"]) if values["strength"] and "all_bad" not in values else None
    assert new.payload.strength == expected
    assert problems_of(FORM, new.payload, {one.id: one.text for one in task.responses}, None) == []


@given(filled())
def test_a_correction_begins_with_the_very_answer(case: tuple[AssignmentOut, list[tuple[str, str]]]) -> None:
    task, fields = case
    new = TaskPage.read(FormData(fields), task).submit(task)
    stored = new.payload.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    row = Submission(id=new.id, payload=stored, kind=FeedbackKind.RANKING)
    again = TaskPage.correct(row, task).submit(task)
    assert again.payload == new.payload
    assert again.supersedes == new.id


@given(filled())
def test_a_draft_fills_the_form_as_it_was(case: tuple[AssignmentOut, list[tuple[str, str]]]) -> None:
    task, fields = case
    drafted = task.model_copy(update={"draft": {"at": 5, "fields": [list(pair) for pair in fields if pair[1]]}})
    before, after = TaskPage.read(FormData(fields), task), TaskPage.begin(drafted)
    assert (after.entered, after.extras, after.drafted_at) == (before.entered, before.extras, 5)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.fixed_dictionaries({"fields": ODD, "at": ODD}) | st.dictionaries(st.text(), ODD))
def test_an_odd_draft_is_an_empty_form_at_worst(draft: dict[str, Any]) -> None:
    TaskPage.begin(shown(["one", "two"], draft))


def test_all_bad_needs_no_ranks_but_wrong_ranks_are_told() -> None:
    task = shown(["one", "two", "three"])
    ids = [response.id for response in task.responses]
    fields = [("submission", str(uuid.uuid4())), ("all_bad", "yes")]
    assert TaskPage.read(FormData(fields), task).submit(task).payload.groups == [ids]
    half = TaskPage.read(FormData([*fields, ("rank-B", "1")]), task).submit(task)
    assert half.payload.groups == [[ids[1]], [ids[0], ids[2]]]
    for wrong in ("0", "4", "x", "１", "1 "):
        with pytest.raises(ApiError, match="Choose a rank for"):
            TaskPage.read(FormData([*fields, ("rank-B", wrong)]), task).submit(task)


def test_ratings_are_for_all_or_none() -> None:
    task = shown(["one", "two"])
    fields = [("submission", str(uuid.uuid4())), ("rank-A", "1"), ("rank-B", "2"), ("rating-A", "7")]
    with pytest.raises(ApiError, match="Rate B, too"):
        TaskPage.read(FormData(fields), task).submit(task)


def test_a_copy_is_no_better_answer() -> None:
    task = shown(["one", "two"])
    fields = [("submission", str(uuid.uuid4())), ("rank-A", "1"), ("rank-B", "2"), ("better", " two\r\n")]
    with pytest.raises(ApiError, match="the same as answer B"):
        TaskPage.read(FormData(fields), task).submit(task)


# ---------------------------------------------------------------- routes


@pytest.fixture
def project(make: Any) -> Any:
    project = make.project()
    for number in range(2):
        make.task(make.prompt(project, f"Question {number}?"), ("alpha", "beta"), priority=-number)
    return project


def fields_of(session: Session, row: Assignment) -> dict[str, str]:
    return {"assignment": str(row.id), "submission": str(uuid.uuid4()), "rank-A": "1", "rank-B": "2"}


def mine(session: Session) -> list[Assignment]:
    return list(session.scalars(select(Assignment).order_by(Assignment.created_at, Assignment.lease_until)))


def test_the_next_task_comes_as_a_piece_of_the_page(browser_of: Any, project: Any, session: Session) -> None:
    browser, url = browser_of(Role.ANNOTATOR), f"/projects/{project.id}/card"
    first = browser.post(url)
    assert "Question 0?" in first.text
    assert "<html" not in first.text
    assert browser.post(url).text.count("Question 0?") == first.text.count("Question 0?")  # in hand
    in_hand = mine(session)[0].id
    assert "Question 1?" in browser.post(url, params={"besides": str(in_hand)}).text
    other = browser_of(Role.ANNOTATOR)
    assert other.post(url).status_code == 204  # each task wants one person


def test_in_the_background_answers_and_errors_are_for_scripts(browser_of: Any, project: Any, session: Session) -> None:
    browser, url = browser_of(Role.ANNOTATOR), f"/projects/{project.id}/annotate"
    browser.get(url)
    body = fields_of(session, mine(session)[0])
    script = {"params": {"background": "true"}, "headers": {"Accept": "application/problem+json"}}
    refused = browser.post(url, data=body | {"rank-B": ""}, **script)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:rankloop:invalid")
    for _ in range(2):  # the second is a retry
        stored = browser.post(url, data=body | {"active_ms": "4200", "total_ms": "5000"}, **script)
        assert stored.status_code == 200
        assert "1 done today" in stored.text
        assert "median 4 s" in stored.text
    late = browser.post(url, data=body | {"submission": str(uuid.uuid4())}, **script)
    assert (late.status_code, late.json()["type"]) == (409, "urn:rankloop:already-submitted")
    row = session.scalars(select(Submission)).one()
    assert (row.active_ms, row.total_ms) == (4200, 5000)


def test_any_own_answer_can_be_corrected_and_no_other(browser_of: Any, project: Any, session: Session) -> None:
    browser, url = browser_of(Role.ANNOTATOR), f"/projects/{project.id}"
    sent = []
    for number in range(2):
        browser.get(f"{url}/annotate")
        body = fields_of(session, mine(session)[number])
        assert browser.post(f"{url}/annotate", data=body).status_code == 303
        sent.append(body)
    first = sent[0] | {
        "submission": str(uuid.uuid4()),
        "supersedes": sent[0]["submission"],
        "rank-A": "2",
        "rank-B": "1",
    }
    page = browser.get(f"{url}/correct", params={"submission": sent[0]["submission"]})
    assert "Question 0?" in page.text
    assert f'name="supersedes" value="{sent[0]["submission"]}"' in page.text
    assert browser.post(f"{url}/annotate", data=first).status_code == 303
    again = browser.get(f"{url}/correct", params={"submission": sent[0]["submission"]})  # the newest form of it
    assert f'name="supersedes" value="{first["submission"]}"' in again.text
    other = browser_of(Role.ANNOTATOR)
    assert other.get(f"{url}/correct", params={"submission": sent[0]["submission"]}).status_code == 404


def test_a_draft_is_shown_without_scripts_too(browser_of: Any, project: Any, session: Session) -> None:
    browser, url = browser_of(Role.ANNOTATOR), f"/projects/{project.id}/annotate"
    browser.get(url)
    draft = {"fields": [["rank-B", "2"], ["note", "half a <thought>"], ["flag-A", "pii"]], "at": 7}
    session.add(Draft(assignment_id=mine(session)[0].id, payload=draft))
    session.flush()
    page = browser.get(url).text
    assert 'aria-label="Rank 2 for answer B (2nd)" checked' in page
    assert "half a &lt;thought&gt;" in page
    assert 'name="flag-A" value="pii" checked' in page
    assert 'data-drafted-at="7"' in page
    assert session.scalars(select(Submission)).all() == []


def test_a_reason_to_skip_may_have_words(browser_of: Any, project: Any, session: Session) -> None:
    browser, url = browser_of(Role.ANNOTATOR), f"/projects/{project.id}"
    browser.get(f"{url}/annotate")
    row = mine(session)[0]
    body = {"assignment": str(row.id), "reason": "Something else", "words": " too long "}
    assert browser.post(f"{url}/skip", data=body).status_code == 303
    session.refresh(row)
    assert row.skip_reason == "Something else: too long"
