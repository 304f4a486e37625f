"""Ready is what annotators need; what only jobs need makes the service degraded."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text, update
from sqlalchemy.orm import Session

from annotation_api.db import dispatchers
from annotation_api.db.tables import DispatcherRow, RayState
from annotation_api.settings import Settings
from tests.support.live import app_of


def ready(client: TestClient) -> tuple[int, str, str, str]:
    answer = client.get("/readyz")
    body = answer.json()
    return answer.status_code, body["status"], body["parts"]["dispatcher"], body["parts"]["ray"]


@pytest.fixture
def seen(session: Session) -> Callable[[str, RayState], None]:
    return lambda name, ray: dispatchers.report(session, name, slots=1, busy=0, ray=ray)


def test_without_a_dispatcher_the_service_is_degraded_and_ready(client: TestClient) -> None:
    assert client.get("/readyz").json() == {
        "status": "degraded",
        "parts": {"database": "ok", "schema": "ok", "dispatcher": "missing", "ray": "unknown"},
    }


def test_one_dispatcher_whose_ray_works_is_enough(client: TestClient, seen: Callable[[str, RayState], None]) -> None:
    seen("a:1", RayState.DOWN)
    assert ready(client) == (200, "degraded", "ok", "down")
    seen("b:1", RayState.LOCAL)
    assert ready(client) == (200, "ok", "ok", "local")
    seen("b:1", RayState.UP)
    assert ready(client) == (200, "ok", "ok", "up")


def test_a_dispatcher_that_fell_silent_is_missing(
    client: TestClient, session: Session, seen: Callable[[str, RayState], None]
) -> None:
    seen("a:1", RayState.UP)
    session.execute(update(DispatcherRow).values(seen_at=text("clock_timestamp() - interval '31 seconds'")))
    assert ready(client) == (200, "degraded", "missing", "unknown")


def test_another_schema_level_is_503_with_the_command_that_mends_it(fresh_database: str, fresh_engine: Engine) -> None:
    with fresh_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    client = TestClient(app_of(Settings(database_url=fresh_database), fresh_engine), base_url="http://localhost")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:rankloop:schema-version")
    assert "rankloop up" in answer.json()["detail"]
    assert client.get("/healthz").json() == {"status": "ok"}
