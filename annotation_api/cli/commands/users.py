"""`rankloop users reset`, `unlock` and `promote`: for the machine that runs the service, when nobody else can help."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from annotation_api.cli.client import ClientError, find_credentials
from annotation_api.cli.output import without_password
from annotation_api.db.audit import ledger, notes
from annotation_api.db.engine import make_engine, session_factory
from annotation_api.db.tables import AuditOutcome, Person, Role
from annotation_api.operations.local import OperationError, local_database
from annotation_api.people import queries, second_factor, service
from annotation_api.people.schemas import PersonChange
from annotation_api.settings import Settings

HERE = "this machine"  # the address in the audit
USUAL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Done:
    email: str
    role: str
    url: str | None = None


def run(settings: Settings, verb: str, email: str, *, without_factor: bool = False) -> Done:
    """Carry it out and record it. Raises OperationError, ApiError, DatabaseUnavailable."""
    with local_database(settings) as url:
        engine = make_engine(url, application_name="rankloop-users")
        try:
            with session_factory(engine)() as session:
                person = _find(session, email)
                link = VERBS[verb](session, person, settings)
                if without_factor:
                    second_factor.remove(session, person)
                done = Done(person.email, person.role.value, link)
                notes.note(settings.home, ledger.commit_with(session, _deed(verb, person)))
        finally:
            engine.dispose()
    return done


def _find(session: Session, email: str) -> Person:
    person = queries.person_by_email(session, email)
    if person is None:
        raise OperationError(f"There is no account with the address {email}.")
    return person


def _reset(session: Session, person: Person, settings: Settings) -> str:
    """A link for a new password; the account's wrong tries are forgotten."""
    service.unlock(session, person)
    token, _ = service.begin_reset(session, person)
    return f"{settings.public_url or _address()}/reset/{token}"


def _address() -> str:
    """Where the service on this machine listens, as far as it is known."""
    if said := os.environ.get("RANKLOOP_URL"):
        return without_password(said.rstrip("/"))
    try:
        return find_credentials().url
    except ClientError:
        return USUAL


def _unlock(session: Session, person: Person, _settings: Settings) -> None:
    service.unlock(session, person)


def _promote(session: Session, person: Person, _settings: Settings) -> None:
    """Make an admin of somebody, retired or not."""
    service.change_person(session, person.id, PersonChange(role=Role.ADMIN, active=True))


VERBS: dict[str, Callable[[Session, Person, Settings], str | None]] = {
    "reset": _reset,
    "unlock": _unlock,
    "promote": _promote,
}


def _deed(verb: str, person: Person) -> ledger.Deed:
    return ledger.Deed(
        action=f"rankloop users {verb}",
        outcome=AuditOutcome.DONE,
        person_id=None,
        pseudonym=None,
        objects={"person_id": str(person.id)},
        request_id="",
        address=HERE,
    )
