"""Bodies of /v1/datasets and /v1/snapshots."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from alignment.shared.sentence import Sentence, unpacked
from alignment.shared.validation import SentenceText
from annotation_api.db.kinds import Adjudicated, PausedPeople
from annotation_api.db.tables import DatasetKind, FreezeState
from annotation_api.http.labels import NewLabels, one_line
from annotation_api.http.schemas import Body, Shown


class RowProblem(BaseModel):
    """Why a row was refused; `field` is a path inside the row, empty for the row as a whole."""

    row: int
    field: str
    message: SentenceText


class ImportReport(BaseModel):
    """What became of a file: each record is accepted, a duplicate of an earlier one, or its row is refused.

    `dataset` is null when nothing was stored.
    """

    dataset: uuid.UUID | None
    kind: DatasetKind
    format: str
    accepted: int
    duplicates: int
    rejected: int
    errors: list[RowProblem]
    notes: list[SentenceText] = []
    unused: dict[str, int] = Field(
        default={}, description="Fields of the file that were not read, and how many rows hold something there."
    )
    unknown: bool = Field(default=False, description="No layout has these fields: send `map`, or name the `format`.")


class ImportRefusal(ImportReport):
    """An error that carries the whole report: which rows were refused, and why."""

    type: str
    title: str
    status: int
    detail: str


class RecordOut(BaseModel):
    """A record, and the row of the file that it came from."""

    row: int
    part: int
    record: dict[str, Any]


class ImportPreview(ImportReport):
    """What importing would report, and the first records as they would be stored."""

    broken: bool = Field(description="The file cannot be read to its end, so that nothing of it can be imported.")
    beginning: bool = Field(default=False, description="Only the whole rows of the file's beginning were looked at.")
    records: list[RecordOut]
    columns: list[str] = Field(default=[], description="The fields of the first row.")
    offered: dict[str, str] = Field(
        default={}, description="How columns of the same names were mapped by the newest import that mapped them."
    )


class ImportProgress(Shown):
    """How far a running import is: bytes of the file as uploaded, and rows that became records so far."""

    bytes: int
    total: int
    rows: int
    seconds: float


class DatasetOut(Shown):
    id: uuid.UUID
    name: str
    kind: DatasetKind
    format: str
    project_id: uuid.UUID | None
    sha256: str
    mapping: dict[str, Any] | None = Field(description="Which columns were read as what, where they were named.")
    origin: dict[str, Any] | None = Field(
        default=None, description="Of data that a preparation made: its job, its source, and the counts."
    )
    notes: str
    tags: list[str]
    accepted: int
    duplicates: int
    rejected: int
    created_by: uuid.UUID
    created_at: datetime


class FromPreparation(Body):
    """Keep what a preparation would leave as a new data set."""

    job: uuid.UUID = Field(description="A job of work on data (prepare, instruct) that has succeeded.")
    name: Annotated[str, Field(min_length=1, max_length=300), AfterValidator(one_line)] | None = Field(
        default=None, description="Unset: the source's, prepared."
    )


class DatasetRowOut(Shown):
    row: int
    part: int
    record: dict[str, Any]


class NewSnapshot(NewLabels):
    """Freeze the submissions of a project, or a data set."""

    kind: DatasetKind
    project: uuid.UUID | None = None
    dataset: uuid.UUID | None = None
    adjudicated: Adjudicated = Field(
        default=Adjudicated.INSTEAD,
        description="Of a project, where a reviewer decided: instead of the votes, beside them, or ignored.",
    )
    paused: PausedPeople = Field(
        default=PausedPeople.OUT, description="Of a project: whether answers of paused people are in or out."
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.project is None) == (self.dataset is None):
            raise ValueError(Sentence("project-or-dataset", "name either a project or a dataset, and not both"))
        return self


class FreezeOut(Shown):
    """A freeze of many rows, which goes on behind the answer: ask for it again until it has ended."""

    id: uuid.UUID
    kind: DatasetKind
    source: dict[str, str]
    state: FreezeState
    done: int = Field(description="Rows written.")
    total: int = Field(description="Rows to be written, as far as was known at the start.")
    snapshot: uuid.UUID | None = Field(validation_alias="snapshot_id", description="Once it succeeded.")
    error: Annotated[SentenceText | None, BeforeValidator(lambda text: text and unpacked(text))] = Field(
        description="Why it failed."
    )
    created_at: datetime
    finished_at: datetime | None


class SnapshotOut(Shown):
    id: uuid.UUID
    kind: DatasetKind
    name: str | None
    notes: str
    tags: list[str]
    sha256: str
    rows: int
    sources: dict[str, Any] = Field(
        description="The project, with `adjudicated` and `paused` where there were decisions or paused people to heed; "
        "or the data sets."
    )
    erased_rows: int = Field(description="Whose content was erased since; then it is neither read nor exported.")
    erased_at: datetime | None = Field(description="When the last of them was.")
    created_by: uuid.UUID
    created_at: datetime
