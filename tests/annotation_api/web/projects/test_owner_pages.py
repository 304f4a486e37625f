"""An owner's day in pages: tasks looked through, taken out and brought back; fills foreseen and undone; members."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from alignment.shared.records import Prompt, Ranking
from annotation_api.annotation.tasks import queries
from annotation_api.db.forms import Rule, RulesForm
from annotation_api.db.tables import (
    Assignment,
    AssignmentState,
    DatasetKind,
    FeedbackKind,
    Job,
    ModelKind,
    Project,
    ProjectMember,
    Role,
    Submission,
    Task,
)

AGES_AWAY = datetime(2100, 1, 1, tzinfo=UTC)  # all tests together take longer than an hour on a busy machine
LEASED = {"state": AssignmentState.LEASED, "lease_until": AGES_AWAY}
QUESTIONS = RulesForm(rules=tuple(Rule(id=f"rule_{n}", text=f"Rule {n}.") for n in range(4)), probe=True)


def rows(count: int) -> list[Ranking]:
    return [
        Ranking(prompt=Prompt.from_text(f"{n}?"), responses=("yes", "no"), groups=((0,), (1,))) for n in range(count)
    ]


def hidden(html: str, button: str) -> dict[str, str]:
    """The hidden fields of the form that has the button."""
    form = next(each for each in re.findall(r"<form.*?</form>", html, re.S) if button in each)
    return {name: unescape(value) for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)}


def tasks(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(Task)) or 0


def test_a_fill_says_what_it_will_make_and_is_undone(browser_of, make, session: Session) -> None:
    """Twelve rows with two responses and four rules to probe are 96 tasks, three judgements each."""
    project = make.project(overlap=3, forms=[QUESTIONS])
    dataset = make.dataset(DatasetKind.PREFERENCES, rows(12))
    browser, path = browser_of(Role.ENGINEER), f"/projects/{project.id}/tasks"
    body = {"dataset": str(dataset.id), "kind": "rules"}
    looked = browser.post(path, data=body | {"do": "look"})
    assert "It would make 96 new tasks from 12 rows, 288 judgements in all" in looked.text
    assert "Make 96 tasks" in looked.text
    assert tasks(session) == 0
    kept = make.task(make.prompt(project, "Mine?"), ("one",), kind=FeedbackKind.RULES)
    made = browser.post(path, data=body | {"do": "make"})
    assert "96 new tasks from 12 rows" in made.text
    assert "They want 288 judgements." in made.text
    undone = browser.post(f"{path}/remove", data=hidden(made.text, "Undo this filling"))
    assert "Deleted: 96" in undone.text
    assert session.scalars(select(Task.id)).all() == [kept.id]
    assert "96 new tasks" in browser.post(path, data=body).text  # the same content can be asked again


def test_a_dry_run_counts_repeats_as_the_run_does(as_, make, session: Session) -> None:
    project, dataset = make.project(), make.dataset(DatasetKind.RANKINGS, rows(3) * 2)
    path, body = f"/v1/projects/{project.id}/tasks:from-dataset", {"dataset": str(dataset.id)}
    dry = as_(Role.ENGINEER).post(path, json=body | {"dry_run": True})
    wet = as_(Role.ENGINEER).post(path, json=body)
    assert (dry.status_code, wet.status_code) == (200, 201)
    times = ("since", "until")
    assert {k: v for k, v in dry.json().items() if k not in times} == {
        k: v for k, v in wet.json().items() if k not in times
    }
    assert dry.json()["since"] is None


def test_a_project_without_tasks_says_so(browser_of, make) -> None:
    shown = browser_of(Role.ADMIN).get(f"/projects/{make.project().id}").text
    assert "No task yet." in shown
    assert "Nothing is left for you here." not in shown


def test_tasks_are_found_taken_out_and_brought_back(browser_of, make, session: Session) -> None:
    project = make.project()
    fresh = make.task(make.prompt(project, "What is a monad?"), overlap=2)
    begun = make.task(make.prompt(project, "What is a functor?"), overlap=2)
    make.submission(begun, [[0], [1]])
    begun.judged = 1
    holder = make.person(Role.ANNOTATOR)
    held = make.assignment(begun, holder, **LEASED)
    session.flush()
    browser, path = browser_of(Role.ENGINEER), f"/projects/{project.id}/tasks"
    assert "monad" in browser.get(f"{path}?state=waiting").text
    assert "functor" not in browser.get(f"{path}?state=waiting").text
    assert "functor" in browser.get(f"{path}?q=FUNCTOR").text
    assert "monad" not in browser.get(f"{path}?q=FUNCTOR").text
    gone = browser.post(f"{path}/remove", data={"task": [str(fresh.id), str(begun.id)]})
    assert "Deleted: 1" in gone.text
    assert "with the work that is in them: 1" in gone.text
    session.expire_all()
    assert session.scalars(select(Task.id)).all() == [begun.id]
    assert (begun.overlap, begun.removed_overlap, held.state) == (1, 2, AssignmentState.EXPIRED)
    assert queries.left_for(session, holder, project.id) == 0
    assert session.scalar(select(func.count()).select_from(Submission)) == 1
    assert "functor" in browser.get(f"{path}?state=removed").text
    assert "In the queue again: 1" in browser.post(f"{path}/restore", data={"state": "removed", "all": "yes"}).text
    session.expire_all()
    assert (begun.overlap, begun.removed_overlap) == (2, None)
    assert queries.left_for(session, holder, project.id) == 1


def test_no_task_is_taken_out_where_none_was_chosen(browser_of, as_, make, session: Session) -> None:
    project = make.project()
    make.task(make.prompt(project))
    assert "Deleted: 0" in browser_of(Role.ENGINEER).post(f"/projects/{project.id}/tasks/remove").text
    refused = as_(Role.ENGINEER).post(f"/v1/projects/{project.id}/tasks:remove", json={})
    assert refused.status_code == 422
    assert tasks(session) == 1


def test_a_task_is_looked_at_as_annotators_see_it(browser_of, make) -> None:
    project = make.project()
    task = make.task(make.prompt(project, "What is a monad?"), ("A burrito.", "A monoid."))
    page = browser_of(Role.REVIEWER).get(f"/projects/{project.id}/tasks/{task.id}").text
    assert "A burrito." in page
    assert "inert" in page
    assert f'href="/projects/{project.id}/review/tasks/{task.id}"' in page  # where it becomes a gold item
    other = make.project()
    assert browser_of(Role.REVIEWER).get(f"/projects/{other.id}/tasks/{task.id}").status_code == 404
    project.open = False
    assert browser_of(Role.REVIEWER).get(f"/projects/{project.id}/tasks/{task.id}").status_code == 404


def test_a_form_is_looked_at_before_it_is_stored(browser_of, session: Session) -> None:
    fields = {"name": "Mine", "rules.on": "yes", "rules.1.text": "Be kind.", "do": "look"}
    page = browser_of(Role.ENGINEER).post("/projects", data=fields)
    assert page.status_code == 200, page.text
    assert "Be kind." in page.text
    assert "Nothing here can be sent." in page.text
    assert session.scalars(select(Project)).all() == []
    assert browser_of(Role.ENGINEER).post("/projects", data=fields | {"name": ""}).status_code == 422


def test_a_closed_project_gives_no_task_but_what_is_in_hand(browser_of, as_, make, session: Session) -> None:
    project, annotator = make.project(), make.person(Role.ANNOTATOR)
    held = make.assignment(make.task(make.prompt(project, "In hand?")), annotator, **LEASED)
    make.task(make.prompt(project, "Waiting?"))
    engineer, worker = browser_of(Role.ENGINEER), as_(annotator)
    assert engineer.post(f"/projects/{project.id}/standing", data={"do": "close"}).status_code == 303
    assert "closed" in engineer.get("/").text
    assert worker.post(f"/v1/projects/{project.id}/next").json()["assignment"] == str(held.id)
    assert worker.post(f"/v1/projects/{project.id}/next?besides={held.id}").status_code == 204
    assert queries.left_for(session, annotator, project.id) == 0
    engineer.post(f"/projects/{project.id}/standing", data={"do": "archive"})
    assert project.name not in engineer.get("/").text
    assert project.name in engineer.get("/?archived=true").text
    engineer.post(f"/projects/{project.id}/standing", data={"do": "open"})
    assert project.name in engineer.get("/").text
    assert worker.post(f"/v1/projects/{project.id}/next?besides={held.id}").status_code == 200
    assert engineer.post(f"/projects/{project.id}/standing", data={"do": "burn"}).status_code == 422


def test_members_are_let_in_and_out_and_their_open_work_comes_back(browser_of, make, person, session: Session) -> None:
    project, annotator = make.project(open=False), person(Role.ANNOTATOR, email="ann@example.org")
    browser, path = browser_of(Role.ADMIN), f"/projects/{project.id}/members"
    assert browser.post(path, data={"person": "ANN@example.org"}).status_code == 303
    assert annotator.pseudonym in browser.get(path).text
    assert "There is no such person." in browser.post(path, data={"person": "nobody"}).text
    held = make.assignment(make.task(make.prompt(project)), annotator, **LEASED)
    done = make.submission(make.task(make.prompt(project, "Done?")), [[0], [1]], annotator)
    assert browser.post(f"{path}/{annotator.id}/remove").status_code == 303
    session.expire_all()
    assert held.state == AssignmentState.EXPIRED
    assert session.get_one(Assignment, done.assignment_id).state == AssignmentState.SUBMITTED


def test_a_member_gets_prompts_in_their_languages_alone(browser_of, as_, make, person, session: Session) -> None:
    project, annotator = make.project(), person(Role.ANNOTATOR)
    for number, language in enumerate(("zh", "en", None)):
        asked = Prompt.from_text(f"In {language}?").model_copy(update={"language": language})
        make.task(make.prompt(project, asked), priority=9 - number)
    browser, worker, path = browser_of(Role.ENGINEER), as_(annotator), f"/projects/{project.id}/members"
    assert queries.left_for(session, annotator, project.id) == 3
    assert "Languages are codes" in browser.post(path, data={"person": annotator.pseudonym, "languages": "1"}).text
    assert browser.post(path, data={"person": annotator.pseudonym, "languages": "EN, fr"}).status_code == 303
    assert "en, fr" in browser.get(path).text
    assert queries.left_for(session, annotator, project.id) == 2
    first = worker.post(f"/v1/projects/{project.id}/next").json()
    second = worker.post(f"/v1/projects/{project.id}/next?besides={first['assignment']}").json()
    got = [task["prompt"]["messages"][0]["content"] for task in (first, second)]
    assert got == ["In en?", "In None?"]
    worker.post(f"/v1/assignments/{first['assignment']}:skip", json={"reason": "x"})
    third = worker.post(f"/v1/projects/{project.id}/next?besides={second['assignment']}")
    assert third.status_code == 204


def test_an_open_project_that_is_shut_takes_back_what_others_hold(browser_of, make, person, session: Session) -> None:
    project = make.project()
    stranger, member = person(Role.ANNOTATOR), person(Role.ANNOTATOR)
    session.add(ProjectMember(project_id=project.id, person_id=member.id))
    holds = [make.assignment(make.task(make.prompt(project, f"{n}?")), who, **LEASED) for n, who in
             enumerate((stranger, member))]  # fmt: skip
    engineer = person(Role.ENGINEER)
    browser, path = browser_of(engineer), f"/projects/{project.id}/members"
    assert browser.post(f"{path}/open", data={"open": "no"}).status_code == 303
    session.expire_all()
    assert [held.state for held in holds] == [AssignmentState.EXPIRED, AssignmentState.LEASED]
    assert browser.get(path).status_code == 200  # who shuts it stays in
    own = session.get_one(ProjectMember, (project.id, engineer.id))
    own.languages = ["zh"]
    session.commit()
    for answer in ("yes", "no"):
        assert browser.post(f"{path}/open", data={"open": answer}).status_code == 303
    session.refresh(own)
    assert own.languages == ["zh"]  # and gets prompts in their own languages as before
    assert browser_of(stranger).get(f"/projects/{project.id}").status_code == 404


@pytest.mark.parametrize("how", ["retire", "erase"])
def test_who_is_retired_or_erased_holds_nothing(browser_of, make, person, session: Session, how: str) -> None:
    annotator = person(Role.ANNOTATOR)
    held = make.assignment(make.task(make.prompt(make.project())), annotator, **LEASED)
    path = f"/people/{annotator.id}"
    sent: dict[str, Any] = {"role": "annotator"} if how == "retire" else {"sure": "yes"}
    browser_of(Role.ADMIN).post(path if how == "retire" else f"{path}/erase", data=sent)
    session.expire_all()
    assert held.state == AssignmentState.EXPIRED


def test_an_empty_home_leads_to_a_toy_project(browser_of, session: Session) -> None:
    browser = browser_of(Role.ENGINEER)
    assert "Five steps" in browser.get("/").text
    made = browser.post("/projects/toy")
    project = session.scalars(select(Project)).one()
    assert made.headers["location"] == f"/projects/{project.id}"
    assert tasks(session) == 6
    assert "Five steps" not in browser.get("/").text
    assert browser.post("/projects/toy").headers["location"] == f"/projects/{project.id}"
    assert tasks(session) == 6


def test_a_toy_project_of_others_only_takes_the_name(browser_of, make, session: Session) -> None:
    theirs = make.project(name="Toy project", open=False)
    session.commit()
    answer = browser_of(Role.ENGINEER).post("/projects/toy")
    assert answer.status_code == 409
    assert str(theirs.id) not in answer.text + str(answer.headers)


def test_a_model_answers_prompts_without_the_command_line(browser_of, make, tmp_path, session: Session) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    model, reward = make.model(path=str(tmp_path)), make.model(ModelKind.REWARD, name="judge")
    project = make.project()
    prompts = make.dataset(DatasetKind.PROMPTS, [Prompt.from_text("Why?")])
    browser = browser_of(Role.ENGINEER)
    form = browser.get(f"/projects/{project.id}").text.partition('id="sample"')[2]
    assert str(model.id) in form
    assert str(reward.id) not in form
    fields = {"model": str(model.id), "prompts": str(prompts.id), "responses": "3"}
    started = browser.post(f"/projects/{project.id}/samples", data=fields)
    job = session.scalars(select(Job)).one()
    assert started.headers["location"] == f"/jobs/{job.id}"
    assert job.inputs["project"] == str(project.id)
    assert job.config["responses_per_prompt"] == 3
    wrong = browser.post(f"/projects/{project.id}/samples", data=fields | {"responses": "99"})
    assert wrong.status_code == 422
    assert 'id="wrong-responses"' in wrong.text


def test_before_set_up_the_first_page_says_where_the_link_is(client, make) -> None:
    page = client.get("/", headers={"Accept": "text/html"}, follow_redirects=True)
    assert "rankloop up" in page.text
    make.person(Role.ADMIN)
    assert "rankloop up" not in client.get("/login").text


def test_starting_sets_are_in_the_language_of_the_page(browser_of, make, session: Session) -> None:
    engineer = make.person(Role.ENGINEER, language="zh")
    browser = browser_of(engineer)
    page = browser.get("/projects/new?preset=rules_for_dialogue").text
    assert "不要威胁、侮辱或贬低任何人。" in page
    assert "Do not threaten" not in page
    assert "您一次只判断一条规则" in page


def test_an_invitation_says_for_whom_it_is(browser_of, as_) -> None:
    page = browser_of(Role.ADMIN).post("/people", data={"role": "annotator", "note": "For <Wu> of team 3"})
    assert "For &lt;Wu&gt; of team 3" in page.text
    assert "data-copies" in page.text
    assert as_(Role.ADMIN).get("/v1/invitations").json()["items"][0]["note"] == "For <Wu> of team 3"
