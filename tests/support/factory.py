"""Rows for tests, with what a test does not care about filled in."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from alignment.shared.config import Stage
from alignment.shared.records import Prompt, Record, canonical_json, sha256_text
from annotation_api.db import form_rows, tables
from annotation_api.db.forms import RankingForm
from annotation_api.db.jobs import requests as job_requests


class Factory:
    """Rows with what a test does not care about filled in; each is flushed, so ids are there."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def _add(self, row: Any) -> Any:
        self.session.add(row)
        self.session.flush()
        return row

    def person(self, role: tables.Role = tables.Role.ENGINEER, **fields: Any) -> tables.Person:
        tag = uuid.uuid4().hex[:8]
        values = {"email": f"{tag}@example.org", "name": tag, "password_hash": "none", "pseudonym": f"annotator-{tag}"}
        return self._add(tables.Person(role=role, **values | fields))

    def project(self, person: tables.Person | None = None, **fields: Any) -> tables.Project:
        person = person or self.person()
        forms = fields.pop("forms", [RankingForm()])
        project = self._add(tables.Project(**{"name": uuid.uuid4().hex, "created_by": person.id} | fields))
        for form in forms:
            form_rows.add_form(self.session, project.id, form, person.id)
        return project

    def prompt(self, project: tables.Project, prompt: Prompt | str = "What is 2 + 2?") -> tables.PromptRow:
        record = Prompt.from_text(prompt) if isinstance(prompt, str) else prompt
        return self._add(tables.PromptRow(project_id=project.id, key=record.key, record=_json(record)))

    def task(self, prompt: tables.PromptRow, texts: tuple[str, ...] = ("four", "five"), **fields: Any) -> tables.Task:
        """A task with one new response for each text, in that order."""
        kind = fields.get("kind", tables.FeedbackKind.RANKING)
        form = form_rows.newest_form(self.session, prompt.project_id, kind)
        values = {"project_id": prompt.project_id, "prompt_id": prompt.id, "overlap": 1, "form_id": form.id}
        task = self._add(tables.Task(**{"judged": 0} | values | fields))
        for position, answer in enumerate(texts):
            response = tables.ResponseRow(prompt_id=prompt.id, text=answer, text_hash=sha256_text(answer))
            self._add(response)
            self._add(tables.TaskResponse(task_id=task.id, position=position, response_id=response.id))
        return task

    def response_ids(self, task: tables.Task) -> list[uuid.UUID]:
        rows = self.session.query(tables.TaskResponse).filter_by(task_id=task.id)
        return [row.response_id for row in rows.order_by(tables.TaskResponse.position)]

    def assignment(self, task: tables.Task, person: tables.Person, **fields: Any) -> tables.Assignment:
        order = [str(i) for i in self.response_ids(task)]
        values = {"state": tables.AssignmentState.SUBMITTED, "display_order": order, "lease_until": text("now()")}
        if (values | fields)["state"] == tables.AssignmentState.SUBMITTED and not task.gold:
            task.judged += 1
        return self._add(tables.Assignment(task_id=task.id, person_id=person.id, **values | fields))

    def submission(
        self, task: tables.Task, groups: list[list[int]], person: tables.Person | None = None, **fields: Any
    ) -> tables.Submission:
        """A judgement of `task`: `groups` hold positions, best first. With `supersedes`, pass `assignment_id` too."""
        ids = self.response_ids(task)
        order = {"groups": [[str(ids[i]) for i in group] for group in groups]} if groups else {}
        payload = order | fields.pop("payload", {})
        if "assignment_id" not in fields:
            fields["assignment_id"] = self.assignment(task, person or self.person(tables.Role.ANNOTATOR)).id
        digest = sha256_text(canonical_json(payload))
        return self._add(tables.Submission(id=uuid.uuid4(), payload=payload, payload_hash=digest, **fields))

    def dataset(
        self, kind: tables.DatasetKind, records: list[Record], person: tables.Person | None = None
    ) -> tables.Dataset:
        """An imported file with one record on each row."""
        counts = {"accepted": len(records), "duplicates": 0, "rejected": 0}
        person = person or self.person()
        values = {"name": "file.jsonl", "format": "jsonl", "sha256": "0" * 64, "created_by": person.id}
        dataset = self._add(tables.Dataset(kind=kind, **values, **counts))
        for number, record in enumerate(records, start=1):
            digest = sha256_text(record.canonical())
            self.session.add(
                tables.DatasetRow(dataset_id=dataset.id, row=number, record_hash=digest, record=_json(record), part=0)
            )
        self.session.flush()
        return dataset

    def model(self, kind: tables.ModelKind = tables.ModelKind.BASE, **fields: Any) -> tables.ModelVersion:
        return self._add(tables.ModelVersion(**{"name": "tiny", "kind": kind, "path": "/models/tiny"} | fields))

    def job(self, stage: Stage = Stage.SFT, **fields: Any) -> tables.Job:
        """A queued job (blocked with `needs`), through the job store."""
        values: dict[str, Any] = {"inputs": {}, "config": {}, "gpus": 0.0}
        if "created_by" not in fields:
            fields["created_by"] = self.person().id
        return job_requests.create_job(self.session, stage, **values | fields)


def _json(record: Record) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
