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

from alignment.shared import gate
from alignment.shared.config import (
    CONFIGS,
    PPOConfig,
    RewardConfig,
    SampleConfig,
    Stage,
    StageSettings,
    load_preset,
    preset_names,
)
from alignment.shared.events import StageError
from alignment.shared.gpus import refuse_impossible
from alignment.shared.records import Prompt, Ranking, Record, split_of
from alignment.shared.stages import DataInput, Input, ModelInput, ProjectInput, along, inputs_of, main_data
from alignment.shared.validation import Problem, explain, shown
from annotation_api.db.form_rows import newest_form
from annotation_api.db.forms import MAX_RANKED
from annotation_api.db.snapshots import freeze
from annotation_api.db.snapshots.frozen_rows import FROZEN_AS, HOLDS, FreezeError, kinds_of
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
from annotation_api.jobs import queries
from annotation_api.jobs.schemas import DataRef, ModelRef, StageJob

WRITERS = frozenset({ModelKind.BASE, ModelKind.SFT, ModelKind.POLICY})  # models that write text
SCORERS = frozenset({ModelKind.REWARD})

MIN_RANKINGS = 8  # comparisons on the training side, below which a reward model only memorises


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

    def check(self, job: StageJob) -> ValidatedJob | None:
        """The job with its inputs resolved, or None when `problems` say why not."""
        config = self.config(job.stage, job.preset, job.config)
        if config is not None:
            self._shareable(job, config)
        asked, given = inputs_of(job.stage), dict(job.inputs)
        named = {name: self._input(name, asked[name], value) for name, value in given.items() if value is not None}
        inputs = self.beside(job.stage, given[main_data(job.stage)]) | named
        if isinstance(config, RewardConfig) and not self.problems:
            self._enough(uuid.UUID(inputs["rankings"]["snapshot"]), config.heldout_fraction)
        if isinstance(config, PPOConfig) and (problem := config.pretraining_problem("pretraining" in inputs)):
            self._wrong("/inputs/pretraining", problem, config.ptx_coef)
        if isinstance(config, PPOConfig) and not self.problems:
            self._good_enough(inputs["reward_model"], config)
        if isinstance(config, SampleConfig) and "project" in inputs:
            self._rankable(len(inputs["models"]), config.responses_per_prompt)
        if config is None or self.problems:
            return None
        return ValidatedJob(job.stage, config, inputs, self.needs, self.rows, self.folders)

    def config(self, stage: Stage, preset: str | None, overrides: dict[str, Any]) -> StageSettings | None:
        """The stage's settings: the preset's with the overrides on top."""
        if preset is not None and preset not in preset_names():
            self._wrong("/preset", f"There is no such preset. Presets: {', '.join(preset_names())}.", preset)
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
                return self.model(value, at, kinds)

    # ---------------------------------------------------------------- models

    def model(self, ref: ModelRef, at: str, kinds: Collection[ModelKind]) -> dict[str, str]:
        """The model version, or the edge to the job that makes it; its kind is one of `kinds`."""
        if ref.job is not None:
            return self._job_edge(ref.job, at, kinds)
        key = self._alias(ref.alias, at) if ref.alias is not None else ref.model
        model = self.session.get(ModelVersion, key) if key else None
        if model is None:
            if key:
                self._wrong(at, "There is no such model. GET /v1/models lists them.", key)
            return {}
        if model.kind not in kinds:
            self._wrong(at, f"{model.name} is a {model.kind.value} model; a {_or(kinds)} model is needed.", key)
        folder = Path(model.path)
        if folder.is_absolute() and not folder.is_dir():
            self._wrong(at, f"The folder of {model.name} is gone: {folder}. Restore it or register another.", key)
        elif folder.is_absolute():
            self.folders[at.removeprefix("/inputs/")] = folder
        return {"model": str(model.id)}

    def _alias(self, name: str, at: str) -> uuid.UUID | None:
        alias = self.session.get(Alias, name)
        if alias is None:
            self._wrong(at, "There is no such alias. GET /v1/aliases lists them.", name)
        return alias.model_id if alias else None

    def _job_edge(self, key: uuid.UUID, at: str, kinds: Collection[ModelKind]) -> dict[str, str]:
        job = self.session.get(Job, key)
        if job is None:
            self._wrong(at, "There is no such job.", key)
        elif MAKES.get(job.stage) not in kinds:
            self._wrong(at, f"A {job.stage.value} job makes no {_or(kinds)} model.", key)
        elif job.state in (JobState.FAILED, JobState.CANCELLED):
            self._wrong(at, f"That job is {job.state.value}; retry it first, or name a model.", key)
        self.needs.add(key)
        return {"job": str(key)}

    # ---------------------------------------------------------------- data

    def data(self, ref: DataRef, at: str, record: type[Record], *, main: bool = False) -> dict[str, str]:
        """The snapshot of such records that the job will read; what is not frozen is frozen now."""
        try:
            snapshot = self._freeze(ref, at, record)
        except FreezeError as error:
            self._wrong(at, str(error))
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
            self._wrong(at, "There is no such project.", ref.project)
        else:
            return freeze.freeze_project(self.session, ref.project, self.me.id, FROZEN_AS[record])
        return None

    def _snapshot(self, key: uuid.UUID, at: str, record: type[Record]) -> Snapshot | None:
        found = self.session.get(Snapshot, key)
        if found is None:
            self._wrong(at, "There is no such snapshot.", key)
        elif HOLDS[found.kind] is record:
            return found
        elif record is Prompt:
            return self._prompts_behind(found)
        else:
            self._wrong(at, f"The snapshot holds {found.kind.value}; {_or(kinds_of(record))} are needed.", key)
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
            self._wrong(at, "There is no such data set.", key)
        elif HOLDS[found.kind] is record or record is Prompt:
            return freeze.freeze_dataset(self.session, key, FROZEN_AS[record], self.me.id)
        else:
            self._wrong(at, f"{found.name} holds {found.kind.value}; {_or(kinds_of(record))} are needed.", key)
        return None

    def project(self, key: uuid.UUID, at: str) -> str:
        """Where responses become tasks: a project that asks for rankings."""
        if self.session.get(Project, key) is None:
            self._wrong(at, "There is no such project.", key)
        elif newest_form(self.session, key) is None:
            self._wrong(at, "This project does not ask for rankings; give it a form of the kind ranking.", key)
        return str(key)

    def _enough(self, rankings: uuid.UUID, heldout_fraction: float) -> None:
        """A reward model needs comparisons whose prompts are not held out."""
        found = 0
        for line in queries.lines(self.session, rankings):
            ranking = Ranking.from_line(line)
            found += len(ranking.groups) > 1 and split_of(ranking.prompt, heldout_fraction) == "train"
            if found >= MIN_RANKINGS:
                return
        self._wrong(
            "/inputs/rankings",
            f"Only {found} rankings prefer one response to another on the training side (heldout_fraction "
            f"{heldout_fraction:g}); at least {MIN_RANKINGS} are needed. Collect or import more.",
        )

    def _good_enough(self, reward_model: Mapping[str, str], config: PPOConfig) -> None:
        """The reward model must pass the gate by what is known of it now; the stage asks again when it starts."""
        at, job = "/inputs/reward_model", reward_model.get("job")
        result = self.session.get_one(Job, uuid.UUID(job)).result if job else None
        if job and result is None:
            return  # it is still to be made
        try:
            measured = result["metrics"] if result else self._measured(uuid.UUID(reward_model["model"]))
        except StageError as error:
            self._wrong(at, str(error), reward_model["model"])
            return
        decision = gate.decide(measured, config.gate, config.accept_reward_model)
        if decision.outcome is gate.GateOutcome.REFUSED:
            self._wrong(
                at, f"The gate refuses this reward model: {decision.words} {gate.HOW}", job or reward_model["model"]
            )

    def _measured(self, key: uuid.UUID) -> Mapping[str, Any] | None:
        """What the registry, else the report in the model's folder, says; None where neither does."""
        model = self.session.get_one(ModelVersion, key)
        return model.metrics or gate.read(Path(model.path))

    def _shareable(self, job: StageJob, config: StageSettings) -> None:
        """As the launcher asks before it starts the stage."""
        try:
            refuse_impossible(job.stage, config.model_dump(), job.gpus)
        except StageError as error:
            self._wrong("/gpus", str(error), job.gpus)

    def _rankable(self, models: int, responses: int) -> None:
        """A task holds what all models give in one set; nobody ranks more than MAX_RANKED responses at once."""
        if models * responses > MAX_RANKED:
            fit = MAX_RANKED // models
            self._wrong(
                "/config/responses_per_prompt",
                f"{models} models with {responses} responses each make tasks of up to {models * responses} responses; "
                f"a person ranks at most {MAX_RANKED}. " + (f"At most {fit} fit." if fit else "Name fewer models."),
                responses,
            )

    def _wrong(self, pointer: str, message: str, value: object = "") -> None:
        for old, new in self.places.items():
            if pointer == old or pointer.startswith(f"{old}/"):
                pointer = new + pointer.removeprefix(old)
                break
        self.problems.append(Problem(pointer=pointer, message=message, value=shown(value)))


def _or(kinds: Collection[Any]) -> str:
    return " or ".join(sorted(kind.value for kind in kinds))
