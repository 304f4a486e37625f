"""A home made by an earlier commit still works: restored, migrated, opened, and its training gone on with.

The archive is old_home.py's. What it holds is written here as it was then, and looked for over HTTP alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from alignment.shared.records import Ranking
from annotation_api.settings import Settings
from annotation_api.up import Service
from tests.journey.old_home import ANNOTATOR, RANKED, post, wait

pytestmark = [pytest.mark.postgres, pytest.mark.slow]

ARCHIVE = Path(__file__).parents[1] / "data" / "home-0.1.0.tar"
RANKINGS_SHA256 = "17c01add6b74967a836a7fe4d048e7c6a55df62f50be794f83abded559707a2a"
TUNED_SHA256 = (
    "df4704b7bc83f2dd8993a500bf9bcb0e661f5e310308521293c166079be70b57"  # the weights of the job that was done
)
PAUSED_AFTER, STEPS = 68, 160


@pytest.fixture
def service(empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The archive restored by the command and opened as `rankloop up` does, stages in plain processes."""
    where = {"RANKLOOP_HOME": str(tmp_path / "home"), "RANKLOOP_DATABASE_URL": empty_database}
    rankloop = Path(sys.executable).with_name("rankloop")
    done = subprocess.run(
        [rankloop, "restore", ARCHIVE, "--json"], env=os.environ | where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["damaged"] == []
    monkeypatch.setenv("RANKLOOP_EXECUTOR", "process")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = Settings(home=tmp_path / "home", database_url=empty_database)
    with Service(settings, "127.0.0.1", 0) as running:
        yield running


@pytest.fixture
def engineer(service: Service) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {service.api_key}"}
    with httpx.Client(base_url=service.url, headers=headers, timeout=60) as client:
        yield client


def test_a_home_made_before_opens_and_its_training_goes_on(service: Service, engineer: httpx.Client) -> None:
    assert service.setup_url is None  # there is an admin
    the_annotator_signs_in_and_finds_nothing_left(service, engineer)
    the_rankings_are_those_that_were_frozen(engineer)
    the_tuned_model_is_the_one_that_was_made(engineer)
    (paused,) = jobs(engineer, "paused")

    post(engineer, f"/v1/jobs/{paused['id']}:resume")
    done = wait(engineer, paused["id"], lambda row: row["state"] == "succeeded")

    assert done["progress"]["step"] == STEPS
    saved = engineer.get(f"/v1/jobs/{done['id']}/checkpoints").json()
    assert max(one["step"] for one in saved if one["epoch"] == 1) == PAUSED_AFTER
    assert min(one["step"] for one in saved if one["epoch"] == 2) > PAUSED_AFTER, "training began anew"
    kinds = [model["kind"] for model in items(engineer, "/v1/models")]
    assert sorted(kinds) == ["base", "sft", "sft"]


def the_annotator_signs_in_and_finds_nothing_left(service: Service, engineer: httpx.Client) -> None:
    (project,) = items(engineer, "/v1/projects")
    assert (project["name"], project["progress"]["judged"]) == ("Words", RANKED)
    with httpx.Client(base_url=service.url, timeout=60) as annotator:
        post(annotator, "/v1/session", {key: ANNOTATOR[key] for key in ("email", "password")})
        assert annotator.post(f"/v1/projects/{project['id']}/next").status_code == 204


def the_rankings_are_those_that_were_frozen(engineer: httpx.Client) -> None:
    (snapshot,) = [one for one in items(engineer, "/v1/snapshots") if one["kind"] == "rankings"]
    assert snapshot["sha256"] == RANKINGS_SHA256
    lines = engineer.get(f"/v1/snapshots/{snapshot['id']}/export", params={"format": "jsonl"}).text.splitlines()
    ranked = {ranking.prompt.text: ranking.groups for ranking in map(Ranking.from_line, lines)}
    strict, tied = ((0,), (1,), (2,)), ((0,), (1, 2))
    assert len(ranked) == RANKED
    assert list(ranked.values()).count(tied) == RANKED // 3
    assert set(ranked.values()) == {strict, tied}


def the_tuned_model_is_the_one_that_was_made(engineer: httpx.Client) -> None:
    (job,) = jobs(engineer, "succeeded")
    weights = engineer.get(f"/v1/jobs/{job['id']}/artifacts/model.safetensors").raise_for_status().content
    assert hashlib.sha256(weights).hexdigest() == TUNED_SHA256


def jobs(engineer: httpx.Client, state: str) -> list[dict[str, Any]]:
    return [row for row in items(engineer, "/v1/jobs") if row["state"] == state]


def items(engineer: httpx.Client, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engineer.get(path).raise_for_status().json()["items"]
    return found
