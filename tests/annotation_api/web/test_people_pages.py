"""The pages of people: one's own work and account, and the admin's view of everybody."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import func
from sqlalchemy.orm import Session

from annotation_api.db.tables import AssignmentState, Draft, Role
from annotation_api.people import service
from annotation_api.web import work_queries
from annotation_api.web.markup.charts import HEIGHT, bars
from annotation_api.web.work_queries import PAGE

PASSWORD = "three plain words"


def links(html: str, pattern: str) -> list[str]:
    return re.findall(rf'href="({pattern})"', html)


# ---------------------------------------------------------------- one's own work


def test_own_answers_newest_first_a_page_at_a_time(make, person, browser_of) -> None:
    me, project = person(), make.project()
    rows = [make.submission(make.task(make.prompt(project, f"Question {n}?")), [[0], [1]], me) for n in range(PAGE + 3)]
    make.submission(make.task(make.prompt(project, "Another's?")), [[0], [1]])
    browser, pattern = browser_of(me), r"/projects/[^\"]+/correct\?submission=[^\"]+"
    first = browser.get("/mine")
    older = links(first.text, r"/mine\?before=\d+")
    second = browser.get(older[0])
    found = [link.split("submission=")[1] for page in (first, second) for link in links(page.text, pattern)]
    assert found == [str(row.id) for row in reversed(rows)]
    assert links(second.text, r"/mine\?before=\d+") == []
    assert "Another" not in first.text + second.text


def test_a_corrected_answer_stands_once_as_it_is_now(make, person, browser_of) -> None:
    me = person()
    task = make.task(make.prompt(make.project()))
    old = make.submission(task, [[0], [1]], me)
    new = make.submission(task, [[1], [0]], assignment_id=old.assignment_id, supersedes=old.id)
    html = browser_of(me).get("/mine").text
    assert str(new.id) in html
    assert str(old.id) not in html
    assert "corrected" in html


def test_the_list_keeps_to_a_project(make, person, browser_of) -> None:
    me, one, two = person(), make.project(name="One"), make.project(name="Two")
    for project in (one, two):
        make.submission(make.task(make.prompt(project, f"Of {project.name}?")), [[0], [1]], me)
    browser = browser_of(me)
    assert {"Of One?", "Of Two?"} <= set(re.findall(r"Of \w+\?", browser.get("/mine").text))
    assert set(re.findall(r"Of \w+\?", browser.get(f"/mine?project={two.id}").text)) == {"Of Two?"}
    assert set(re.findall(r"Of \w+\?", browser.get("/mine?project=").text)) == {"Of One?", "Of Two?"}
    assert browser.get("/mine?project=rubbish").status_code == 422
    assert browser.get(f"/mine?before={10**30}").status_code == 422


def test_questions_are_cut_short_and_stay_text(make, person, browser_of) -> None:
    me = person()
    make.submission(make.task(make.prompt(make.project(), "<b>" + "long " * 100_000)), [[0], [1]], me)
    html = browser_of(me).get("/mine").text
    assert "&lt;b&gt;long long" in html
    assert len(html) < 10_000


def test_speed_is_the_median_of_each_day_without_corrections(session: Session, make, person) -> None:
    """Yesterday 2 s and 10 s: 6 s; today 3, 4 and 50 s: 4 s. A correction of 1 ms changes nothing."""
    me, project = person(), make.project()
    yesterday = func.date_trunc("day", func.now(), "UTC") - timedelta(hours=1)

    def judge(seconds: int, **fields: object):
        task = make.task(make.prompt(project, f"{seconds}?"))
        return make.submission(task, [[0], [1]], me, active_ms=seconds * 1000, **fields)

    for seconds in (2, 10):
        judge(seconds, created_at=yesterday)
    rows = [judge(seconds) for seconds in (3, 4, 50)]
    task = make.task(make.prompt(project, "again"))
    make.submission(task, [[1], [0]], assignment_id=rows[0].assignment_id, supersedes=rows[0].id, active_ms=1)
    days = work_queries.by_day(session, me, None)
    assert [(row.tasks, row.seconds) for row in days] == [(2, 6.0), (3, 4.0)]
    assert work_queries.this_week(session, me)[0] == 3
    (standing,) = work_queries.by_project(session, me.id)
    assert (standing.judged, standing.corrections, standing.seconds) == (5, 1, 4.0)  # median of 2, 3, 4, 10, 50


def test_a_task_that_was_begun_can_be_found_again(session: Session, make, person, browser_of) -> None:
    me, project = person(), make.project()
    task = make.task(make.prompt(project, "Half done?"))
    mine = make.assignment(task, me, state=AssignmentState.LEASED)
    session.add(Draft(assignment_id=mine.id, payload={}))
    session.flush()
    html = browser_of(me).get("/mine").text
    assert links(html, rf"/projects/{project.id}/annotate") != []
    assert "Half done?" in html


def test_bars_stand_on_the_floor() -> None:
    low, high = bars([("a", 1.0), ("b", 4.0)])
    assert (high.y, high.height) == (0.0, HEIGHT)
    assert low.height == pytest.approx(HEIGHT / 4, abs=0.1)
    assert low.y + low.height == pytest.approx(HEIGHT, abs=0.1)
    assert bars([]) == []
    assert bars([("a", 0.0)])[0].height == 0.0


# ---------------------------------------------------------------- the own account


def test_the_password_page(person, browser_of, client) -> None:
    someone = person()
    browser, other = browser_of(someone), browser_of(someone)
    wrong = browser.post("/account/password", data={"current": "x", "new": "four other plain words"})
    assert wrong.status_code == 422
    assert "not right" in wrong.text
    short = browser.post("/account/password", data={"current": PASSWORD, "new": "short"})
    assert "at least 10 characters" in short.text
    right = browser.post("/account/password", data={"current": PASSWORD, "new": "four other plain words"})
    assert right.headers["location"] == "/account?changed=true"
    assert "signed out" in browser.get("/account?changed=true").text
    assert other.get("/account").status_code == 303
    body = {"email": someone.email, "password": "four other plain words"}
    assert client.post("/v1/session", json=body).status_code == 204


# ---------------------------------------------------------------- the admin's view


def test_an_invitation_is_made_listed_and_withdrawn(browser_of, client) -> None:
    admin = browser_of(Role.ADMIN)
    html = admin.post("/people", data={"role": "reviewer"}).text
    (link,) = re.findall(r'value="(http[^"]+/join/[^"]+)"', html)
    (action,) = re.findall(r'action="(/people/invitations/\w+/withdraw)"', html)
    path = link.removeprefix("http://localhost")
    assert client.get(path).status_code == 200
    assert admin.post(action).headers["location"] == "/people"
    assert client.get(path).status_code == 404
    assert link not in admin.get("/people").text
    assert admin.post("/people", data={"role": "emperor"}).status_code == 422


def test_people_are_found_by_name_address_or_pseudonym(make, browser_of) -> None:
    make.person(name="Zoë 100%", email="zoe@example.org", pseudonym="person-zz1")
    make.person(name="Yan", email="yan@example.org", pseudonym="person-yy1")
    admin = browser_of(Role.ADMIN)
    for words in ("zoë", "ZOE@", "person-zz", "100%"):
        html = admin.get("/people", params={"q": words}).text
        assert "zoe@example.org" in html
        assert "yan@example.org" not in html
    assert "yan@example.org" not in admin.get("/people", params={"q": "%"}).text  # a letter like others


def test_a_person_is_seen_by_project(make, person, browser_of) -> None:
    someone, project = person(), make.project(name="Politeness")
    make.submission(make.task(make.prompt(project)), [[0], [1]], someone, active_ms=12_000)
    make.assignment(make.task(make.prompt(project, "Skipped?")), someone, state=AssignmentState.SKIPPED)
    html = browser_of(Role.ADMIN).get(f"/people/{someone.id}").text
    row = re.sub(r"<[^>]+>", " ", html[html.index("Politeness") :].split("</tr>")[0]).split()
    assert row == ["Politeness", "1", "1", "0", "12", "s"]


def test_a_role_is_given_and_a_person_retired_on_their_page(session: Session, person, browser_of) -> None:
    someone, admin = person(), browser_of(Role.ADMIN)
    admin.post(f"/people/{someone.id}", data={"role": "reviewer", "active": "yes"})
    session.refresh(someone)
    assert (someone.role, someone.active) == (Role.REVIEWER, True)
    admin.post(f"/people/{someone.id}", data={"role": "reviewer"})
    session.refresh(someone)
    assert not someone.active
    assert "retired" in admin.get("/people").text


def test_a_name_goes_only_after_a_second_look(session: Session, person, browser_of) -> None:
    someone, admin = person(), browser_of(Role.ADMIN)
    name, path = someone.name, f"/people/{someone.id}/erase"
    assert name in admin.get(path).text
    assert admin.post(path, data={}).headers["location"] == path  # without the button of that page
    assert name in admin.get("/people").text
    assert admin.post(path, data={"sure": "yes"}).status_code == 303
    html = admin.get("/people").text + admin.get(f"/people/{someone.id}").text
    assert name not in html
    assert someone.pseudonym in html


def test_the_last_admin_is_told_why_not(session: Session, person, browser_of) -> None:
    admin = person(Role.ADMIN)
    answer = browser_of(admin).post(f"/people/{admin.id}/erase", data={"sure": "yes"})
    assert answer.status_code == 409
    assert "last active admin" in answer.text
    assert service.find_person(session, admin.id).erased_at is None
