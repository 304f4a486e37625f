"""The app behind a real port, and a real Chromium to look at it."""

from __future__ import annotations

import copy
import functools
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, expect, sync_playwright
from sqlalchemy import Engine, create_engine

from annotation_api.app import create_app, furnish
from annotation_api.settings import Settings

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@functools.cache
def _put_together() -> FastAPI:
    nowhere = create_engine("postgresql+psycopg://nobody@localhost/none")
    return create_app(Settings(database_url="postgresql://given-by-the-engine"), nowhere)


def app_of(settings: Settings, engine: Engine) -> FastAPI:
    """As `create_app` makes it, but with routes that are put together once: that takes longer than most tests.

    Not for settings that go into what is put together: hosts, TLS, sizes of bodies.
    """
    app = copy.copy(_put_together())
    app.router = copy.copy(app.router)
    app.router.routes = list(app.router.routes)
    app.router.middleware_stack = app.router.app  # which the copy has of the one that it was copied from
    app.middleware_stack = None
    furnish(app, settings, engine)
    return app


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The app's URL, as long as it runs in a thread."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=60_000)  # ms, with a busy machine; the library's own 5 s are for quiet ones
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
