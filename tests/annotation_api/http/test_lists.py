"""A list asks the database as often for twenty rows as for one: none asks again for each of its rows."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.records import Demonstration, Prompt
from annotation_api.db.tables import (
    Alias,
    AliasMove,
    Dataset,
    DatasetKind,
    Job,
    ModelKind,
    Person,
    Pipeline,
    Project,
    ProjectMember,
    Role,
    Snapshot,
)
from tests.support.jobs import As

OF_ALL = "/ /models /jobs /pipelines /datasets /snapshots /people /audit /erasures /leaderboard /keys /mine /waiting"
FORMS = "/jobs/new /pipelines/new /projects/new"
OF_A_PROJECT = "tasks members agreement review review/disputed review/gold review/annotators review/hours"
REST = "models jobs pipelines datasets snapshots projects people audit erasures aliases submissions leaderboard"
REST_OF_A_PROJECT = "tasks members agreement gold quality annotators answers disputed signals hours"
LISTS = (
    *OF_ALL.split(),
    *FORMS.split(),
    *(f"/projects/{{project}}/{name}" for name in OF_A_PROJECT.split()),
    *(f"/v1/{name}" for name in REST.split()),
    *(f"/v1/projects/{{project}}/{name}" for name in REST_OF_A_PROJECT.split()),
)


class Rows:
    """One more of everything that lists show, each of its own people, projects and jobs."""

    def __init__(self, session: Session, make: Any, me: Person) -> None:
        self.session, self.make, self.me = session, make, me
        self.project: Project = make.project()
        self.add()

    def add(self) -> None:
        make, session = self.make, self.session
        person, project = make.person(Role.ANNOTATOR), make.project()
        for where in (project, self.project):
            session.add(ProjectMember(project_id=where.id, person_id=person.id))
        session.add(ProjectMember(project_id=project.id, person_id=self.me.id, languages=["en"]))
        for where in (project, self.project):
            task = make.task(make.prompt(where, f"Which {person.name}?"), overlap=2)
            make.submission(task, [[0], [1]], person)
            make.submission(task, [[1], [0]], self.me)
        dataset = make.dataset(DatasetKind.DEMONSTRATIONS, [Demonstration(prompt=Prompt.from_text("Q?"), response="a")])
        self._snapshots(dataset, project)
        self._run(project)
        session.flush()

    def _snapshots(self, dataset: Dataset, project: Project) -> None:
        shared = {"kind": DatasetKind.DEMONSTRATIONS, "rows": 1, "created_by": self.make.person().id}
        for number, sources in enumerate(({"datasets": [str(dataset.id)]}, {"project": str(project.id)})):
            digest = f"{self.session.query(Snapshot).count() + number:064d}"
            self.session.add(Snapshot(**shared, sources=sources, sha256=digest))

    def _run(self, project: Project) -> None:
        pipeline = Pipeline(spec={}, created_by=self.make.person().id)
        self.session.add(pipeline)
        self.session.flush()
        job: Job = self.make.job(Stage.PPO, inputs={"project": str(project.id)}, pipeline_id=pipeline.id)
        model = self.make.model(ModelKind.POLICY, job_id=job.id, name=f"policy {job.id}")
        self.make.model(ModelKind.REWARD, metrics={"heldout_accuracy": 0.7})
        alias = f"a{str(job.id)[:8]}"
        self.session.add(Alias(name=alias, model_id=model.id))
        move = {"name": "champion", "model_id": model.id, "moved_by": job.created_by}
        self.session.add(AliasMove(**move, why="", created_at=func.clock_timestamp()))


def ask(client: TestClient, path: str, statements: Any) -> list[str]:
    client.get(path)  # what is read once and kept
    with statements() as found:
        answer = client.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    return list(found)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.ANNOTATOR])
def test_a_list_asks_as_often_for_twenty_rows_as_for_one(
    session: Session, make: Any, person: Any, browser_of: As, statements: Any, role: Role
) -> None:
    me = person(role)
    rows, client = Rows(session, make, me), browser_of(me)
    paths = [path.format(project=rows.project.id) for path in (LISTS if role is Role.ADMIN else ("/", "/mine"))]
    of_one = {path: ask(client, path, statements) for path in paths}
    for _ in range(19):
        rows.add()
    of_twenty = {path: ask(client, path, statements) for path in paths}
    grown = {path: (len(of_one[path]), len(of_twenty[path])) for path in paths}
    assert {path: both for path, both in grown.items() if both[1] > both[0]} == {}
