"""/v1/submissions."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Response

from annotation_api.annotation.submissions import queries, service
from annotation_api.annotation.submissions.schemas import NewSubmission, SubmissionOut
from annotation_api.db.tables import Project, Role, Submission
from annotation_api.http.auth import Caller
from annotation_api.http.dependencies import ANNOTATES, SIGNED_IN, Db, Me, allow, allow_alone
from annotation_api.http.entry.route import DoorRoute, as_json
from annotation_api.http.pagination import Cursor, Limit, NextPage, Page, fetch_rows

router = APIRouter(prefix="/v1", tags=["annotation"], route_class=DoorRoute)
daily = APIRouter(prefix="/v1", tags=["annotation"], route_class=DoorRoute)


@daily.post(
    "/submissions",
    status_code=201,
    response_model=SubmissionOut,
    responses={200: {"description": "This very submission came before.", "model": SubmissionOut}},
)
def submit(body: NewSubmission, session: Db, me: Annotated[Caller, allow_alone(*ANNOTATES)]) -> Response:
    """Judge a task. The client makes the id, so that a retry is the same submission."""
    shown, new = service.judge(session, me, body)
    return as_json(shown, 201 if new else 200)


@router.get("/submissions", dependencies=[allow(*SIGNED_IN)])
def list_submissions(
    session: Db,
    more: NextPage,
    me: Me,
    project: Annotated[uuid.UUID | None, Query(description="Only this project.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[SubmissionOut]:
    """The caller's submissions; with a project, everybody's in it, but not for annotators."""
    own = project is None or me.role == Role.ANNOTATOR
    if project is not None and not own and session.get(Project, project) is None:
        return Page(items=[], next=None)
    query = queries.submissions(project=project, person=me if own else None)
    rows, after = fetch_rows(session, query, Submission, limit=limit, cursor=cursor)
    return more.page(service.show_submissions(session, rows), after)


@router.get("/submissions/{submission_id}", dependencies=[allow(*SIGNED_IN)])
def show_submission(submission_id: uuid.UUID, session: Db, me: Me) -> SubmissionOut:
    return service.show_submissions(session, [service.find_submission(session, me, submission_id)])[0]
