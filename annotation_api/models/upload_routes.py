"""/v1/model-uploads: a base model over REST, where no folder of the service's machine can be named."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from annotation_api.http.dependencies import ENGINEERS, Config, Db, Me, allow
from annotation_api.http.entry.route import BYTES, DoorRoute
from annotation_api.http.idempotency import Once
from annotation_api.http.quotas import Quota, spends
from annotation_api.models import service, uploads
from annotation_api.models.schemas import FinishedUpload, ModelOut, NewUpload, UploadOut

MAX_PART_BYTES = 2**30

router = APIRouter(prefix="/v1/model-uploads", tags=["models"], dependencies=[allow(*ENGINEERS)], route_class=DoorRoute)


@router.post("", status_code=201, response_model=UploadOut, dependencies=[spends(Quota.UPLOADS)])
def begin_upload(body: NewUpload, me: Me, settings: Config, once: Once) -> Response:
    """Begin an upload: then send its files, and finish it. Kept for 7 days after its last part."""
    return once.run(
        lambda: UploadOut.of(uploads.begin(settings.home, me.id, body.name)), location="/v1/model-uploads/{id}"
    )


@router.get("/{upload_id}")
def show_upload(upload_id: uuid.UUID, me: Me, settings: Config) -> UploadOut:
    """How much of each file has arrived: go on from there after a break."""
    return UploadOut.of(uploads.find(settings.home, me.id, upload_id))


@router.put(
    "/{upload_id}/files/{name}",
    max_body_size=MAX_PART_BYTES,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {BYTES: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload_part(
    upload_id: uuid.UUID,
    name: str,
    request: Request,
    me: Me,
    settings: Config,
    offset: Annotated[int, Query(ge=0, le=2**50, description="Where these bytes begin in the file.")] = 0,
) -> UploadOut:
    """The next bytes of a file, 1 GiB at most; one that is small comes whole.

    `offset` is at most what has arrived so far, else 409 says how much that is; what lay beyond it is replaced.
    """
    found = await run_in_threadpool(uploads.find, settings.home, me.id, upload_id)
    await uploads.receive(found, name, offset, request.stream())
    return await run_in_threadpool(UploadOut.of, found)


@router.post("/{upload_id}:finish", status_code=201, response_model=ModelOut)
def finish_upload(
    upload_id: uuid.UUID, session: Db, me: Me, settings: Config, body: FinishedUpload | None = None
) -> Response:
    """Check the folder and register it as a base model. 422 says what is wrong with it; then send what is missing."""
    found = uploads.find(settings.home, me.id, upload_id)
    row = service.register_upload(session, settings, found, body.sha256 if body else {})
    shown = ModelOut.model_validate(row)
    session.commit()
    uploads.discard(found)
    return Response(shown.model_dump_json(), 201, {"Location": f"/v1/models/{row.id}"}, media_type="application/json")


@router.delete("/{upload_id}", status_code=204)
def discard_upload(upload_id: uuid.UUID, me: Me, settings: Config) -> None:
    """Take back what has arrived."""
    uploads.discard(uploads.find(settings.home, me.id, upload_id))
