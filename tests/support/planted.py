"""A word planted wherever content lies: rows of every table that holds some, and every file below a home."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from alignment.shared import artifact
from alignment.shared.config import Stage
from alignment.shared.events import StageResult
from alignment.shared.records import Message, Prompt, Ranking, sha256_text
from annotation_api.db import tables
from annotation_api.db.snapshots import freeze

WORD, KEPT = "Zqxplanted", "Kqxkept"


class Planted:
    """A project whose prompts hold the word, and another that holds it only where `person` wrote it."""

    def __init__(self, session: Session, make: Any, home: Path) -> None:
        self.session, self.make, self.home = session, make, home
        self.person, self.reviewer = make.person(tables.Role.ANNOTATOR), make.person(tables.Role.REVIEWER)
        self.owner = make.person(tables.Role.ENGINEER)
        self.project = make.project(self.owner)
        self.asks = Prompt(messages=(Message(role="user", content=f'"{WORD}"\n\\ & <b>'),))
        self.prompt = make.prompt(self.project, self.asks)
        self.task = make.task(self.prompt, (f"{WORD} one", f"{WORD} two"), overlap=3)
        self.kept_task = make.task(make.prompt(self.project, f"{KEPT}?"), (f"{KEPT} a", f"{KEPT} b"), overlap=3)
        self._judge()
        self._freeze()
        self._run()
        self._leave_files()
        session.flush()

    # ------------------------------------------------------------ rows

    def _judge(self) -> None:
        make, add = self.make, self.session.add
        said = {"note": f"{WORD} because", "demonstration": {"text": f"{WORD} better"}}
        self.answer = make.submission(self.task, [[0], [1]], self.person, payload=said)
        self.kept_answer = make.submission(self.kept_task, [[0], [1]], payload={"note": f"{KEPT} because"})
        held = make.assignment(self.task, make.person(tables.Role.ANNOTATOR), state="leased")
        add(tables.Draft(assignment_id=held.id, payload={"note": WORD}))
        passed = make.assignment(self.task, make.person(tables.Role.ANNOTATOR), state="skipped", skip_reason=WORD)
        add(tables.Comment(assignment_id=passed.id, author_id=self.reviewer.id, text=WORD, asks=False))
        add(tables.Comment(assignment_id=self.answer.assignment_id, author_id=self.person.id, text=WORD, asks=True))
        ids = [str(key) for key in make.response_ids(self.task)]
        decided = {"groups": [ids], "note": f"{WORD} decided"}
        add(
            tables.TaskDecision(
                task_id=self.task.id, reviewer_id=self.reviewer.id, kind="ranking", payload=decided, payload_hash="0"
            )
        )
        gold = make.task(self.prompt, overlap=0, gold=True)
        known = {"use": "mixed", "expected": {"order": [ids[:1], ids[1:]]}, "why": WORD, "overlap": 1}
        add(tables.GoldItem(task_id=gold.id, project_id=self.project.id, made_by=self.owner.id, **known))

    def _freeze(self) -> None:
        """The project in each way, a data set with the same prompt, and what was prepared from it."""
        mine = Ranking(prompt=self.asks, responses=(f"{WORD} 1", "2"), groups=((0,), (1,)))
        other = Ranking(prompt=Prompt.from_text(f"{KEPT}?"), responses=("1", "2"), groups=((0,), (1,)))
        self.dataset = self.make.dataset(tables.DatasetKind.RANKINGS, [mine, other])
        kinds = (tables.DatasetKind.RANKINGS, tables.DatasetKind.DEMONSTRATIONS, tables.DatasetKind.PROMPTS)
        self.of_project = [freeze.freeze_project(self.session, self.project.id, self.owner.id, kind) for kind in kinds]
        self.of_dataset = freeze.freeze_dataset(self.session, self.dataset.id, self.dataset.kind, self.owner.id)
        self.prepared = self._prepared()
        self.of_prepared = freeze.freeze_dataset(self.session, self.prepared.id, self.dataset.kind, self.owner.id)

    def _prepared(self) -> tables.Dataset:
        """The word stands in its responses still, though the prompt was changed."""
        query = text("SELECT line FROM snapshot_rows WHERE snapshot_id = :id ORDER BY position")
        line = self.session.scalars(query, {"id": self.of_dataset.id}).first()
        assert line is not None
        changed = Ranking.from_line(line).model_copy(
            update={"prompt": Prompt.from_text("masked"), "lineage": {"original": sha256_text(line)}}
        )
        made = self.make.dataset(tables.DatasetKind.RANKINGS, [changed])
        made.origin = {"job": str(uuid.uuid4()), "snapshot": str(self.of_dataset.id)}
        self.session.flush()
        return made

    def _run(self) -> None:
        """A job that read each of the snapshots, with all that it told."""
        make, session = self.make, self.session
        inputs = {
            "rankings": {"snapshot": str(self.of_dataset.id)},
            "answers": {"snapshot": str(self.of_project[0].id)},
        }
        self.job = make.job(Stage.REWARD, inputs=inputs)
        session.execute(text("UPDATE jobs SET state = 'succeeded', epoch = 1, finished_at = now()"))
        session.refresh(self.job)
        self.job.result = {"metrics": {"accuracy": 0.5}, "details": {"samples": [WORD], "held": 1}}
        self.job.error = {"kind": "bad-input", "cause": WORD, "next_step": "", "traceback": WORD, "log": WORD}
        for seq, (kind, data) in enumerate(
            (
                ("samples", {"step": 1, "rows": [{"prompt": WORD}]}),
                ("look", {"update": 1, "rows": [{"prompt": WORD}]}),
                ("note", {"message": WORD, "level": "info"}),
                ("state", {"state": "failed", "error": {"cause": WORD}}),
            ),
            start=100,
        ):
            session.add(tables.JobEventRow(job_id=self.job.id, seq=seq, epoch=1, type=kind, data=data))
        body = {"id": str(self.task.id), "prompt": WORD}
        session.add(
            tables.IdempotencyKey(person_id=self.owner.id, key="k", request_hash="0", status=201, headers={}, body=body)
        )
        session.flush()

    # ------------------------------------------------------------ files

    def _leave_files(self) -> None:
        staged, final = self.home / "out", self.home / "artifacts" / str(self.job.id) / "1"
        staged.mkdir(parents=True)
        for name in ("examples.jsonl", "reward_report.html", "README.md"):
            (staged / name).write_text(WORD if name != "README.md" else "# A model\n")
        (staged / "model.safetensors").write_bytes(b"weights")
        artifact.write_result(staged, {}, StageResult("reward", {"accuracy": 0.5}, {"samples": [WORD]}))
        sha256 = artifact.publish(staged, final)
        self.model = self.make.model(
            tables.ModelKind.REWARD, path=str(final), sha256=sha256, job_id=self.job.id, snapshot_id=self.of_dataset.id
        )
        self.child = self.make.model(tables.ModelKind.POLICY, name="child")
        self.session.add(tables.ModelParent(model_id=self.child.id, parent_id=self.model.id, relation="reward_model"))
        for name in ("examples.jsonl", "reward_report.html"):
            self.session.add(tables.Artifact(job_id=self.job.id, name=name, sha256="0" * 64, size=1))
        for path in (
            f"logs/{self.job.id}-1.log",
            f"checkpoints/{self.job.id}/1/state.json",
            f"staging/{self.job.id}-1/inputs/rankings.jsonl",
            f"refused/{self.dataset.id}.json",
            f"uploads/{uuid.uuid4()}.{'0' * 64}",
        ):
            (self.home / path).parent.mkdir(parents=True, exist_ok=True)
            (self.home / path).write_text(json.dumps([WORD]))


def found(session: Session, home: Path, word: str) -> list[str]:
    """Every column and every file in which the word stands, written in whatever way."""
    session.expire_all()
    where = []
    for table in inspect(session.connection()).get_table_names():
        condition = f"strpos(lower(whole::text), '{word.lower()}') > 0"
        hits = session.scalar(text(f'SELECT count(*) FROM "{table}" whole WHERE {condition}'))
        where += [f"{table}: {hits}"] if hits else []
    files = (path for path in sorted(home.rglob("*")) if path.is_file())
    return where + [str(path.relative_to(home)) for path in files if word.encode() in path.read_bytes()]
