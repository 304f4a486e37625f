"""The pages of projects as a browser without scripts sees them: home, making, changing, filling, progress."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.shared.records import Prompt, Ranking
from annotation_api.db.forms import QuestionsForm, RulesForm, read_form
from annotation_api.db.tables import DatasetKind, FeedbackKind, Form, Project, Role, Task
from annotation_api.web.projects import project_form

ABOUT = {"kind": "questions", "questions": [{"id": "clear", "text": "Is it clear?", "kind": "yes_no"}]}


def entered(html: str) -> dict[str, str]:
    """What a browser would send from the page's form: inputs, ticked boxes, chosen options, text areas."""
    form = html[html.index('class="stack build"') :]
    fields: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        found = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if "name" in found and (found.get("type") != "checkbox" or " checked" in tag):
            fields[found["name"]] = unescape(found.get("value", ""))
    for name, inner in re.findall(r'<textarea name="([^"]+)"[^>]*>\n(.*?)</textarea>', form, re.S):
        fields[name] = unescape(inner).replace("\r\n", "\n").replace("\n", "\r\n")
    for name, inner in re.findall(r'<select name="([^"]+)"[^>]*>(.*?)</select>', form, re.S):
        options = re.findall(r'<option value="([^"]*)"( selected)?', inner)
        fields[name] = next((value for value, chosen in options if chosen), options[0][0])
    return fields


def newest(session: Session) -> Project:
    return session.scalars(select(Project).order_by(Project.created_at.desc(), Project.id)).one()


@pytest.mark.parametrize("preset", ["", *project_form.presets()])
def test_a_project_is_made_with_every_starting_set(browser_of, session: Session, preset: str) -> None:
    browser = browser_of(Role.ENGINEER)
    fields = entered(browser.get(f"/projects/new?preset={preset}").text)
    made = browser.post("/projects", data=fields | {"name": "Mine"})
    assert made.status_code == 303, made.text
    (form,) = session.scalars(select(Form).where(Form.project_id == newest(session).id)).all()
    wanted = project_form.presets()[preset]["project"]["forms"][0] if preset else {"kind": "ranking"}
    assert read_form(form.spec) == read_form(wanted)
    page = browser.get(made.headers["location"])
    assert page.status_code == 200
    assert "Make tasks from a data set" in page.text


def test_a_refused_form_keeps_what_was_entered_and_says_where(browser_of, session: Session) -> None:
    browser = browser_of(Role.ENGINEER)
    fields = entered(browser.get("/projects/new?preset=comparison_questions").text)
    wrong = {"name": "<Mine>", "overlap": "99", "questions.3.options": "only one"}
    del fields["questions.demonstration"]  # a browser leaves an empty box out
    answer = browser.post("/projects", data=fields | wrong)
    assert answer.status_code == 422
    assert 'id="wrong-questions.3.options"' in answer.text
    assert 'id="wrong-overlap"' in answer.text
    assert "A choice needs two options or more." in answer.text
    again = entered(answer.text)
    assert {key: value for key, value in again.items() if value} == {
        key: value for key, value in (fields | wrong).items() if value
    }
    assert session.scalar(select(func.count()).select_from(Project)) == 0
    mended = browser.post("/projects", data=again | {"overlap": "2", "questions.3.options": "one\ntwo"})
    assert mended.status_code == 422  # later questions wait for the option “both”, which is gone
    assert "is never answered" in unescape(mended.text)


def test_a_taken_name_stands_at_the_name(browser_of, make) -> None:
    make.project(name="Mine")
    browser = browser_of(Role.ENGINEER)
    answer = browser.post("/projects", data=entered(browser.get("/projects/new").text) | {"name": "Mine"})
    assert answer.status_code == 409
    assert 'id="wrong-name"' in answer.text


def test_more_blocks_are_asked_for_without_losing_anything(browser_of, session: Session) -> None:
    browser = browser_of(Role.ENGINEER)
    fields = entered(browser.get("/projects/new").text) | {"rules.on": "yes", "rules.1.text": "Be kind.", "name": ""}
    more = entered(browser.post("/projects", data=fields | {"do": "more-rules"}).text)
    assert more["rules.1.text"] == "Be kind."
    assert "rules.3.text" not in fields
    assert "rules.7.text" in more
    made = browser.post("/projects", data=more | {"name": "Two forms", "rules.7.text": "Be brief."})
    assert made.status_code == 303
    forms = session.scalars(select(Form).where(Form.kind == FeedbackKind.RULES)).one()
    form = read_form(forms.spec)
    assert isinstance(form, RulesForm)
    assert [rule.id for rule in form.rules] == ["be_kind", "be_brief"]


def test_storing_an_untouched_form_changes_nothing(browser_of, make, session: Session) -> None:
    project = make.project(forms=[read_form(ABOUT)], daily_limit=5, guidelines="One.\n\nTwo.")
    browser, path = browser_of(Role.ENGINEER), f"/projects/{project.id}/edit"
    assert browser.post(path, data=entered(browser.get(path).text)).status_code == 303
    session.refresh(project)
    assert (project.daily_limit, project.guidelines) == (5, "One.\n\nTwo.")
    assert session.scalar(select(func.count()).select_from(Form)) == 1


def test_a_change_is_a_new_version_and_the_page_shows_both(browser_of, make, session: Session) -> None:
    project = make.project(forms=[read_form(ABOUT)])
    make.task(make.prompt(project), ("text",), kind=FeedbackKind.QUESTIONS)
    browser, path = browser_of(Role.ENGINEER), f"/projects/{project.id}/edit"
    fields = entered(browser.get(path).text) | {"questions.1.text": "Is it easy to follow?", "daily_limit": ""}
    assert browser.post(path, data=fields).status_code == 303
    newer = session.scalars(select(Form).where(Form.version == 2)).one()
    form = read_form(newer.spec)
    assert isinstance(form, QuestionsForm)
    assert (form.questions[0].id, form.questions[0].text) == ("clear", "Is it easy to follow?")
    page = browser.get(f"/projects/{project.id}").text
    assert page.count("<td>questions") == 2
    assert page.count("for new tasks") == 1


def test_what_the_fields_cannot_hold_is_edited_as_json(browser_of, make, session: Session) -> None:
    rule = {"id": "a", "text": "Be kind.", "explanation": "Really.", "criterion": "helpful"}
    project = make.project(forms=[read_form({"kind": "ranking", "rules": [rule]})])
    browser, path = browser_of(Role.ENGINEER), f"/projects/{project.id}/edit"
    fields = entered(browser.get(path).text)
    assert fields["ranking.use_json"] == "yes"
    assert browser.post(path, data=fields).status_code == 303
    assert session.scalar(select(func.count()).select_from(Form)) == 1
    changed = fields | {"ranking.json": fields["ranking.json"].replace("Really.", "Truly.")}
    assert browser.post(path, data=changed).status_code == 303
    assert session.scalar(select(func.count()).select_from(Form)) == 2


def rows(count: int) -> list[Ranking]:
    return [
        Ranking(prompt=Prompt.from_text(f"{n}?"), responses=("yes", "no"), groups=((0,), (1,))) for n in range(count)
    ]


def test_tasks_are_made_from_a_data_set_and_counted(browser_of, make, session: Session) -> None:
    project, dataset = make.project(), make.dataset(DatasetKind.PREFERENCES, rows(3))
    browser, path = browser_of(Role.ENGINEER), f"/projects/{project.id}/tasks"
    body = {"dataset": str(dataset.id), "kind": "ranking", "limit": "2", "overlap": "", "priority": ""}
    first = browser.post(path, data=body | {"responses_per_task": ""})
    assert "2 new tasks from 3 rows" in first.text
    assert "send the form again" in first.text
    second = browser.post(path, data=body)
    assert "1 new tasks from 3 rows; 2 not made." in second.text
    assert "2 × already a task of this project" in second.text
    assert session.scalar(select(func.count()).select_from(Task)) == 3
    wrong = browser.post(path, data=body | {"overlap": "99", "limit": "7"})
    assert wrong.status_code == 422
    assert 'id="wrong-overlap"' in wrong.text
    assert 'value="7"' in wrong.text


def test_progress_shows_people_by_pseudonym_and_days(browser_of, make, person) -> None:
    project, annotator = make.project(overlap=2), person(Role.ANNOTATOR)
    make.submission(make.task(make.prompt(project), overlap=2), [[0], [1]], annotator)
    path = f"/projects/{project.id}"
    engineer = browser_of(Role.ENGINEER).get(path).text
    assert annotator.pseudonym in engineer
    assert annotator.name not in engineer
    assert "By day" in engineer
    assert annotator.name in browser_of(Role.ADMIN).get(path).text
    own = browser_of(annotator).get(path).text
    assert annotator.pseudonym not in own
    assert "By day" not in own
    assert "/edit" not in own
    home = browser_of(annotator).get("/").text
    assert "1 done today" in home
    assert "1 by you in all" in home
    assert "/projects/new" not in home


def test_hostile_words_stay_words(browser_of, make) -> None:
    hostile = "<script>alert(1)</script>\"'{{7*7}}"
    spec: dict[str, Any] = {"kind": "rules", "rules": [{"id": "a", "text": hostile, "explanation": hostile}]}
    project = make.project(name=hostile, guidelines=hostile, forms=[read_form(spec)])
    browser = browser_of(Role.ADMIN)
    for path in ("", "/edit"):
        page = browser.get(f"/projects/{project.id}{path}").text
        assert "<script>alert" not in page
    assert entered(page)["rules.1.text"] == hostile
