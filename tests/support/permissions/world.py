"""One of everything, some of it twice: the caller's own and another person's."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, text
from sqlalchemy.orm import Session

from alignment.shared import gate
from alignment.shared.config import Stage
from alignment.shared.records import Demonstration, Prompt, Ranking
from annotation_api.annotation.submissions import service as feedback
from annotation_api.annotation.submissions.schemas import NewRanking
from annotation_api.datasets import staged
from annotation_api.datasets.progress import WatchedFile, _running
from annotation_api.db.kinds import ErasureScope
from annotation_api.db.tables import (
    Alias,
    AliasMove,
    ApiKey,
    Artifact,
    AssignmentState,
    Comment,
    DatasetKind,
    Draft,
    Erasure,
    Freeze,
    GoldItem,
    IdempotencyKey,
    JobState,
    Person,
    PersonStanding,
    Pipeline,
    ProjectMember,
    Role,
    Snapshot,
    Submission,
    Task,
)
from annotation_api.http import auth
from annotation_api.models import uploads as model_uploads
from annotation_api.people import service as people
from annotation_api.settings import Settings

CSV = b"prompt,chosen,rejected\nWhat is 2 + 2?,4,5\n"
SEEN_BYTES = 987_654  # of the other's import
IMPORT_KEY, REPLAY_KEY = "my-import", "my-request"
MESSAGE = "Only for you"  # waits for the other
NEW_PROJECT = {"name": "replayed"}
PASSWORD = "three plain words"


class Bytes:
    """A file of a size."""

    def __init__(self, size: int) -> None:
        self.size = size

    def seek(self, _place: int, whence: int = 0) -> int:
        return self.size if whence else 0


@dataclass(frozen=True)
class Owned:
    """What belongs to one person."""

    person: Person
    task: Task
    leased: uuid.UUID  # a task in hand, with a draft
    answered: uuid.UUID
    submission: Submission
    sent: NewRanking  # which made it
    key: ApiKey
    token: str  # of an upload that waits for a yes
    upload: uuid.UUID  # of a model
    erasure: Erasure  # of a project that the person made


class World:
    """The other is an annotator, who alone has a task in hand in the project `theirs`."""

    def __init__(self, session: Session, make: Any, settings: Settings) -> None:
        self.session, self.make, self.settings = session, make, settings
        self.project, self.theirs = make.project(overlap=50), make.project(overlap=50)
        self.tasks = [make.task(make.prompt(self.project, f"{n}?"), overlap=50) for n in range(2)]
        self.model = make.model(path=str(self._model_folder()))
        self._name_a_model(self.tasks[0])
        self.other = self.own(make.person(Role.ANNOTATOR, name="The other's name"))
        their_task = make.task(make.prompt(self.theirs), overlap=50)
        held = {"state": AssignmentState.LEASED, "lease_until": text("now() + interval '1 hour'")}
        self.bystander = make.person(Role.ANNOTATOR, name="The bystander's name")
        self.held_by_other = make.assignment(their_task, self.other.person, **held).id
        session.add(Draft(assignment_id=self.held_by_other, payload={"fields": []}))
        self._quality()
        self._runs()
        self._requests_of_other()
        self.someone = make.person(Role.ANNOTATOR)
        session.add(ProjectMember(project_id=self.project.id, person_id=self.someone.id))
        self.invitation_token, self.invitation = people.invite(session, Role.ANNOTATOR)
        session.flush()

    def own(self, person: Person) -> Owned:
        """What the person has: a task in hand with a draft, an answer, a key, an upload."""
        make, (task, second) = self.make, self.tasks
        held = {"state": AssignmentState.LEASED, "lease_until": text("now() + interval '1 hour'")}
        leased, answered = make.assignment(task, person, **held), make.assignment(second, person, **held)
        self.session.add(Draft(assignment_id=leased.id, payload={"fields": [["note", "a draft"]]}))
        sent = self.ranking(answered.id, second)
        submission, _ = feedback.submit(self.session, person, sent)
        key = ApiKey(person_id=person.id, name=f"key-{person.id}", prefix="p", key_hash=auth.new_token()[:40])
        self.session.add(key)
        self.session.flush()
        uploads = self.settings.home / "uploads"
        uploads.mkdir(parents=True, exist_ok=True)
        token = hashlib.sha256(person.id.bytes).hexdigest()
        staged._path(self.settings.home, person.id, token).write_bytes(CSV)
        size = SEEN_BYTES if person.role is Role.ANNOTATOR else 0  # only the other's is looked for
        _running[person.id, IMPORT_KEY] = WatchedFile(Bytes(size))  # type: ignore[arg-type]
        upload = model_uploads.begin(self.settings.home, person.id, "half a model").id
        return Owned(person, task, leased.id, answered.id, submission, sent, key, token, upload, self._erasure(person))

    def _erasure(self, person: Person) -> Erasure:
        """Failed, of an empty project of the person's own: it can be asked for anew."""
        project = self.make.project(person)
        row = Erasure(
            scope=ErasureScope.PROJECT, target={"project": str(project.id)}, project_id=project.id, state="failed",
            reason=f"asked by {person.id}", created_by=person.id,
        )  # fmt: skip
        self.session.add(row)
        self.session.flush()
        return row

    def close(self) -> None:
        _running.clear()

    def ranking(self, assignment: uuid.UUID, task: Task, **fields: Any) -> NewRanking:
        groups = [[str(key)] for key in self.make.response_ids(task)]
        body = {"kind": "ranking", "id": uuid.uuid4(), "assignment": assignment, "payload": {"groups": groups}}
        return NewRanking.model_validate(body | fields)

    def _model_folder(self) -> Path:
        folder = self.settings.home / "models" / "tiny"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(b"x" * 1000)
        (folder / "config.json").write_text("{}")
        return folder

    def _name_a_model(self, task: Task) -> None:
        """Say who wrote the first response of the task: reviewers, who also rank, must not learn it."""
        first = self.make.response_ids(task)[0]
        self.session.execute(text("ALTER TABLE responses DISABLE TRIGGER responses_append_only"))
        self.session.execute(
            text("UPDATE responses SET model_id = :model WHERE id = :id"), {"model": self.model.id, "id": first}
        )
        self.session.execute(text("ALTER TABLE responses ENABLE TRIGGER responses_append_only"))

    def _quality(self) -> None:
        """A gold item; the other is paused in a project apart from the rest, and asked something in hand."""
        self.gold = self.make.task(self.make.prompt(self.project, "gold?"), overlap=0, gold=True)
        item = {"use": "mixed", "expected": {"answers": {"x": True}}, "why": "x", "overlap": 1}
        ids = {"task_id": self.gold.id, "project_id": self.project.id, "made_by": self.other.person.id}
        self.session.add(GoldItem(**ids, **item))
        paused = {"project_id": self.project.id, "person_id": self.bystander.id}
        self.session.add(PersonStanding(**paused, paused_at=func.now(), reason="x"))
        said = {"author_id": self.bystander.id, "text": MESSAGE, "asks": False}
        self.session.add(Comment(assignment_id=self.other.leased, **said))
        self.session.flush()

    def _runs(self) -> None:
        make, session = self.make, self.session
        shown = [Demonstration(prompt=Prompt.from_text(f"Q{i}?"), response="a") for i in range(40)]
        ranked = [
            Ranking(prompt=Prompt.from_text(f"Q{i}?"), responses=("a", "b"), groups=((0,), (1,))) for i in range(30)
        ]
        self.dataset = make.dataset(DatasetKind.DEMONSTRATIONS, shown)
        self.rankings = make.dataset(DatasetKind.RANKINGS, ranked)
        self.snapshot = Snapshot(
            kind=DatasetKind.DEMONSTRATIONS, sources={"datasets": [str(self.dataset.id)]}, sha256="0" * 64, rows=0,
            created_by=self.other.person.id,
        )  # fmt: skip
        source = {"project": str(self.project.id)}
        self.freeze = Freeze(kind=DatasetKind.RANKINGS, source=source, total=20_000, created_by=self.other.person.id)
        self.pipeline = Pipeline(spec={}, created_by=self.other.person.id)
        session.add_all([self.snapshot, self.freeze, self.pipeline, Alias(name="champion", model_id=self.model.id)])
        session.add(AliasMove(name="champion", model_id=self.model.id))
        self.job = make.job(Stage.SFT)
        session.flush()
        session.execute(text("UPDATE jobs SET state = 'failed', finished_at = now()"))
        session.refresh(self.job)
        assert self.job.state is JobState.FAILED
        folder = self.settings.home / "artifacts" / str(self.job.id) / str(self.job.epoch)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / gate.PAGE).write_text("<p>a report")
        session.add(Artifact(job_id=self.job.id, name=gate.PAGE, sha256="0" * 64, size=10))

    def _requests_of_other(self) -> None:
        """The other made a project with an Idempotency-Key."""
        body = json.dumps(NEW_PROJECT, separators=(",", ":"), ensure_ascii=False).encode()
        head = f"POST /v1/projects?\n{hashlib.sha256(body).hexdigest()}\n"
        answer = {"id": str(self.held_by_other)}
        self.session.add(
            IdempotencyKey(
                person_id=self.other.person.id, key=REPLAY_KEY, request_hash=hashlib.sha256(head.encode()).hexdigest(),
                status=201, headers={}, body=answer,
            )
        )  # fmt: skip

    def ids(self, path: str, owned: Owned) -> dict[str, str]:
        """What stands for each parameter of a path."""
        theirs = owned is self.other and path.endswith(("/next", "/annotate", "/card"))
        found = {
            "project_id": (self.theirs if theirs else self.project).id,
            "assignment_id": owned.leased,
            "submission_id": owned.submission.id,
            "key_id": owned.key.id,
            "person_id": self.someone.id,
            "task_id": (self.gold if "/gold" in path else self.tasks[1]).id,
            "answer_id": self.other.submission.id,
            "invitation_id": self.invitation.token_hash,
            "token": self.invitation_token,
            "dataset_id": self.dataset.id,
            "snapshot_id": self.snapshot.id,
            "freeze_id": self.freeze.id,
            "erasure_id": owned.erasure.id,
            "job_id": self.job.id,
            "pipeline_id": self.pipeline.id,
            "model_id": self.model.id,
            "upload_id": owned.upload,
            "name": "champion",
            "name:path": gate.PAGE,
            "key": IMPORT_KEY,
        }
        return {name: str(value) for name, value in found.items()}

    def mark(self, route: str) -> str:
        """What the answer holds where it shows what is the other's."""
        other = self.other
        marks = {
            "GET /v1/api-keys": other.key.name,
            "GET /keys": other.key.name,
            "GET /v1/erasures": other.erasure.reason,
            "GET /erasures": other.erasure.reason,
            "GET /v1/submissions": str(other.submission.id),
            "GET /v1/submissions#project": str(other.submission.id),
            "GET /v1/projects/{project_id}#by-person": other.person.pseudonym,
            "GET /projects/{project_id}#by-person": other.person.pseudonym,
            "GET /v1/projects/{project_id}#names": other.person.name,
            "GET /v1/projects/{project_id}/tasks#origin": str(self.model.id),
            "GET /mine": str(other.submission.id),
            "GET /mine#drafts": str(self.theirs.id),
            "GET /v1/projects/{project_id}/annotators#names": self.bystander.name,
            "GET /v1/projects/{project_id}/answers#names": other.person.name,
            "GET /v1/projects/{project_id}/signals#names": other.person.name,
            "GET /v1/projects/{project_id}/hours#names": other.person.name,
            "GET /v1/me/waiting": MESSAGE,
            "GET /waiting": MESSAGE,
            "GET /v1/imports/{key}": str(SEEN_BYTES),
        }
        return marks.get(route, str(self.held_by_other))
