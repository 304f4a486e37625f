"""The pages as a browser without scripts sees them."""

from __future__ import annotations

import re
import uuid
from html.parser import HTMLParser
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from annotation_api.db.tables import (
    Assignment,
    AssignmentState,
    DatasetKind,
    ModelKind,
    ModelParent,
    Role,
    Submission,
)
from annotation_api.people import service

PASSWORD = "three plain words"


class Page(HTMLParser):
    """The form fields and the text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.radios: list[dict[str, str | None]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.append((tag, found))
        if tag == "input" and found.get("type") == "radio":
            self.radios += [found] if str(found["name"]).startswith("rank-") else []
        elif tag == "input" and found.get("name"):
            self.fields.setdefault(str(found["name"]), found.get("value") or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def project(make) -> Any:
    project = make.project(guidelines="Be fair.", overlap=1)
    make.task(make.prompt(project, "Which is best?"), ("alpha", "beta", "gamma"), priority=1)
    make.task(make.prompt(project, "And now?"), ("yes", "no"))
    return project


def open_task(browser, project) -> Page:
    answer = browser.get(f"/projects/{project.id}/annotate")
    assert answer.status_code == 200
    return Page(answer.text)


def ranked(page: Page, **ranks: str) -> dict[str, str]:
    hidden = {name: page.fields[name] for name in ("assignment", "submission", "supersedes")}
    return hidden | {f"rank-{label}": rank for label, rank in ranks.items()}


def texts_in_order(session: Session, page: Page) -> list[str]:
    """The response ids as shown: A, B, C."""
    return session.get_one(Assignment, uuid.UUID(page.fields["assignment"])).display_order


# ---------------------------------------------------------------- coming in


def test_the_setup_page_makes_the_admin_and_signs_in(session: Session, client) -> None:
    token = service.ensure_setup_link(session)
    assert "admin" in client.get(f"/setup/{token}").text
    bad = client.post(f"/setup/{token}", data={"name": "Ada", "email": "ada@example.org", "password": "short"})
    assert bad.status_code == 422
    assert "at least 10 characters" in bad.text
    assert 'value="ada@example.org"' in bad.text
    assert "short" not in bad.text
    good = {"name": "Ada", "email": "ada@example.org", "password": PASSWORD}
    done = client.post(f"/setup/{token}", data=good, follow_redirects=False)
    assert done.status_code == 303
    assert "Ada" in client.get("/").text
    assert client.get(f"/setup/{token}", headers={"Accept": "text/html"}).status_code == 404


def test_signing_in_leads_to_where_one_wanted_to_go(client, person, project) -> None:
    wanted = f"/projects/{project.id}/annotate"
    sent = client.get(wanted, headers={"Accept": "text/html"}, follow_redirects=False)
    assert sent.status_code == 303
    assert sent.headers["location"] == f"/login?next={wanted}"
    page = Page(client.get(sent.headers["location"]).text)
    body = {"email": person().email, "password": PASSWORD, "next": page.fields["next"]}
    answer = client.post("/login", data=body, follow_redirects=False)
    assert answer.headers["location"] == wanted
    assert client.get(wanted).status_code == 200
    client.post("/logout")
    assert client.get("/v1/me").status_code == 401


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_signing_in_never_leads_elsewhere(client, person, target: str) -> None:
    body = {"email": person().email, "password": PASSWORD, "next": target}
    assert client.post("/login", data=body, follow_redirects=False).headers["location"] == "/"


def test_a_wrong_sign_in_says_so_plainly(client) -> None:
    answer = client.post("/login", data={"email": "nobody@example.org", "password": "x", "next": "/"})
    assert answer.status_code == 401
    assert "do not match" in answer.text
    assert 'value="nobody@example.org"' in answer.text


# ---------------------------------------------------------------- ranking


def test_an_untouched_form_cannot_be_sent(browser_of, project) -> None:
    page = open_task(browser_of(Role.ANNOTATOR), project)
    assert len(page.radios) == 9  # three answers, ranks 1 to 3
    assert all("required" in radio and "checked" not in radio for radio in page.radios)


def test_a_ranking_with_a_tie_goes_through_the_form(browser_of, project, session: Session) -> None:
    browser = browser_of(Role.ANNOTATOR)
    page = open_task(browser, project)
    a, b, c = texts_in_order(session, page)
    body = ranked(page, A="3", B="1", C="3") | {"all_bad": "yes", "note": "  close  "}
    answer = browser.post(f"/projects/{project.id}/annotate", data=body)
    assert answer.status_code == 303
    row = session.scalars(select(Submission)).one()
    assert row.payload == {"groups": [[b], [a, c]], "all_bad": True, "note": "close"}
    following = open_task(browser, project)
    assert "And now?" in following.text
    assert "1 done today · 1 left" in following.text


def test_sending_the_form_twice_is_one_submission(browser_of, project, session: Session) -> None:
    browser = browser_of(Role.ANNOTATOR)
    body = ranked(open_task(browser, project), A="1", B="2", C="3")
    for _ in range(2):
        assert browser.post(f"/projects/{project.id}/annotate", data=body).status_code == 303
    assert len(session.scalars(select(Submission)).all()) == 1


def test_an_old_form_for_an_answered_task_is_explained(browser_of, project, session: Session) -> None:
    browser = browser_of(Role.ANNOTATOR)
    body = ranked(open_task(browser, project), A="1", B="2", C="3")
    browser.post(f"/projects/{project.id}/annotate", data=body)
    stale = browser.post(f"/projects/{project.id}/annotate", data=body | {"submission": str(uuid.uuid4())})
    assert stale.status_code == 409
    assert "You answered this task already" in stale.text
    assert len(session.scalars(select(Submission)).all()) == 1


def test_an_incomplete_form_comes_back_as_it_was(browser_of, project, session: Session) -> None:
    browser = browser_of(Role.ANNOTATOR)
    body = ranked(open_task(browser, project), A="2", C="9") | {"note": "my <note>"}
    answer = browser.post(f"/projects/{project.id}/annotate", data=body)
    assert answer.status_code == 422
    again = Page(answer.text)
    assert "Choose a rank for B, C" in again.text
    assert [radio["aria-label"] for radio in again.radios if "checked" in radio] == ["Rank 2 for answer A (2nd)"]
    assert "my &lt;note&gt;" in answer.text
    assert again.fields["submission"] == body["submission"]
    assert not session.scalars(select(Submission)).all()
    assert browser.post(f"/projects/{project.id}/annotate", data=ranked(again, A="1", B="2", C="3")).status_code == 303


def test_identical_answers_share_a_card(browser_of, make, session: Session) -> None:
    project = make.project()
    make.task(make.prompt(project), ("same", "other", "same"))
    browser = browser_of(Role.ANNOTATOR)
    page = open_task(browser, project)
    assert "2 identical" in page.text
    assert len(page.radios) == 4
    assert browser.post(f"/projects/{project.id}/annotate", data=ranked(page, A="1", B="2")).status_code == 303
    groups = session.scalars(select(Submission)).one().payload["groups"]
    assert sorted(len(group) for group in groups) == [1, 2]


def test_the_last_answer_can_be_changed(browser_of, project, session: Session) -> None:
    browser = browser_of(Role.ANNOTATOR)
    first = ranked(open_task(browser, project), A="1", B="2", C="2")
    browser.post(f"/projects/{project.id}/annotate", data=first)
    page = Page(browser.get(f"/projects/{project.id}/correct").text)
    chosen = [radio["aria-label"] for radio in page.radios if "checked" in radio]
    assert chosen == ["Rank 1 for answer A (1st)", "Rank 2 for answer B (2nd)", "Rank 2 for answer C (2nd)"]
    assert page.fields["supersedes"] == first["submission"]
    changed = browser.post(f"/projects/{project.id}/annotate", data=ranked(page, A="3", B="2", C="1"))
    assert changed.status_code == 303
    old, new = session.scalars(select(Submission).order_by(Submission.seq)).all()
    assert new.supersedes == old.id
    assert new.payload["groups"] == list(reversed([[key] for key in texts_in_order(session, page)]))


def test_skipping_leads_to_the_next(browser_of, project, session: Session) -> None:
    browser = browser_of(Role.ANNOTATOR)
    page = open_task(browser, project)
    body = {"assignment": page.fields["assignment"], "reason": "not my topic"}
    assert browser.post(f"/projects/{project.id}/skip", data=body).status_code == 303
    row = session.get_one(Assignment, uuid.UUID(page.fields["assignment"]))
    assert (row.state, row.skip_reason) == (AssignmentState.SKIPPED, "not my topic")
    assert "And now?" in open_task(browser, project).text


def test_when_nothing_is_left_the_page_says_so(browser_of, make) -> None:
    assert "All done" in open_task(browser_of(Role.ANNOTATOR), make.project()).text


def test_anothers_task_cannot_be_sent(browser_of, project) -> None:
    body = ranked(open_task(browser_of(Role.ANNOTATOR), project), A="1", B="2", C="3")
    other = browser_of(Role.ANNOTATOR)
    assert other.post(f"/projects/{project.id}/annotate", data=body).status_code == 404


def test_another_site_cannot_send_the_form(browser_of, project, session: Session) -> None:
    browser = browser_of(Role.ANNOTATOR)
    body = ranked(open_task(browser, project), A="1", B="2", C="3")
    headers = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    assert browser.post(f"/projects/{project.id}/annotate", data=body, headers=headers).status_code == 403
    assert not session.scalars(select(Submission)).all()


HOSTILE = '<script>alert(1)</script><img src="https://evil.example/x.png" onerror=alert(1)>"\'{{7*7}}'


def test_model_text_stays_text(browser_of, make, session: Session) -> None:
    project = make.project(name=HOSTILE, guidelines=HOSTILE)
    make.task(make.prompt(project, HOSTILE), (HOSTILE, "fine"))
    browser = browser_of(Role.ADMIN)
    for path in (f"/projects/{project.id}/annotate", f"/projects/{project.id}", "/"):
        page = Page(browser.get(path).text)
        assert HOSTILE in page.text
        assert not [tag for tag, found in page.tags if "onerror" in found or found.get("src", "").startswith("http")]
        assert all(found.get("src", "").startswith("/static/") for tag, found in page.tags if tag == "script")


def test_no_page_needs_inline_script_or_style(browser_of, project) -> None:
    browser = browser_of(Role.ADMIN)
    for path in ("/", "/people", "/keys", "/datasets", "/jobs", "/models", f"/projects/{project.id}/annotate"):
        html = browser.get(path).text
        assert not re.search(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son\w+=", html), path


# ---------------------------------------------------------------- the rest


def test_home_shows_each_role_its_own(browser_of, project, make) -> None:
    make.job()
    annotator = Page(browser_of(Role.ANNOTATOR).get("/").text).text
    assert "2 left for you" in annotator
    assert "Latest jobs" not in annotator
    engineer = Page(browser_of(Role.ENGINEER).get("/").text).text
    assert "left for you" not in engineer
    assert "Latest jobs" in engineer
    assert "Latest data sets" in engineer


def test_a_project_is_made_by_form(browser_of) -> None:
    browser = browser_of(Role.ENGINEER)
    body = {"name": "Kindness", "guidelines": "", "overlap": "2"}
    made = browser.post("/projects", data=body)
    assert made.status_code == 303
    assert "Kindness" in browser.get(made.headers["location"]).text
    again = browser.post("/projects", data=body)
    assert again.status_code == 409
    assert "choose another name" in again.text


def test_an_admin_invites_and_retires(browser_of, person, session: Session) -> None:
    browser, someone = browser_of(Role.ADMIN), person(Role.ANNOTATOR)
    link = re.search(r"http://localhost(/join/[\w-]+)", browser.post("/people", data={"role": "reviewer"}).text)
    assert link
    assert "reviewer" in browser.get(link[1]).text
    assert browser.post(f"/people/{someone.id}", data={"role": "reviewer"}).status_code == 303
    session.refresh(someone)
    assert someone.role == Role.REVIEWER
    assert someone.active is False


def test_a_key_is_shown_once_and_revoked(browser_of, client) -> None:
    browser = browser_of(Role.ENGINEER)
    made = browser.post("/keys", data={"name": "laptop"})
    key = re.search(r"rl_[0-9a-f]{8}_[\w-]+", made.text)
    assert key
    assert key[0] not in browser.get("/keys").text
    header = {"Authorization": f"Bearer {key[0]}"}
    assert client.get("/v1/me", headers=header).status_code == 200
    action = re.search(r"/keys/[0-9a-f-]+/revoke", made.text)
    assert action
    assert browser.post(action[0]).status_code == 303
    assert client.get("/v1/me", headers=header).status_code == 401


def test_a_data_set_is_looked_at_then_imported_by_form(browser_of) -> None:
    browser = browser_of(Role.ENGINEER)
    rows = b'{"prompt": "Hi", "chosen": "Hello!", "rejected": "Go."}\n{"prompt": "Hi"}\n'
    seen = browser.post("/datasets/preview", data={"kind": "preferences"}, files={"file": ("p.jsonl", rows)}).text
    assert "Refused rows: 1." in Page(seen).text
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', seen.split('action="/datasets"')[1]))
    strict = browser.post("/datasets", data={**fields, "skip_bad": "no"})
    assert strict.status_code == 422
    assert "Nothing was imported: 1 of its rows are refused" in Page(strict.text).text
    done = browser.post("/datasets", data=fields)
    assert done.status_code == 303
    assert "p.jsonl" in browser.get(done.headers["location"]).text
    assert browser.post("/datasets", data=fields).status_code == 410  # the upload was used up


def test_the_model_page_shows_where_it_came_from(browser_of, make, session: Session) -> None:
    base, tuned = make.model(name="base-model"), make.model(ModelKind.SFT, name="tuned-model")
    session.add(ModelParent(model_id=tuned.id, parent_id=base.id, relation="start"))
    session.flush()
    html = browser_of(Role.ENGINEER).get(f"/models/{tuned.id}").text
    assert html.index("tuned-model") < html.index("base-model")
    assert 'class="depth-1"' in html


def test_data_sets_and_models_are_listed(browser_of, make) -> None:
    make.dataset(DatasetKind.PROMPTS, [])
    make.model(name="base-model")
    browser = browser_of(Role.ENGINEER)
    assert "file.jsonl" in browser.get("/datasets").text
    assert "base-model" in browser.get("/models").text


def test_a_page_that_is_not_there_is_a_page(browser_of) -> None:
    answer = browser_of(Role.ADMIN).get("/nothing")
    assert answer.status_code == 404
    assert "<h1>Not found</h1>" in answer.text
    assert browser_of(Role.ANNOTATOR).get("/jobs").status_code == 403
