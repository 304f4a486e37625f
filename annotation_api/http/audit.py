"""Which requests the audit records, and what it says of them. No bodies, no secrets.

Every request that changes something is recorded in the transaction of its work. Not recorded are those of
annotators at work, whose claims, drafts and answers are rows of their own, and those that change nothing.
"""

from __future__ import annotations

from sqlalchemy.orm import Session
from starlette.requests import Request

from alignment.shared.records import storable
from annotation_api.db.audit import ledger, notes
from annotation_api.db.tables import AuditOutcome
from annotation_api.http.scopes import PERSON, PERSON_ID, REQUEST, SAFE_METHODS, address_of, route_of

DONE = "rankloop.done"  # in the scope: False if the request changed nothing, although no error was raised
OUTCOME = "rankloop.outcome"  # what came of it, where it is not simply done
OBJECTS = "rankloop.objects"  # ids that are not in the path
SECRET = "token"  # the parameter of paths that carry one
MOST = 200  # letters of an id
REFUSALS = frozenset({AuditOutcome.FORBIDDEN.value, AuditOutcome.WRONG_CREDENTIALS.value})  # slugs of errors

UNRECORDED = frozenset(
    {
        "POST /projects/{project_id}/annotate",
        "POST /projects/{project_id}/card",
        "POST /projects/{project_id}/skip",
        "POST /preferences",
        "POST /v1/projects/{project_id}/next",
        "POST /v1/assignments/{assignment_id}:renew",
        "POST /v1/assignments/{assignment_id}:skip",
        "PUT /v1/assignments/{assignment_id}/draft",
        "POST /v1/submissions",
        "POST /v1/jobs:validate",
        "POST /v1/pipelines:validate",
        "POST /v1/models:check",
        "POST /v1/datasets:preview",
        "POST /datasets/preview",
    }
)


def is_recorded(request: Request) -> bool:
    """Whether the request, which succeeded, belongs into the audit."""
    if request.method in SAFE_METHODS or not request.scope.get(DONE, True):
        return False
    return action_of(request) not in UNRECORDED


def nothing_done(request: Request) -> None:
    """Said by a page that only asks again."""
    request.scope[DONE] = False


def action_of(request: Request) -> str:
    return f"{request.method} {route_of(request.scope)}"


def commit(session: Session, request: Request, outcome: AuditOutcome | None = None) -> None:
    """Commit what the request did, together with the row that says so."""
    scope = request.scope
    deed = ledger.Deed(
        action=action_of(request),
        outcome=outcome or scope.get(OUTCOME, AuditOutcome.DONE),
        person_id=scope.get(PERSON_ID),
        pseudonym=scope.get(PERSON),
        objects=_objects(request),
        request_id=scope.get(REQUEST, ""),
        address=address_of(request, request.app.state.settings),
    )
    notes.note(request.app.state.settings.home, ledger.commit_with(session, deed))


def _objects(request: Request) -> dict[str, str]:
    """The ids of the path and those that were noted on the way."""
    path = {name: str(value)[:MOST] for name, value in request.path_params.items() if name != SECRET}
    found: dict[str, str] = storable(path | request.scope.get(OBJECTS, {}))
    return found


def refused(session: Session, request: Request, slug: str, objects: dict[str, str]) -> None:
    """Record what was not allowed, in a transaction of its own."""
    request.scope[OBJECTS] = objects
    commit(session, request, AuditOutcome(slug))
