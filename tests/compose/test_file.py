"""docker-compose.yml and Dockerfile as they are read: nothing in them is passed over, nothing is left out of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from annotation_api.processes import parts
from annotation_api.processes.part import Part
from annotation_api.settings import Settings
from annotation_api.worker_settings import WorkerSettings
from tests.compose.conftest import ROOT
from tests.compose.docker import blocks
from tests.compose.spec import Compose, read_compose, read_dockerfile

ONE = "name: x\nservices:\n  a:\n    image: rankloop:1\n"


@pytest.fixture(scope="module")
def compose() -> Compose:
    return read_compose(ROOT / "docker-compose.yml", {})


@pytest.mark.parametrize(
    "line",
    [
        "privileged: true",
        "restart: always",
        "cap_add: [SYS_ADMIN]",
        "network_mode: host",
        "healthcheck: {disable: true}",
    ],
)
def test_what_the_harness_does_not_carry_out_is_an_error(tmp_path: Path, line: str) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text(ONE)
    assert read_compose(file, {}).services["a"].image == "rankloop:1"
    file.write_text(f"{ONE}    {line}\n")
    with pytest.raises(ValueError, match=r"extra|Input should be|not carried out|Field required"):
        read_compose(file, {})


@pytest.mark.parametrize("line", ["EXPOSE 8000", "RUN curl http://example.org", "ENTRYPOINT [a]", "ADD x y"])
def test_so_is_what_it_cannot_build(tmp_path: Path, line: str) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(f"FROM a AS build\nFROM b\n{line}\n")
    with pytest.raises(ValueError, match="does not carry out"):
        read_dockerfile(file)


def test_variables_come_from_the_environment_and_from_a_file_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text(
        f"{ONE}    mem_limit: ${{MEMORY:-2g}}\n    environment: {{A: '${{A:-}}', B: 'x,${{B:-}}', C: $$C}}\n"
    )
    (tmp_path / ".env").write_text("# a comment\nA=1\n")
    service = read_compose(file, {"B": "2"}).services["a"]
    assert (service.mem_limit, service.environment) == (2 * 2**30, {"A": "1", "B": "x,2", "C": "$C"})
    assert read_compose(file, {"MEMORY": "512m"}).services["a"].mem_limit == 512 * 2**20


def test_every_setting_reaches_the_process_that_reads_it(compose: Compose) -> None:
    """Those of the service reach the API, those of workers the dispatcher; each may be set in .env."""
    api, dispatcher = compose.services["api"].environment, compose.services["dispatcher"].environment
    for name in WorkerSettings.model_fields:
        variable = f"RANKLOOP_{name.upper()}"
        reader = api if name in Settings.model_fields and name != "ray_address" else dispatcher
        assert variable in reader or f"{variable}_FILE" in reader, variable


def test_every_process_is_started_by_the_one_place_that_knows_how(compose: Compose) -> None:
    started = {name: service.command for name, service in compose.services.items() if service.image == "rankloop:0.1.0"}
    assert started.pop("migrate") == ["rankloop", "migrate"]
    for name, command in started.items():
        assert command, name
        assert command[:2] == ["rankloop", "serve"], name
        assert {word for word in command[2:] if not word.startswith("-") and word != "0.0.0.0"} <= {*Part}, name


def test_rays_object_store_fits_into_shared_memory(compose: Compose) -> None:
    """Else Ray puts it into files, and says so in a warning that nobody reads."""
    for name in ("dispatcher", "ray-worker-gpu"):
        assert compose.services[name].shm_size > parts.OBJECT_STORE_BYTES * 1.25, name


def test_every_service_is_bounded(compose: Compose) -> None:
    for name, service in compose.services.items():
        assert service.mem_limit, name
        assert service.logging is not None, name
        assert service.restart == ("no" if name == "migrate" else "unless-stopped")


def test_what_stays_up_has_a_check_that_notices_when_it_does_not(compose: Compose) -> None:
    for name in ("db", "api", "dispatcher"):
        assert compose.services[name].healthcheck, name


def test_the_document_names_the_blocks_that_are_run() -> None:
    named = blocks(ROOT / "docs" / "deploy.md")
    assert set(named) == {"secrets", "up", "profiles", "model", "proxy", "backup", "restore", "upgrade"}
