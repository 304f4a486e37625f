"""The house itself: import doors, presets, one fact in one place."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from alignment.shared.config import CONFIGS, PRESETS, Stage, load_preset, preset_names
from annotation_api.db.kinds import ErrorKind
from tests.support import house

ROOT = Path(__file__).parent.parent


LIGHT = (
    "alignment.shared.stages",
    "workers.executors.process",
    "workers.attempt.launcher",
    "workers.__main__",
    "annotation_api.app",
)


def test_a_light_process_loads_no_model_library() -> None:
    """import-linter sees the lines; only a fresh process sees what leaks through a package."""
    looks = f"*sorted({house.HEAVY!r} & set(sys.modules))"
    code = "import sys\n" + "\n".join(f"import {name}; print({name!r}, {looks})" for name in LIGHT)
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [*LIGHT], "a name after a module is a library that it loaded, or one before it"


def test_rooms_are_small_siblings_go_in_no_circle_and_a_class_name_has_one_meaning() -> None:
    product = house.files(*house.PACKAGES)
    assert house.full_folders(house.files(*house.PACKAGES, "tests")) == []
    assert house.circles() == []
    assert house.class_names(product) == []


def test_the_science_knows_nothing_of_the_service() -> None:
    """Kinds of errors, jobs and their attempts are the service's: workers.stage.faults makes the one of the other."""
    known = {kind.value for kind in ErrorKind} | {"job", "job_id", "attempt", "ErrorKind"}
    for path in house.files("alignment"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            said = [getattr(node, field, None) for field in ("id", "arg", "value")]
            words = {word for word in said if isinstance(word, str)}
            assert not words & known, (path, getattr(node, "lineno", 0))


def test_every_preset_loads_for_every_stage() -> None:
    assert "toy" in preset_names()
    for name in preset_names():
        tables = tomllib.loads((PRESETS / f"{name}.toml").read_text())
        assert set(tables) <= {stage.value for stage in Stage}
        for stage in Stage:
            load_preset(name, stage)


def test_every_setting_has_a_sentence() -> None:
    for model in CONFIGS.values():
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"
            assert field.description.rstrip().endswith("."), f"{model.__name__}.{name}"


def test_what_the_tests_need_of_the_system_is_named_where_it_cannot_be_installed(tmp_path: Path) -> None:
    """`make test` asks for it first; here by somebody who is not root, where nothing is."""
    for name, says in {"id": "1000", "uname": "Linux"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho {says}\n")
        (tmp_path / name).chmod(0o755)
    make = shutil.which("make")
    assert make is not None
    done = subprocess.run([make, "tools"], cwd=ROOT, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode != 0
    assert "The tests need chromium iproute2 util-linux:" in done.stdout


def test_dependencies_are_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *(line for extra in extras.values() for line in extra)]:
        own = line.removeprefix("rankloop[").removesuffix("]")  # an extra that has another one in it
        assert "==" in line or own in extras, line


def test_compose_scrapes_a_path_that_is_there_under_a_host_that_is_let_in() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    config = yaml.safe_load(compose["configs"]["prometheus"]["content"])
    (scrape,) = config["scrape_configs"]
    assert "metrics_path" not in scrape  # the default, /metrics, is ours
    assert scrape["static_configs"] == [{"targets": ["api:8000"]}]
    api = compose["services"]["api"]["environment"]
    assert api["RANKLOOP_ALLOWED_HOSTS"].split(",")[0] == "api"
    assert scrape["authorization"]["credentials_file"] == api["RANKLOOP_METRICS_TOKEN_FILE"]
    assert {"metrics_token"} <= {*compose["secrets"], *compose["services"]["prometheus"]["secrets"]}


def test_tasks_have_one_writer() -> None:
    """Three had drifted: how a prompt is stored agreed only because its optional fields default to null."""
    writes = re.compile(
        r"\b(Task|PromptRow|ResponseRow|TaskResponse)\(\s*[a-z_]+=|insert\((Task|PromptRow|ResponseRow|TaskResponse)\)"
        r"|INSERT INTO (tasks|prompts|responses|task_responses)\b"
    )
    files = [path for package in ("annotation_api", "workers") for path in (ROOT / package).rglob("*.py")]
    assert [path.name for path in files if writes.search(path.read_text("utf-8"))] == []
    assert "INSERT INTO {table}" in (ROOT / "annotation_api/db/tasks.py").read_text("utf-8")


def test_a_place_is_taken_by_one_definition() -> None:
    """A lease that runs is compared with the clock in one file (what ends leases asks the opposite)."""
    says = re.compile(r"lease_until *> *(clock_timestamp|NOW|func)")
    files = [path for path in (ROOT / "annotation_api").rglob("*.py") if says.search(path.read_text("utf-8"))]
    assert [path.name for path in files] == ["places.py"]


def test_the_command_line_offers_what_the_service_defines() -> None:
    """Its choices are the enums' own values; a copy would miss the next one. That it loads no library for that,
    cli/test_cli.py asks."""
    source = (ROOT / "annotation_api/cli/command_line.py").read_text("utf-8")
    assert re.findall(r"choices=\(\"|^[A-Z]+ = \(\s*\"", source, re.M) == []
