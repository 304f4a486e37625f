"""Pages on jobs and models: what there is, how it goes, where it came from."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from alignment import gate
from annotation_api.db.job_machine import ENDED
from annotation_api.db.tables import Job, ModelVersion
from annotation_api.dependencies import ENGINEERS, READS_RUNS, Config, Db, Me, allow
from annotation_api.jobs import artifacts
from annotation_api.jobs import service as jobs
from annotation_api.models import service as models
from annotation_api.models.lineage import lineage
from annotation_api.models.schemas import Lineage, Node
from annotation_api.web import queries
from annotation_api.web.charts import HEIGHT, WIDTH, curves
from annotation_api.web.rendering import render, see_other

router = APIRouter()

REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"  # no script at all


@router.get("/jobs", dependencies=[allow(*READS_RUNS)])
def jobs_page(request: Request, session: Db, me: Me) -> Response:
    return render(request, "jobs.html", me, jobs=queries.newest(session, Job))


@router.get("/jobs/{job_id}", dependencies=[allow(*READS_RUNS)])
def job_page(job_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    job = jobs.get(session, job_id)
    return render(
        request,
        "job.html",
        me,
        job=job,
        ended=job.state in ENDED,
        last_event=queries.last_event(session, job.id),
        curves=curves(queries.metrics_of(session, job.id)),
        box=(WIDTH, HEIGHT),
        notes=queries.notes_of(session, job.id),
        samples=queries.last_samples(session, job.id),
        checkpoints=queries.checkpoints_of(session, job.id),
        model=queries.model_of_job(session, job.id),
        report=queries.has_report(session, job.id),
        samples_shown=queries.SAMPLES_SHOWN,
    )


@router.get("/jobs/{job_id}/report", dependencies=[allow(*READS_RUNS)])
def report_page(job_id: uuid.UUID, session: Db, settings: Config) -> FileResponse:
    """The report that a reward job wrote. It brings its own styles, so it gets a policy of its own."""
    path = artifacts.file_of(session, settings, jobs.get(session, job_id), gate.PAGE)
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": REPORT_POLICY})


@router.post("/jobs/{job_id}/cancel", dependencies=[allow(*ENGINEERS)])
def cancel(job_id: uuid.UUID, session: Db) -> Response:
    jobs.cancel(session, job_id)
    return see_other(f"/jobs/{job_id}")


@router.post("/jobs/{job_id}/retry", dependencies=[allow(*ENGINEERS)])
def retry(job_id: uuid.UUID, session: Db) -> Response:
    jobs.retry(session, job_id)
    return see_other(f"/jobs/{job_id}")


@router.get("/models", dependencies=[allow(*READS_RUNS)])
def models_page(request: Request, session: Db, me: Me) -> Response:
    return render(
        request,
        "models.html",
        me,
        models=queries.newest(session, ModelVersion),
        aliases=queries.aliases_by_model(session),
    )


@router.get("/models/{model_id}", dependencies=[allow(*READS_RUNS)])
def model_page(model_id: uuid.UUID, request: Request, session: Db, me: Me) -> Response:
    model = models.get_model(session, model_id)
    graph = lineage(session, model)
    aliases = queries.aliases_by_model(session).get(model.id, [])
    return render(
        request,
        "model.html",
        me,
        model=model,
        aliases=aliases,
        tree=branches(graph),
        report=queries.has_report(session, model.job_id),
    )


@dataclass(frozen=True)
class Branch:
    """A line of the lineage as a tree; what appeared before is named again but not unfolded."""

    depth: int
    relation: str
    node: Node
    again: bool


def branches(graph: Lineage) -> list[Branch]:
    """The lineage as indented lines, depth first from the model."""
    nodes = {node.id: node for node in graph.nodes}
    lines: list[Branch] = []
    seen: set[uuid.UUID] = set()

    def unfold(key: uuid.UUID, depth: int, relation: str) -> None:
        lines.append(Branch(depth, relation, nodes[key], key in seen))
        if key in seen:
            return
        seen.add(key)
        for edge in graph.edges:
            if edge.source == key:
                unfold(edge.target, depth + 1, edge.relation)

    unfold(graph.nodes[0].id, 0, "")
    return lines
