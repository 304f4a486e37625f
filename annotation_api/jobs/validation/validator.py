"""The door of the queue: a job's settings and inputs are resolved and checked before it exists.

Aliases become model versions and data sets become snapshots here, so that a job means the same
whenever it runs. Everything that can be known to fail is refused now, by field.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy.orm import Session

from alignment.shared.config import (
    CONFIGS,
    InstructConfig,
    PPOConfig,
    RewardConfig,
    SampleConfig,
    Stage,
    StageSettings,
    load_preset,
    preset_names,
)
from alignment.shared.errors import StageError
from alignment.shared.gpus import refuse_impossible
from alignment.shared.records import Prompt, Record
from alignment.shared.sentence import in_turn
from alignment.shared.stages import DataInput, Input, ModelInput, ProjectInput, along, inputs_of, main_data
from alignment.shared.validation import Problem, explain, shown
from annotation_api.db.form_rows import newest_form
from annotation_api.db.snapshots import freeze
from annotation_api.db.snapshots.frozen_rows import COLLECTED, FROZEN_AS, HOLDS, FreezeError, kinds_of
from annotation_api.db.tables import (
    MAKES,
    Alias,
    Dataset,
    Job,
    JobState,
    ModelKind,
    ModelVersion,
    Person,
    Project,
    Snapshot,
)
from annotation_api.jobs.schemas import DataRef, ModelRef, StageJob
from annotation_api.jobs.validation import fitness, unfit
from annotation_api.jobs.validation.named import named_rows

WRITERS = frozenset({ModelKind.BASE, ModelKind.SFT, ModelKind.POLICY})  # models that write text
SCORERS = frozenset({ModelKind.REWARD})


@dataclass
class ValidatedJob:
    """A job that may be created: everything resolved."""

    stage: Stage
    config: StageSettings
    inputs: dict[str, Any]
    needs: set[uuid.UUID]
    rows: int  # records of its data
    folders: dict[str, Path]  # of its models by role, where they are here now


class JobValidator:
    """Collects what is wrong with one job. `places` renames pointers for callers with another body."""

    def __init__(self, session: Session, me: Person, places: Mapping[str, str] | None = None) -> None:
        self.session, self.me = session, me
        self.places = places or {}
        self.problems: list[Problem] = []
        self.needs: set[uuid.UUID] = set()
        self.rows = 0
        self.folders: dict[str, Path] = {}
        self.held: list[Any] = []

    def check(self, job: StageJob) -> ValidatedJob | None:
        """The job with its inputs resolved, or None when `problems` say why not."""
        config = self.config(job.stage, job.preset, job.config)
        if config is not None:
            self.shareable(job.stage, config, job.gpus)
        asked, given = inputs_of(job.stage), dict(job.inputs)
        self.held = named_rows(self.session, given.values())  # what is looked at below is known already
        resolved = {name: self._input(name, asked[name], value) for name, value in given.items() if value is not None}
        inputs = self.beside(job.stage, given[main_data(job.stage)]) | resolved
        self._together(config, inputs)
        if config is None or self.problems:
            return None
        return ValidatedJob(job.stage, config, inputs, self.needs, self.rows, self.folders)

    def _together(self, config: StageSettings | None, inputs: Mapping[str, Any]) -> None:
        """Settings beside inputs; the data and the reward model are read only where nothing else is wrong."""
        if isinstance(config, PPOConfig) and (problem := config.pretraining_problem("pretraining" in inputs)):
            self._wrong("/inputs/pretraining", problem, config.ptx_coef)
        if isinstance(config, InstructConfig) and (problem := config.teacher_problem(has_model="model" in inputs)):
            self._wrong("/inputs/model", problem)
        if isinstance(config, InstructConfig) and (problem := fitness.teacher_problem(self.session, config.teacher)):
            self._wrong("/config/teacher", problem, config.teacher)
        if isinstance(config, SampleConfig) and "project" in inputs:
            responses = config.responses_per_prompt
            if problem := fitness.task_problem(len(inputs["models"]), responses):
                self._wrong("/config/responses_per_prompt", problem, responses)
        if self.problems:
            return
        if isinstance(config, RewardConfig):
            rankings = uuid.UUID(inputs["rankings"]["snapshot"])
            if problem := fitness.rankings_problem(self.session, rankings, config.heldout_fraction):
                self._wrong("/inputs/rankings", problem)
        if isinstance(config, PPOConfig):
            model = inputs["reward_model"]
            problem = fitness.critic_problem(self.session, model, config)
            if problem := problem or fitness.gate_problem(self.session, model, config):
                self._wrong("/inputs/reward_model", problem, model.get("job") or model["model"])

    def config(self, stage: Stage, preset: str | None, overrides: dict[str, Any]) -> StageSettings | None:
        """The stage's settings: the preset's with the overrides on top."""
        if preset is not None and preset not in preset_names():
            self._wrong("/preset", unfit.no_preset(), preset)
            return None
        try:
            return load_preset(preset, stage, overrides) if preset else CONFIGS[stage].model_validate(overrides)
        except ValidationError as error:
            for problem in explain(error, CONFIGS[stage]):
                self._wrong("/config" + problem.pointer.rstrip("/"), problem.message, problem.value)
            return None

    def _input(self, name: str, asked: Input, value: Any) -> Any:
        at = f"/inputs/{name}"
        match asked.kind:
            case ProjectInput():
                return self.project(value, at)
            case DataInput(record, main=main):
                return self.data(value, at, record, main=main)
            case ModelInput(scores):
                kinds = SCORERS if scores else WRITERS
                if asked.several:
                    return [self.model(ref, f"{at}/{i}", kinds) for i, ref in enumerate(value)]
                found = self.model(value, at, kinds)
                if not scores and (problem := fitness.unmerged_problem(self.session, found)):
                    self._wrong(at, problem, found.get("job") or found["model"])
                return found

    # ---------------------------------------------------------------- models

    def model(self, ref: ModelRef, at: str, kinds: Collection[ModelKind]) -> dict[str, str]:
        """The model version, or the edge to the job that makes it; its kind is one of `kinds`."""
        if ref.job is not None:
            return self._job_edge(ref.job, at, kinds)
        key = self._alias(ref.alias, at) if ref.alias is not None else ref.model
        model = self.session.get(ModelVersion, key) if key else None
        if model is None:
            if key:
                self._wrong(at, unfit.NO_MODEL, key)
            return {}
        if model.kind not in kinds:
            self._wrong(at, unfit.other_model(model, kinds), key)
        folder = Path(model.path)
        if folder.is_absolute() and not folder.is_dir():
            self._wrong(at, unfit.gone(model, folder), key)
        elif folder.is_absolute():
            self.folders[at.removeprefix("/inputs/")] = folder
        return {"model": str(model.id)}

    def _alias(self, name: str, at: str) -> uuid.UUID | None:
        alias = self.session.get(Alias, name)
        if alias is None:
            self._wrong(at, unfit.NO_ALIAS, name)
        return alias.model_id if alias else None

    def _job_edge(self, key: uuid.UUID, at: str, kinds: Collection[ModelKind]) -> dict[str, str]:
        job = self.session.get(Job, key)
        if job is None:
            self._wrong(at, unfit.NO_JOB, key)
        elif MAKES.get(job.stage) not in kinds:
            self._wrong(at, unfit.makes_none(job, kinds), key)
        elif job.state in (JobState.FAILED, JobState.CANCELLED):
            self._wrong(at, unfit.has_ended(job), key)
        self.needs.add(key)
        return {"job": str(key)}

    # ---------------------------------------------------------------- data

    def data(self, ref: DataRef, at: str, record: type[Record], *, main: bool = False) -> dict[str, str]:
        """The snapshot of such records that the job will read; what is not frozen is frozen now."""
        try:
            snapshot = self._freeze(ref, at, record)
        except FreezeError as error:
            self._wrong(at, error.said)
            return {}
        if snapshot is None:
            return {}
        if main:
            self.rows = snapshot.rows
        return {"snapshot": str(snapshot.id)}

    def beside(self, stage: Stage, main: DataRef) -> dict[str, dict[str, str]]:
        """What comes along with the main data where these come from a project: what else annotators said there."""
        if main.project is None or self.session.get(Project, main.project) is None:
            return {}
        found = {}
        for name, record in along(stage).items():
            try:
                frozen = freeze.freeze_project(self.session, main.project, self.me.id, FROZEN_AS[record])
            except FreezeError:  # it asks for none, or nobody has answered yet
                continue
            found[name] = {"snapshot": str(frozen.id)}
        return found

    def _freeze(self, ref: DataRef, at: str, record: type[Record]) -> Snapshot | None:
        if ref.snapshot is not None:
            return self._snapshot(ref.snapshot, at, record)
        if ref.dataset is not None:
            return self._dataset(ref.dataset, at, record)
        assert ref.project is not None
        if self.session.get(Project, ref.project) is None:
            self._wrong(at, unfit.NO_PROJECT, ref.project)
        elif record is Record:
            self._wrong(at, unfit.SEVERAL_KINDS, ref.project)
        else:
            return freeze.freeze_project(self.session, ref.project, self.me.id, FROZEN_AS[record])
        return None

    def _snapshot(self, key: uuid.UUID, at: str, record: type[Record]) -> Snapshot | None:
        found = self.session.get(Snapshot, key)
        if found is None:
            self._wrong(at, unfit.NO_SNAPSHOT, key)
        elif found.erased_at is not None:
            self._wrong(at, unfit.erased(found), key)
        elif HOLDS[found.kind] is record or (record is Record and found.kind not in COLLECTED):
            return found
        elif record is Prompt:
            return self._prompts_behind(found)
        else:
            self._wrong(at, unfit.other_snapshot(found, kinds_of(record)), key)
        return None

    def _prompts_behind(self, snapshot: Snapshot) -> Snapshot:
        """The prompts of what the snapshot was frozen from."""
        if project := snapshot.sources.get("project"):
            return freeze.freeze_project(self.session, uuid.UUID(project), self.me.id, FROZEN_AS[Prompt])
        dataset = uuid.UUID(snapshot.sources["datasets"][0])
        return freeze.freeze_dataset(self.session, dataset, FROZEN_AS[Prompt], self.me.id)

    def _dataset(self, key: uuid.UUID, at: str, record: type[Record]) -> Snapshot | None:
        found = self.session.get(Dataset, key)
        if found is None:
            self._wrong(at, unfit.NO_DATASET, key)
        elif record is Record:
            return freeze.freeze_dataset(self.session, key, found.kind, self.me.id)
        elif HOLDS[found.kind] is record or record is Prompt:
            return freeze.freeze_dataset(self.session, key, FROZEN_AS[record], self.me.id)
        else:
            self._wrong(at, unfit.other_dataset(found, kinds_of(record)), key)
        return None

    def project(self, key: uuid.UUID, at: str) -> str:
        """Where responses become tasks: a project that asks for rankings."""
        if self.session.get(Project, key) is None:
            self._wrong(at, unfit.NO_PROJECT, key)
        elif newest_form(self.session, key) is None:
            self._wrong(at, unfit.NO_RANKINGS, key)
        return str(key)

    def shareable(self, stage: Stage, config: StageSettings, gpus: float) -> None:
        """As the launcher asks before it starts the stage."""
        try:
            refuse_impossible(stage, config.model_dump(), gpus)
        except StageError as error:
            self._wrong("/gpus", in_turn([each for each in (error.cause, error.next_step) if each]), gpus)

    def _wrong(self, pointer: str, message: str, value: object = "") -> None:
        for old, new in self.places.items():
            if pointer == old or pointer.startswith(f"{old}/"):
                pointer = new + pointer.removeprefix(old)
                break
        self.problems.append(Problem(pointer=pointer, message=message, value=shown(value)))
