"""What a job's event stream sends, for the OpenAPI document and the clients that are made from it.

The stream is written by `jobs.stream` from rows that the engine room appended; nothing is checked against these on
its way out. A test reads a stream with them.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from annotation_api.db.tables import JobState

Said = Annotated[
    dict[str, Any] | str | None,
    Field(description="The English words with their code and values, by which a page says them in its own language."),
]


class _Data(BaseModel):
    """More may be told later: a client passes over what it does not know."""

    model_config = ConfigDict(extra="allow")


class StateData(_Data):
    state: JobState
    from_: JobState | None = Field(default=None, alias="from", description="Absent: the same state, and why it waits.")
    attempt: int | None = None
    worker: str | None = None
    reason: str | None = Field(default=None, description="What a starting job waits for.")
    detail: str | None = None
    said: Said = None


class ProgressData(_Data):
    phase: str
    step: int
    total: int
    rate: float | None = Field(description="Steps a second.")
    seconds_left: float | None
    metrics: dict[str, float | None] = Field(description="What was measured last; null where it was not finite.")
    device: str | None = None


class NoteData(_Data):
    message: str
    level: str = Field(description="info, warning or error.")
    said: Said = None


class SamplesData(_Data):
    step: int
    rows: list[dict[str, Any]] = Field(description="Texts worth reading: at least `prompt` and `response` of each.")


class LookRow(_Data):
    """A held-out prompt with the SFT policy's reply and the policy's."""

    prompt: str
    key: str
    before: str
    response: str
    score_before: float | None = None
    score: float | None = None
    kl: float | None = None
    task: uuid.UUID | None = Field(default=None, description="Where people compare the two.")


class LookData(_Data):
    update: int
    rows: list[LookRow]


class CheckpointData(_Data):
    name: str
    step: int
    sha256: str
    size: int
    seconds: float


class EndData(_Data):
    state: JobState


class _Numbered(BaseModel):
    id: int = Field(ge=1, description="Without gaps; send the last one as `Last-Event-ID` to go on after it.")


class StateEvent(_Numbered):
    event: Literal["state"]
    data: StateData


class ProgressEvent(_Numbered):
    event: Literal["progress"]
    data: ProgressData


class NoteEvent(_Numbered):
    event: Literal["note"]
    data: NoteData


class SamplesEvent(_Numbered):
    event: Literal["samples"]
    data: SamplesData


class LookEvent(_Numbered):
    event: Literal["look"]
    data: LookData


class CheckpointEvent(_Numbered):
    event: Literal["checkpoint"]
    data: CheckpointData


class EndEvent(BaseModel):
    """The job has ended, and the stream with it."""

    event: Literal["end"]
    data: EndData


AnyEvent = Annotated[
    StateEvent | ProgressEvent | NoteEvent | SamplesEvent | LookEvent | CheckpointEvent | EndEvent,
    Field(discriminator="event"),
]


class JobEvent(RootModel[AnyEvent]):
    """One event of a stream: its `event`, its `id`, and its `data` as JSON on one line."""
