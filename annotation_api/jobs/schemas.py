"""Bodies of /v1/jobs: what each stage takes, typed."""

from __future__ import annotations

import functools
import operator
import uuid
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    create_model,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from alignment.shared import stages
from alignment.shared.config import CONFIGS, Stage, preset_names
from alignment.shared.sentence import Sentence, unpacked
from alignment.shared.stage_names import ON_DATA
from alignment.shared.validation import Problem, SentenceText
from annotation_api.db.tables import Job, JobState
from annotation_api.http.labels import NewLabels
from annotation_api.http.schemas import Body, Shown


class _OneOf(Body):
    """Exactly one of the fields is given."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                Sentence(
                    "exactly-one",
                    "give exactly one of %(model_fields)s; %(given)s were given",
                    model_fields=", ".join(type(self).model_fields),
                    given=len(given),
                )
            )
        return self


class ModelRef(_OneOf):
    """A model version, what an alias stands for now, or what a job makes."""

    model: uuid.UUID | None = None
    alias: str | None = None
    job: uuid.UUID | None = None


class DataRef(_OneOf):
    """Frozen data, or a data set or project that is frozen when the job is made."""

    snapshot: uuid.UUID | None = None
    dataset: uuid.UUID | None = None
    project: uuid.UUID | None = None


MOST_MODELS = 16  # of one input


def _asked(one: stages.Input) -> tuple[Any, Any]:
    """Type and field of an input in a request."""
    if one.several:
        return list[ModelRef], Field(min_length=1, max_length=MOST_MODELS, description=one.description)
    kinds: dict[type, Any] = {stages.ModelInput: ModelRef, stages.DataInput: DataRef, stages.ProjectInput: uuid.UUID}
    kind = kinds[type(one.kind)]
    if one.required:
        return kind, Field(description=one.description)
    return kind | None, Field(default=None, description=one.description)


class _SchemaOf:
    """Documents a dict as another model: overrides are checked only together with their preset."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.model = model

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        listed: JsonSchemaValue = handler(TypeAdapter(list[self.model]).core_schema)  # type: ignore[name-defined]
        schema_of_one: JsonSchemaValue = listed["items"]  # a reference: what stands alone would be written out here
        return schema_of_one


MOST_GPUS = 64


def _whole_or_part(gpus: float) -> float:
    if not 0 <= gpus <= MOST_GPUS:
        raise ValueError(Sentence("gpus-range", "ask for 0 to %(most_gpus)s GPUs", most_gpus=MOST_GPUS))
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(
            Sentence(
                "gpus-neither",
                "%(gpus)s is neither a part of one GPU nor a whole number of them: ask for %(whole)s",
                gpus=f"{gpus:g}",
                whole=int(gpus),
            )
        )
    return gpus


SomeGpus = Annotated[
    float,
    Field(
        allow_inf_nan=False,
        description=f"0: the CPU is enough; a fraction shares a GPU; whole numbers up to {MOST_GPUS}.",
        json_schema_extra={"minimum": 0, "maximum": MOST_GPUS},
    ),
    AfterValidator(_whole_or_part),
]


NoGpu = Annotated[float, Field(ge=0, le=0, allow_inf_nan=False, description="This work needs none.")]
OneGpu = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, description="For the model that answers; 0: none.")]
GPUS_OF: dict[Stage, Any] = {Stage.PREPARE: NoGpu, Stage.INSTRUCT: OneGpu}


Preset = Annotated[str, Field(json_schema_extra={"enum": list(preset_names())})]  # an unknown one is told by the door


class _JobBody(NewLabels):
    preset: Preset | None = Field(default=None, description="A named set of settings; `config` goes on top.")
    gpus: SomeGpus = 1
    allow_cpu: bool = Field(
        default=False, description="On a cluster without a GPU now, run on the CPU instead of waiting for one."
    )
    priority: int = Field(default=0, ge=-1000, le=1000, description="Higher ones start first.")


class StageJob(_JobBody):
    """A job whose inputs and GPUs are those of its stage."""

    stage: Stage
    inputs: Body
    config: dict[str, Any] = Field(default_factory=dict)


def _job(stage: Stage) -> type[StageJob]:
    """The stage's own class: its inputs as the table in `alignment.shared.stages` has them, with ids for files."""
    inputs, config = stages.INPUTS[stage].__name__, CONFIGS[stage]
    asked: dict[str, Any] = {name: _asked(one) for name, one in stages.inputs_of(stage).items()}
    fields: dict[str, Any] = {
        "stage": (Literal[stage], ...),
        "inputs": (create_model(inputs.replace("Inputs", "JobInputs"), __base__=Body, **asked), ...),
        **({"gpus": (GPUS_OF[stage], 0)} if stage in ON_DATA else {}),
        "config": (Annotated[dict[str, Any], _SchemaOf(config)], Field(default_factory=dict)),
    }
    return create_model(inputs.replace("Inputs", "Job"), __base__=StageJob, __doc__=None, **fields)


JOBS: dict[Stage, type[StageJob]] = {stage: _job(stage) for stage in Stage}


class NewJob(_JobBody):
    """One stage to run. `inputs` and `config` are those of the stage; they are checked against its own class."""

    stage: Stage
    inputs: dict[str, Any]
    config: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """One component a stage, told apart by `stage`."""
        union: Any = functools.reduce(operator.or_, JOBS.values())
        return handler(TypeAdapter(Annotated[union, Field(discriminator="stage")]).core_schema)


class ChangedSettings(Body):
    """With what a job goes on; what is left out stays as it is."""

    config: dict[str, Any] = Field(
        default_factory=dict, description="Settings over the job's own; null where a setting can be unset."
    )
    gpus: float | None = Field(default=None, allow_inf_nan=False, description="Other GPUs than it asked for.")
    priority: int | None = Field(default=None, ge=-1000, le=1000, description="Another priority.")

    def __bool__(self) -> bool:
        return bool(self.config) or self.gpus is not None or self.priority is not None


LONG = ("traceback", "log")  # parts of an error


class JobOut(Shown):
    id: uuid.UUID
    stage: Stage
    name: str | None
    notes: str
    tags: list[str]
    state: JobState
    reason: str | None = Field(description="Why a starting job has not begun: waiting_gpu, infeasible or loading.")
    reason_detail: Annotated[str | None, BeforeValidator(lambda text: text and str(unpacked(text)))] = Field(
        description="What exactly it waits for."
    )
    reason_since: datetime | None
    pipeline: uuid.UUID | None
    needs: list[uuid.UUID]
    inputs: dict[str, Any]
    config: dict[str, Any]
    preset: str | None = Field(
        description="The preset that it was made with, or `defaults`; null for a job from before this was kept."
    )
    gpus: float
    allow_cpu: bool
    priority: int
    epoch: int = Field(description="All attempts so far.")
    attempts: int = Field(description="Attempts in a row that saved no new checkpoint, this one included.")
    max_attempts: int
    interruptions: int = Field(description="Attempts in a row that ended because Ray or Postgres was lost.")
    saved_step: int | None = Field(description="The furthest checkpoint.")
    cancel_requested: bool
    pause_requested: bool
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    created_by: uuid.UUID
    created_at: datetime
    not_before: datetime | None
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job, needs: list[uuid.UUID], *, brief: bool = False) -> Self:
        """`brief`: the error without traceback and log, for lists."""
        values = {name: getattr(job, name) for name in cls.model_fields if name not in ("pipeline", "needs")}
        if brief and job.error is not None:
            values["error"] = {name: value for name, value in job.error.items() if name not in LONG}
        return cls(pipeline=job.pipeline_id, needs=needs, **values)


class MemoryEstimate(BaseModel):
    """Bytes on one device. What the models take follows from their files; activations are a rule of thumb."""

    weights: int = Field(description="Of all models that are loaded.")
    roles: dict[str, int] = Field(description="The same by role; with adapters the roles share what is called base.")
    gradients: int
    optimizer: int = Field(description="AdamW's two moments of each trained weight.")
    activations: int = Field(description="Of one micro-batch of the longest texts.")
    logits: int = Field(description="With their gradient, of the tokens that have them at one time.")
    cache: int = Field(
        description="Keys and values of a rollout, which is over before an update begins; on a GPU with what it takes "
        "to draw tokens, and up to 2 GiB of all that may stay."
    )
    rollout_copy: int = Field(description="Of the policy's weights, in the number type that decodes.")
    host: int = Field(
        description="In the memory of the CPU: the kept policy, and the copy that a checkpoint is written from beside "
        "training; where the device is the CPU it counts in the total."
    )
    judge_apart: int = Field(
        description="With lora, what the reward model takes as it is no adapter on the policy's own base; 0: it is."
    )
    total: int = Field(description="At the worst moment: the cache, or gradients, activations and logits.")
    instead: dict[str, int] = Field(description="The total with one setting changed, where that takes less.")


class Estimate(BaseModel):
    """What a job would do and take; null where that depends on a job that has not run or a model not here yet."""

    config: dict[str, Any]
    rows: int | None
    steps: int | None
    gpus: float
    disk_bytes: int | None = Field(description="What it leaves and what it keeps on the way, together.")
    artifact_bytes: int | None
    checkpoint_bytes: int | None = Field(
        description="Of one checkpoint; two are kept, and a third is there while it is written."
    )
    memory: MemoryEstimate | None
    notes: list[SentenceText] = Field(default=[], description="What to know beforehand, a sentence each.")


class Validation(BaseModel):
    """The answer of a dry run: nothing was created."""

    ok: bool
    problems: list[Problem]
    estimate: Estimate | None
