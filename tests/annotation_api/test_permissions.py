"""Who may call what: every route, as each of five roles, with things of one's own and of another person.

What must come out stands in permissions.txt. The mutants at the end take one check away at a time: the walk
must notice each of them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient
from sqlalchemy import select, true
from sqlalchemy.orm import Session

from annotation_api.annotation.gold import service as gold
from annotation_api.annotation.projects import service as projects
from annotation_api.annotation.queue import claims
from annotation_api.annotation.review import service as review
from annotation_api.annotation.review import threads
from annotation_api.annotation.signals import hours as worked
from annotation_api.annotation.signals import service as signals
from annotation_api.annotation.submissions import queries as judgements
from annotation_api.annotation.submissions import routes as feedback_routes
from annotation_api.annotation.submissions import service as feedback
from annotation_api.annotation.tasks import queries as tasks
from annotation_api.datasets import progress, staged
from annotation_api.db.tables import ApiKey, Assignment, Erasure, Role
from annotation_api.erasure import service as erasing
from annotation_api.http import dependencies
from annotation_api.http.auth import Caller
from annotation_api.http.idempotency import Idempotency
from annotation_api.models import uploads as model_uploads
from annotation_api.people import queries as people
from annotation_api.web import work_queries
from tests.support.permissions.requests import Requests
from tests.support.permissions.world import Owned, World

LETTERS = {"a": Role.ANNOTATOR, "r": Role.REVIEWER, "e": Role.ENGINEER, "m": Role.ADMIN}
OWNED = (
    "{assignment_id}",
    "{submission_id}",
    "{key_id}",
    "{upload_id}",
)  # parameters that name what belongs to one person
SIGNS_IN = ("/v1/session", "/login")  # they answer 401 themselves
GOLDEN = Path(__file__).with_name("permissions.txt")


@dataclass(frozen=True)
class Rule:
    """A line of the table."""

    method: str
    path: str
    variant: str
    roles: frozenset[Role] | None  # None: public
    others: dict[Role, str]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}" + (f"#{self.variant}" if self.variant else "")


def table() -> list[Rule]:
    lines = GOLDEN.read_text().splitlines()
    return [_rule(*line.split(" ")) for line in lines if line and not line.startswith("#")]


def _rule(method: str, place: str, who: str, *others: str) -> Rule:
    path, _, variant = place.partition("#")
    roles = None if who == "public" else frozenset(LETTERS[letter] for letter in who)
    pairs = (part.split("=") for part in others)
    found = {LETTERS[letter]: outcome for letters, outcome in pairs for letter in letters}
    assert roles is None or not found or found.keys() == roles, f"{path}: say for each role what others' things give"
    return Rule(method, path, variant, roles, found)


def routes(app: FastAPI) -> set[tuple[str, str]]:
    return {
        (method, str(context.path))
        for context in iter_route_contexts(app.routes)
        if isinstance(context.original_route, APIRoute)
        for method in context.methods or ()
    }


def test_every_route_is_listed(app: FastAPI) -> None:
    found, listed = routes(app), {(rule.method, rule.path) for rule in table()}
    assert found - listed == set(), "list the new routes in permissions.txt, with who may call them"
    assert listed - found == set(), "these routes are gone: take them out of permissions.txt"


def test_routes_to_what_belongs_to_somebody_say_what_others_get() -> None:
    silent = [rule.name for rule in table() if any(name in rule.path for name in OWNED) and not rule.others]
    assert silent == []


def test_the_table_keeps_the_promises_of_the_matrix() -> None:
    """Read off the table itself: annotators see no runs, engineers do not rank, only admins handle people."""
    for rule in table():
        path, roles = rule.path, rule.roles
        if roles is None:
            continue
        assert Role.ADMIN in roles, path
        runs = re.search(r"/(jobs|models|datasets|snapshots|pipelines|aliases)", path)
        if runs:
            assert Role.ANNOTATOR not in roles, path
        if re.search(r"/(people|invitations|audit)", path):
            assert roles == {Role.ADMIN}, path
        if rule.method not in ("GET", "HEAD") and runs:
            assert roles == {Role.ENGINEER, Role.ADMIN}, path
        if re.search(r"/(annotate|next|skip|card)|:skip|:renew|/correct", path):
            assert Role.ENGINEER not in roles, path


# ---------------------------------------------------------------- the walk


class Walk:
    """Calls routes in the world as each role; every request is undone."""

    def __init__(self, app: FastAPI, session: Session, make: Any, as_: Callable[..., TestClient], person: Any) -> None:
        self.session, self.world = session, World(session, make, app.state.settings)
        who = {role: person(role) for role in Role}
        self.owned: dict[Role, Owned] = {role: self.world.own(who[role]) for role in Role}
        nobody = TestClient(app, base_url="http://localhost", raise_server_exceptions=False)
        self.requests = Requests(self.world)
        self.clients: dict[Role | None, TestClient] = {None: nobody} | {role: as_(who[role]) for role in Role}
        session.commit()

    def wrong(self, rules: list[Rule]) -> Iterator[str]:
        """What differs from the table."""
        for rule in rules:
            for role in (None, *Role):
                owned = self.owned[role] if role else self.world.other
                yield from self._compare(rule, role, owned, _expected(rule, role), "own")
                if role in rule.others:
                    yield from self._compare(rule, role, self.world.other, rule.others[role], "another's")

    def _compare(self, rule: Rule, role: Role | None, owned: Owned, expected: str, whose: str) -> Iterator[str]:
        status, text = self._call(rule, role, owned)
        if expected in ("seen", "unseen"):
            fine = status < 400 and (self.world.mark(rule.name) in text) == (expected == "seen")
        elif expected == "public":
            fine = status < 500 and (status not in (401, 403) or rule.path in SIGNS_IN)
        elif expected == "in":
            fine = status < 500 and status not in (401, 403, 404)
        else:
            fine = status == int(expected)
        if not fine:
            yield f"{rule.name} as {role or 'nobody'}, {whose}: {status} instead of {expected} ({text[:200]})"

    def _call(self, rule: Rule, role: Role | None, owned: Owned) -> tuple[int, str]:
        ids = self.world.ids(rule.path, owned)
        path = re.sub(r"\{([^}]+)\}", lambda found: ids.get(found[1]) or str(uuid.uuid4()), rule.path)
        rest = self.requests.to(rule.name, owned, self.owned[role] if role else None)
        undone = self.session.connection().begin_nested()
        try:
            answer = self.clients[role].request(rule.method, path, follow_redirects=False, **rest)
            return answer.status_code, answer.text
        finally:
            undone.rollback()


def _expected(rule: Rule, role: Role | None) -> str:
    if rule.roles is None:
        return "public"
    if role is None:
        return "401"
    return "in" if role in rule.roles else "403"


@pytest.fixture
def walk(app: FastAPI, session: Session, make: Any, as_: Callable[..., TestClient], person: Any) -> Iterator[Walk]:
    walk = Walk(app, session, make, as_, person)
    yield walk
    walk.world.close()


def test_everybody_gets_what_the_table_says(walk: Walk) -> None:
    assert list(walk.wrong(table())) == []


# ---------------------------------------------------------------- without one of the checks


class Anybody:
    """Whoever is asked for."""

    def __eq__(self, other: object) -> bool:
        return True

    def __ne__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def let_every_role_in(walk: Walk, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(dependencies.Permission, "check", lambda self, role: None)


def let_nobody_in(walk: Walk, patch: pytest.MonkeyPatch) -> None:
    """Who is not signed in is taken for an admin."""
    admin = walk.owned[Role.ADMIN].person
    caller = Caller(admin.id, admin.role, admin.pseudonym)
    found, locked = dependencies._find_person, dependencies.lock_caller
    patch.setattr(dependencies, "_find_person", lambda *args: found(*args) or admin)
    patch.setattr(dependencies, "lock_caller", lambda *args, **kwargs: locked(*args, **kwargs) or caller)
    patch.setattr(dependencies, "_nobody", lambda: admin)


def test_the_walk_notices_a_route_without_its_permission(walk: Walk) -> None:
    """One route at a time, first without the look at the role, then without the look at who is signed in."""
    unnoticed, rules = [], [rule for rule in table() if rule.roles is not None and not rule.variant]
    for rule in rules:
        for mutant in (let_every_role_in, let_nobody_in):
            if mutant is let_every_role_in and rule.roles == set(Role):
                continue  # there is no role that it keeps out
            with pytest.MonkeyPatch.context() as patch:
                mutant(walk, patch)
                if next(walk.wrong([rule]), None) is None:
                    unnoticed.append(f"{rule.name} {mutant.__name__}")
    assert unnoticed == []


def _as_other(function: Callable[..., Any], walk: Walk, place: int) -> Callable[..., Any]:
    """The function, which answers for the other person whoever is asked for."""

    def answer(*args: Any, **kwargs: Any) -> Any:
        changed = list(args)
        changed[place] = (
            walk.world.other.person if not isinstance(args[place], uuid.UUID) else walk.world.other.person.id
        )
        return function(*changed, **kwargs)

    return answer


def _own_assignment(session: Session, _person: object, assignment_id: uuid.UUID) -> Assignment | None:
    return session.get(Assignment, assignment_id)


def _submissions(*, project: uuid.UUID | None, person: object) -> Any:
    return ALL_SUBMISSIONS(project=project, person=None)


def _for_all(statement: str) -> str:
    """Without whose an assignment is; who is a member of what, and stands where, stays."""
    found, count = re.subn(r"(AND )?(?<![ms]\.)(a\.)?person_id = %\(person\)s( AND)?", r"\1 true \3", statement)
    assert count == 1
    return found


def _show_names(patch: pytest.MonkeyPatch) -> None:
    for module in (gold, review, signals, worked):
        patch.setattr(module, "shows_names", lambda *args: True)


ALL_SUBMISSIONS = judgements.submissions
IDEMPOTENT = Idempotency.__init__

# Each check on whose a thing is: how it is taken away, and the routes behind it, each of which must notice.
CHECKS: dict[str, tuple[Callable[[Walk, pytest.MonkeyPatch], None], list[str]]] = {
    "an assignment is the person's own": (
        lambda walk, patch: patch.setattr(tasks, "own_assignment", _own_assignment),
        [
            "POST /v1/assignments/{assignment_id}:renew",
            "POST /v1/assignments/{assignment_id}:skip",
            "POST /projects/{project_id}/annotate",
            "POST /projects/{project_id}/skip",
            "GET /projects/{project_id}/correct",
        ],
    ),
    "a draft is of an own assignment": (
        lambda walk, patch: patch.setattr(claims, "SAVE_DRAFT", _for_all(claims.SAVE_DRAFT)),
        ["PUT /v1/assignments/{assignment_id}/draft"],
    ),
    "an answer is to an own assignment": (
        lambda walk, patch: patch.setattr(judgements, "JUDGED", _for_all(judgements.JUDGED)),
        ["POST /v1/submissions"],
    ),
    "a correction is of an own answer": (
        lambda walk, patch: patch.setattr(feedback, "_check_correction", lambda *args: None),
        ["POST /v1/submissions#supersedes"],
    ),
    "an annotator reads own answers, and repeats own answers": (
        lambda walk, patch: patch.setattr(judgements, "author_of", lambda *args: Anybody()),
        ["POST /v1/submissions#replay", "GET /v1/submissions/{submission_id}"],
    ),
    "the list of answers is one's own": (
        lambda walk, patch: patch.setattr(judgements, "submissions", _submissions),
        ["GET /v1/submissions"],
    ),
    "an annotator's list is one's own in a project, too": (
        lambda walk, patch: patch.setattr(feedback_routes, "Role", SimpleNamespace(ANNOTATOR=None)),
        ["GET /v1/submissions#project"],
    ),
    "what is in hand is one's own": (
        lambda walk, patch: patch.setattr(claims, "IN_HAND", _for_all(claims.IN_HAND)),
        [
            "POST /v1/projects/{project_id}/next",
            "GET /projects/{project_id}/annotate",
            "POST /projects/{project_id}/card",
        ],
    ),
    "own work is one's own": (
        lambda walk, patch: patch.setattr(work_queries, "own_items", _as_other(work_queries.own_items, walk, 1)),
        ["GET /mine"],
    ),
    "drafts are one's own": (
        lambda walk, patch: patch.setattr(work_queries, "own_drafts", _as_other(work_queries.own_drafts, walk, 1)),
        ["GET /mine#drafts"],
    ),
    "who made a project erases in it": (
        lambda walk, patch: patch.setattr(erasing, "_may", lambda *args: None),
        ["POST /v1/erasures:preview", "POST /v1/erasures", "GET /erasures/new", "POST /erasures"],
    ),
    "an erasure is seen by who asked for it or made its project": (
        lambda walk, patch: patch.setattr(erasing, "_sees", lambda *args: True),
        ["GET /v1/erasures/{erasure_id}", "GET /erasures/{erasure_id}"],
    ),
    "the list of erasures is of what one may see": (
        lambda walk, patch: patch.setattr(erasing, "listed", lambda session, me: session.query(Erasure).all()),
        ["GET /v1/erasures", "GET /erasures"],
    ),
    "a key is one's own": (
        lambda walk, patch: patch.setattr(people, "key_of", lambda session, person, key: session.get(ApiKey, key)),
        ["GET /v1/api-keys/{key_id}", "DELETE /v1/api-keys/{key_id}", "POST /keys/{key_id}/revoke"],
    ),
    "the list of keys is one's own": (
        lambda walk, patch: patch.setattr(people, "keys_of", lambda person: select(ApiKey)),
        ["GET /v1/api-keys", "GET /keys"],
    ),
    "an import is one's own": (
        lambda walk, patch: patch.setattr(progress, "running", _as_other(progress.running, walk, 0)),
        ["GET /v1/imports/{key}"],
    ),
    "an upload is one's own": (
        lambda walk, patch: patch.setattr(staged, "_path", _as_other(staged._path, walk, 1)),
        ["POST /datasets/map", "POST /datasets"],
    ),
    "a model's upload is one's own": (
        lambda walk, patch: patch.setattr(
            model_uploads, "find", lambda home, person, key: model_uploads._read(home, key)
        ),
        [
            "GET /v1/model-uploads/{upload_id}",
            "PUT /v1/model-uploads/{upload_id}/files/{name}",
            "POST /v1/model-uploads/{upload_id}:finish",
            "DELETE /v1/model-uploads/{upload_id}",
        ],
    ),
    "an Idempotency-Key is one's own": (
        lambda walk, patch: patch.setattr(Idempotency, "__init__", _as_other(IDEMPOTENT, walk, 2)),
        ["POST /v1/projects#replay"],
    ),
    "who did how much is not for annotators": (
        lambda walk, patch: patch.setattr(projects, "Role", SimpleNamespace(ANNOTATOR=None, ADMIN=Role.ADMIN)),
        ["GET /v1/projects/{project_id}#by-person", "GET /projects/{project_id}#by-person"],
    ),
    "what is said about a task is for its person, and for who reads annotations": (
        lambda walk, patch: patch.setattr(threads, "_may_read", lambda *args: True),
        [
            "GET /v1/assignments/{assignment_id}/comments",
            "POST /v1/assignments/{assignment_id}/comments",
            "POST /v1/assignments/{assignment_id}/comments:settle",
            "GET /threads/{assignment_id}",
            "POST /threads/{assignment_id}",
        ],
    ),
    "what waits is one's own": (
        lambda walk, patch: patch.setattr(threads, "_waits_for", lambda viewer: true()),
        ["GET /v1/me/waiting", "GET /waiting"],
    ),
    "names are for admins until they lift the pseudonyms": (
        lambda walk, patch: _show_names(patch),
        [
            "GET /v1/projects/{project_id}/annotators#names",
            "GET /v1/projects/{project_id}/answers#names",
            "GET /v1/projects/{project_id}/signals#names",
            "GET /v1/projects/{project_id}/hours#names",
        ],
    ),
    "names are for admins, and who wrote a response not for those who rank": (
        lambda walk, patch: patch.setattr(
            projects, "Role", SimpleNamespace(ANNOTATOR=Role.ANNOTATOR, ADMIN=Anybody(), ENGINEER=Role.ENGINEER)
        ),
        ["GET /v1/projects/{project_id}#names", "GET /v1/projects/{project_id}/tasks#origin"],
    ),
}


def test_the_walk_notices_each_check_on_whose_a_thing_is(walk: Walk) -> None:
    by_name, unnoticed = {rule.name: rule for rule in table()}, []
    for check, (take_away, names) in CHECKS.items():
        with pytest.MonkeyPatch.context() as patch:
            take_away(walk, patch)
            unnoticed += [f"{check}: {name}" for name in names if next(walk.wrong([by_name[name]]), None) is None]
    assert unnoticed == []


def test_everything_that_says_what_others_get_is_guarded_by_a_listed_check() -> None:
    guarded = {name for _, names in CHECKS.values() for name in names}
    assert {rule.name for rule in table() if rule.others} - guarded == set()
