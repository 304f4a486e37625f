"""Where a model came from: a walk over parents, jobs and snapshots back to data sets and annotations."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from alignment.shared import stages
from annotation_api.db.tables import Dataset, Job, ModelVersion, Project, Snapshot
from annotation_api.models import queries
from annotation_api.models.schemas import Edge, Lineage, Node

Thing = TypeVar("Thing", Dataset, Job, ModelVersion, Project, Snapshot)
READ_AS = stages.relations()  # what a model among a job's inputs is to what the job makes; others are data
SUBMISSIONS_SHOWN = 1000  # ids in one node; the count is always whole


def lineage(session: Session, model: ModelVersion) -> Lineage:
    """The graph behind `model`, which is its first node."""
    walk = _Ancestry(session)
    waiting = [model]
    while waiting:
        waiting.extend(walk.model(waiting.pop(0)))
    return Lineage(nodes=list(walk.nodes.values()), edges=walk.edges)


def references(inputs: Mapping[str, Any]) -> Iterator[tuple[str, uuid.UUID]]:
    """Role and id of each model, snapshot or job that a job's inputs name."""
    for role, value in inputs.items():
        for reference in value if isinstance(value, list) else [value]:
            if isinstance(reference, dict):
                yield from ((role, uuid.UUID(key)) for key in reference.values())


class _Ancestry:
    def __init__(self, session: Session) -> None:
        self.session = session
        self.nodes: dict[uuid.UUID, Node] = {}
        self.edges: list[Edge] = []

    def model(self, model: ModelVersion) -> list[ModelVersion]:
        """Add a model with its job and data; the parents that are still to be visited."""
        if model.id in self.nodes:
            return []
        facts = {"kind": model.kind.value, "sha256": model.sha256, "metrics": model.metrics}
        self.nodes[model.id] = Node(id=model.id, type="model", label=model.name, facts=facts)
        if job := self._seen(Job, model.job_id):
            self._edge(model.id, job.id, "made by")
            self._job(job, model.snapshot_id)
        if snapshot := self._seen(Snapshot, model.snapshot_id):
            self._edge(model.id, snapshot.id, "trained on")
            self._snapshot(snapshot)
        links = queries.parents(self.session, model.id)
        parents = [(link, self._seen(ModelVersion, link.parent_id)) for link in links]
        for link, parent in parents:
            if parent is not None:
                self._edge(model.id, parent.id, link.relation)
        return [parent for _, parent in parents if parent is not None]

    def _seen(self, kind: type[Thing], key: uuid.UUID | None) -> Thing | None:
        """None for what the caller may not see (`db.membership`): there the walk ends."""
        return None if key is None else self.session.get(kind, key)

    def _edge(self, source: uuid.UUID, target: uuid.UUID, relation: str) -> None:
        self.edges.append(Edge(source=source, target=target, relation=relation))

    def _job(self, job: Job, trained_on: uuid.UUID | None) -> None:
        """Add the job with what it read besides `trained_on`: answers and verdicts, for example."""
        facts = {"state": job.state.value, "config": job.config, "epoch": job.epoch}
        self.nodes[job.id] = Node(id=job.id, type="job", label=job.stage.value, facts=facts)
        for role, key in references(job.inputs):
            snapshot = None if role in READ_AS or key == trained_on else self.session.get(Snapshot, key)
            if snapshot is not None:
                self._edge(job.id, key, "read")
                self._snapshot(snapshot)

    def _snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.id in self.nodes:
            return
        count, ids = queries.submission_ids(self.session, snapshot.id, SUBMISSIONS_SHOWN)
        facts = {
            "sha256": snapshot.sha256,
            "rows": snapshot.rows,
            "submissions": {"count": count, "ids": [str(key) for key in ids]},
        }
        self.nodes[snapshot.id] = Node(id=snapshot.id, type="snapshot", label=snapshot.kind.value, facts=facts)
        for key, rows in queries.dataset_counts(self.session, snapshot.id).items():
            if dataset := self._seen(Dataset, key):
                self._edge(snapshot.id, key, "frozen from")
                self._dataset(dataset, rows)
        named = snapshot.sources.get("project")
        if project := self._seen(Project, uuid.UUID(named) if named else None):
            self._edge(snapshot.id, project.id, "frozen from")
            self._project(project)

    def _dataset(self, dataset: Dataset, rows: int) -> None:
        facts = {"kind": dataset.kind.value, "sha256": dataset.sha256, "rows": rows}
        self.nodes[dataset.id] = Node(id=dataset.id, type="dataset", label=dataset.name, facts=facts)

    def _project(self, project: Project) -> None:
        self.nodes[project.id] = Node(id=project.id, type="project", label=project.name)
