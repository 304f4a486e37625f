"""What came of something: a walk from a data set, a snapshot or a model to all that descends from it.

Edges run as in `lineage`: the source was frozen from, read, started from or was made by the target. The walk
asks a few questions a generation, however many descendants there are.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy.orm import Session

from annotation_api.db.tables import Dataset, Job, ModelVersion, Snapshot
from annotation_api.models import queries
from annotation_api.models.lineage import READ_AS, references
from annotation_api.models.schemas import Edge, Lineage, Node

MOST_NODES = 2000


def derived(session: Session, origin: Dataset | Snapshot | ModelVersion) -> Lineage:
    """The graph of all that descends from `origin`, which is its first node; cut off at about MOST_NODES."""
    walk = _Descent(session, node(origin))
    if isinstance(origin, Dataset):
        walk.frozen_from(origin)
    else:
        walk.follow([origin.id])
    return Lineage(nodes=list(walk.nodes.values()), edges=list(walk.edges), whole=len(walk.nodes) < MOST_NODES)


def node(thing: Dataset | Snapshot | Job | ModelVersion) -> Node:
    """Short facts only; `lineage` tells more of each."""
    if isinstance(thing, Dataset):
        return Node(id=thing.id, type="dataset", label=thing.name, facts={"rows": thing.accepted})
    if isinstance(thing, Snapshot):
        facts = {"rows": thing.rows, "sha256": thing.sha256}
        return Node(id=thing.id, type="snapshot", label=thing.kind.value, facts=facts)
    if isinstance(thing, Job):
        return Node(id=thing.id, type="job", label=thing.stage.value, facts={"state": thing.state.value})
    return Node(id=thing.id, type="model", label=thing.name, facts={"kind": thing.kind.value})


class _Descent:
    def __init__(self, session: Session, origin: Node) -> None:
        self.session = session
        self.nodes: dict[uuid.UUID, Node] = {origin.id: origin}
        self.edges: dict[Edge, None] = {}

    def frozen_from(self, dataset: Dataset) -> None:
        """The data set's snapshots, and what descends from them."""
        found = self._new(queries.snapshots_of_dataset(self.session, dataset.id))
        for snapshot in found:
            self._edge(snapshot.id, dataset.id, "frozen from")
        self.follow([snapshot.id for snapshot in found])

    def follow(self, origins: Collection[uuid.UUID]) -> None:
        """What was made from these snapshots, jobs and models, and from that, until nothing is new."""
        while origins and len(self.nodes) < MOST_NODES:
            jobs = queries.jobs_that_name(self.session, origins)
            models = queries.models_from(self.session, origins)
            fresh = self._new(jobs) + self._new(models)
            for job in jobs:
                for role, key in references(job.inputs):
                    self._edge(job.id, key, READ_AS.get(role, "read"))
            for model in models:
                self._edge(model.id, model.job_id, "made by")
                self._edge(model.id, model.snapshot_id, "trained on")
            for link in queries.links_to(self.session, origins):
                self._edge(link.model_id, link.parent_id, link.relation)
            origins = [thing.id for thing in fresh]

    def _edge(self, source: uuid.UUID, target: uuid.UUID | None, relation: str) -> None:
        """Between two that have a node."""
        if source in self.nodes and target in self.nodes:
            self.edges[Edge(source=source, target=target, relation=relation)] = None

    def _new(self, things: Iterable[Any]) -> list[Any]:
        """Those that have no node yet; now they have."""
        found = [thing for thing in things if thing.id not in self.nodes]
        self.nodes |= {thing.id: node(thing) for thing in found}
        return found
