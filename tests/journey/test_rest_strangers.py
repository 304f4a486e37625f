"""People who have the OpenAPI document and the guide, and nothing else: a generated client, and curl.

One service for both: a database, an API and a dispatcher whose stages run in plain processes.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from alignment.shared.config import BaseModelConfig
from alignment.shared.events import NullReporter
from annotation_api.cli.streamed import parse_events
from annotation_api.settings import Settings
from annotation_api.up import Service

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "rest.md"
SMALL = {"batch_size": 8, "micro_batch_size": 8, "max_length": 64}
FENCED = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANSWERS = re.compile(r"^```json\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that the unprivileged database server may enter."""
    path = Path(tempfile.mkdtemp(prefix="rankloop-strangers-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    from alignment.toyworld.base_model import train_base_model

    tiny = BaseModelConfig(hidden_size=32, layers=2, heads=2, vocab_size=256, max_length=64, batch_size=8, steps=40)
    train_base_model(
        ["question 1 a short answer", "question 2 no"] * 40, tiny, folder / "work" / "base", NullReporter()
    )
    return folder / "work" / "base"


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANKLOOP_EXECUTOR", "process")
        patch.setenv("OMP_NUM_THREADS", "1")
        with Service(Settings(home=folder / "home"), "127.0.0.1", 0, say=lambda text: None) as running:
            yield running


# ---------------------------------------------------------------- a generated client


class Generated:
    """Calls operations by their ids, with the generated classes for what is sent and what comes back."""

    def __init__(self, url: str, key: str | None, folder: Path) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60)
        self.document = self.http.get("/openapi.json").json()
        self.models = _generate(self.document, folder)
        self.operations = {
            operation["operationId"]: (method, path, operation)
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
        }

    def __call__(self, name: str, body: BaseModel | None = None, **given: Any) -> Any:
        """The answer as its documented class; the statuses of success are the documented ones."""
        method, path, operation = self.operations[name]
        form = {key: given.pop(key) for key in ("files", "data") if key in given}
        url = path.format(**given)
        sent = {"content": body.model_dump_json(exclude_unset=True)} if body is not None else form
        headers = {"Content-Type": "application/json"} if body is not None else {}
        answer = self.http.request(method, url, headers=headers, **sent)
        documented = operation["responses"][str(answer.status_code)]
        assert answer.is_success, answer.text
        schema = documented["content"]["application/json"]["schema"]
        return getattr(self.models, schema["$ref"].rpartition("/")[2]).model_validate_json(answer.content)


def _generate(document: dict[str, Any], folder: Path) -> ModuleType:
    """The classes that datamodel-code-generator makes of the document."""
    source, made = folder / "openapi.json", folder / "stranger_models.py"
    source.write_text(json.dumps(document))
    options = [
        "--input-file-type",
        "openapi",
        "--output-model-type",
        "pydantic_v2.BaseModel",
        "--formatters",
        "builtin",
    ]
    command = [sys.executable, "-m", "datamodel_code_generator", "--input", str(source), "--output", str(made)]
    subprocess.run([*command, *options], check=True, stderr=subprocess.DEVNULL)
    spec = importlib.util.spec_from_file_location(made.stem, made)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[made.stem] = module
    spec.loader.exec_module(module)
    return module


def test_a_client_made_from_the_document_goes_the_whole_way(service: Service, base: Path, tmp_path: Path) -> None:
    """As an engineer: a model, data, a project, a snapshot, a job that is validated, made and followed to its end."""
    client = Generated(service.url, service.api_key, tmp_path)
    new = client.models

    upload = client("begin_upload", new.NewUpload(name="sent by a stranger"))
    for file in base.iterdir():
        if file.suffix in (".json", ".safetensors", ".jinja") and file.name not in ("manifest.json", "result.json"):
            headers = {"Content-Type": "application/octet-stream"}
            client.http.put(
                f"/v1/model-uploads/{upload.id}/files/{file.name}", content=file.read_bytes(), headers=headers
            ).raise_for_status()
    model = client("finish_upload", upload_id=upload.id)

    rows = [{"prompt": f"question {n}", "completion": "a short answer"} for n in range(20)]
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    report = client("import_dataset", files={"file": ("d.jsonl", lines)}, data={"kind": "demonstrations"})
    assert (report.accepted, report.rejected) == (20, 0)
    kind = new.DatasetKind.demonstrations
    snapshot = client("create_snapshot", new.NewSnapshot(kind=kind, dataset=report.dataset))
    assert snapshot.rows == 20

    project = client("create_project", new.NewProject(name=f"asked by a stranger {uuid.uuid4()}"))
    asked = {"messages": [{"role": "user", "content": "2 + 2?"}]}
    task = new.NewTask(prompt=asked, responses=[new.NewResponse(text="4"), new.NewResponse(text="five")])
    answer = client.http.post(f"/v1/projects/{project.id}/tasks", json=[task.model_dump(exclude_unset=True)])
    assert len(new.TaskIds.model_validate_json(answer.content).ids) == 1

    inputs = new.SFTJobInputs(model=new.ModelRef(model=model.id), demonstrations=new.DataRef(snapshot=snapshot.id))
    config = new.SFTConfig(**SMALL, epochs=1)
    job = new.NewJob(root=new.SFTJob(stage="sft", inputs=inputs, config=config, gpus=0))
    assert client("validate_job", job).ok
    made = client("create_job", job)
    events = follow(client, made.id)
    assert {event.event for event in events} >= {"state", "progress", "end"}
    assert events[-1].data.state == new.JobState.succeeded
    shown = client("show_job", job_id=made.id)
    policy = client("show_model", model_id=shown.result["model"])
    assert (policy.kind, policy.job_id) == (new.ModelKind.sft, made.id)


def follow(client: Generated, job: uuid.UUID) -> list[Any]:
    """A job's events, each as the document describes it."""
    with client.http.stream("GET", f"/v1/jobs/{job}/events", timeout=120) as stream:
        told = [{"event": one.type, "id": one.id, "data": one.data} for one in parse_events(stream.iter_lines())]
    return [client.models.JobEvent.model_validate(one).root for one in told]


# ---------------------------------------------------------------- the guide


def test_the_guide_leads_from_nothing_to_a_policy_line_by_line(service: Service, base: Path) -> None:
    assert service.setup_url
    guide = GUIDE.read_text("utf-8")
    # What is piped on for a field of it is an answer, too.
    script = "\n".join(FENCED.findall(guide)).replace("value() { grep", "value() { tee -a answers | grep", 1)
    work = base.parent
    environment = {**os.environ, "URL": service.url, "TOKEN": service.setup_url.rpartition("/")[2]}
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script], cwd=work, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "unknown-parameter" in done.stdout
    assert (work / "model.safetensors").stat().st_size > 1000
    assert {node["type"] for node in json.loads((work / "lineage.json").read_text())["nodes"]} >= {"model", "job"}
    answers = list(_documents(done.stdout + (work / "answers").read_text()))
    shown = [json.loads(text) for text in ANSWERS.findall(guide)]
    assert len(shown) == 10
    assert [text for text in shown if not any(_is_part(text, answer) for answer in answers)] == []


def _documents(text: str) -> Iterator[Any]:
    """Every JSON object and list that stands in a text."""
    decoder, at = json.JSONDecoder(), 0
    while (begin := re.compile(r"[\[{]").search(text, at)) is not None:
        try:
            found, at = decoder.raw_decode(text, begin.start())
            yield found
        except ValueError:
            at = begin.end()


def _is_part(shown: Any, answer: Any) -> bool:
    """Whether an answer has all that is shown of one: its fields, of the same types, and a line of each list."""
    match shown, answer:
        case dict(), dict():
            return all(name in answer and _is_part(value, answer[name]) for name, value in shown.items())
        case list(), list():
            return all(any(_is_part(value, other) for other in answer) for value in shown)
    return type(shown) is type(answer)
