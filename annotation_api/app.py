"""The service, an ASGI application; `parts` says how its process is started (`rankloop serve api`).

Routes come from the feature packages, each with its permission; this file only puts them together.
Importing it loads neither torch, transformers, ray nor datasets.
"""

from __future__ import annotations

import gc
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Semaphore
from typing import Any
from urllib.parse import urlsplit

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from sqlalchemy import Engine
from starlette.datastructures import State
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from annotation_api import logs
from annotation_api.annotation.agreement import routes as agreement
from annotation_api.annotation.gold import routes as gold
from annotation_api.annotation.projects import members
from annotation_api.annotation.projects import routes as project_routes
from annotation_api.annotation.queue import routes as tasks
from annotation_api.annotation.review import comment_routes as comments
from annotation_api.annotation.review import routes as review
from annotation_api.annotation.signals import routes as signals
from annotation_api.annotation.submissions import routes as feedback
from annotation_api.audit import routes as audit
from annotation_api.datasets import routes as datasets
from annotation_api.db.engine import make_engine, session_factory
from annotation_api.erasure import routes as erasure
from annotation_api.exposure import Exposure
from annotation_api.http import downloads, errors
from annotation_api.http.entry.bodies import Bodies
from annotation_api.http.entry.declared import check_permissions
from annotation_api.http.entry.route import check_doors
from annotation_api.http.entry.slots import Slots
from annotation_api.http.entry.uploads import Uploads
from annotation_api.http.middleware import ETags, RequestGuard
from annotation_api.http.monitoring import health, scrape
from annotation_api.http.openapi import document
from annotation_api.http.schemas import ProblemBody
from annotation_api.jobs import detail_routes
from annotation_api.jobs import routes as jobs
from annotation_api.jobs.comparison import routes as comparisons
from annotation_api.jobs.events.watchers import LINES, EventPoller
from annotation_api.jobs.pipelines import routes as pipeline_routes
from annotation_api.models import routes as models
from annotation_api.models import upload_routes
from annotation_api.models.leaderboard import routes as leaderboard
from annotation_api.people import routes as people
from annotation_api.settings import Settings, SettingsError
from annotation_api.web import pages
from annotation_api.web.markup.rendering import render_error

STATIC = Path(pages.__file__).parent / "static"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
SLOTS = 20  # transactions at a time
CLAIM_SLOTS = 14  # for claims and judgements, which never queue behind an import; more threads only hinder each other
JOB_SLOTS = 6  # for new jobs
ERROR_PAGES = 2  # that ask who reads them; more are shown as to a stranger
DAILY_BYTES = 256 * 2**10  # of a claim, a judgement or a new job
WORKERS = SLOTS + CLAIM_SLOTS + JOB_SLOTS + ERROR_PAGES  # threads: who has a slot waits for none
CONNECTIONS = WORKERS + LINES  # nor for a connection
KEPT = 20  # connections that stay open
FEATURES = (
    health,
    scrape,
    people,
    audit,
    tasks,
    project_routes,
    members,
    agreement,
    feedback,
    gold,
    review,
    comments,
    signals,
    datasets,
    comparisons,
    jobs,
    detail_routes,
    pipeline_routes,
    models,
    leaderboard,
    upload_routes,
    erasure,
)


def create_app(settings: Settings | None = None, engine: Engine | None = None) -> FastAPI:
    """The application. Without settings it reads the environment and logs as a service does; connects at the
    first request.

    Raises SettingsError for a setting that cannot work, RuntimeError for a route without a permission.
    """
    own_process = settings is None
    settings = settings or Settings.from_environment()
    app = Api(
        title="Rankloop",
        summary="From human rankings to an aligned language model.",
        version="1",
        openapi_url="/openapi.json",
        docs_url=None,  # its scripts come from elsewhere
        redoc_url=None,
        responses={"default": {"model": ProblemBody, "description": "What is wrong, as problem+json."}},
        generate_unique_id_function=_operation_id,
        lifespan=_lifespan,
    )
    furnish(app, settings, engine or _engine(settings))
    errors.install(app, render_error)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(settings), www_redirect=False)
    app.add_middleware(Exposure)
    app.add_middleware(ETags)
    app.add_middleware(RequestGuard, tls=settings.tls, page=render_error)
    for router in (tasks.daily, feedback.daily, jobs.daily):  # first, because routes are looked through in turn
        app.include_router(router, max_body_size=min(DAILY_BYTES, settings.max_body_bytes))
    for feature in FEATURES:
        app.include_router(feature.router, max_body_size=settings.max_body_bytes)
    app.include_router(pages.router, include_in_schema=False, max_body_size=settings.max_body_bytes)
    app.mount(
        "/static", GZipMiddleware(StaticFiles(directory=STATIC), minimum_size=500, compresslevel=6), name="static"
    )
    check_permissions(app.routes)
    check_doors(app.routes)
    if own_process:
        logs.start("api")
    return app


def furnish(app: FastAPI, settings: Settings, engine: Engine) -> None:
    """What its requests share beside the routes, all of it new: settings, connections, slots, who streams."""
    app.state = State()
    app.state.settings, app.state.engine = settings, engine
    app.state.sessions = session_factory(engine)
    app.state.slots = Slots("slots", SLOTS)
    app.state.claim_slots, app.state.job_slots = Slots("claim-slots", CLAIM_SLOTS), Slots("job-slots", JOB_SLOTS)
    app.state.bodies, app.state.uploads = Bodies(settings.body_seconds), Uploads()
    app.state.download_threads = CapacityLimiter(downloads.THREADS)
    app.state.latest = scrape.Latest()
    app.state.error_pages = Semaphore(ERROR_PAGES)
    app.state.streams = EventPoller(lambda: app.state.sessions)


class Api(FastAPI):
    """As FastAPI, with a document that says more (`document`)."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document.complete(super().openapi(), self.routes, self.state.settings)
        assert self.openapi_schema is not None
        return self.openapi_schema


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    _allow_connections()
    current_default_thread_limiter().total_tokens = WORKERS
    gc.collect()
    gc.freeze()  # what is loaded now stays; to look through it for garbage would stop everybody for 100 ms
    yield
    app.state.engine.dispose()


def _allow_connections() -> None:
    """As many open files as the system lets this process have: each open event stream is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2**16 if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _engine(settings: Settings) -> Engine:
    if settings.database_url is None:
        raise SettingsError(
            "RANKLOOP_DATABASE_URL is not set. Run `rankloop up`, which starts a database, or set it to "
            "postgresql://user:password@host:5432/name."
        )
    return make_engine(settings.database_url, application_name="rankloop-api", kept=KEPT, most=CONNECTIONS)


def _hosts(settings: Settings) -> list[str]:
    """The names that a request may carry: this machine's own (health checks use them) and those that were set."""
    public = urlsplit(settings.public_url or "").hostname
    return [*LOOPBACK, *settings.allowed_hosts, *([public] if public else [])]


def _operation_id(route: APIRoute) -> str:
    """The function's name: `create_project` reads better in a generated client than a path."""
    return route.name
