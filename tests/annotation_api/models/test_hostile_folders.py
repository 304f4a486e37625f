"""Hostile model folders and paths at the door: 422 with a reason, no row, no code run, nothing looked at outside."""

import json
import re
import shutil
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from annotation_api.db.tables import ModelVersion, Role
from annotation_api.http.errors import ApiError
from annotation_api.models import folders
from annotation_api.settings import Settings
from tests.support.alignment import hostile, tiny

As = Callable[..., TestClient]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tiny.causal(), tmp_path_factory.mktemp("sound") / "sound")


@pytest.fixture
def scene(app: FastAPI, sound: Path, tmp_path: Path) -> Iterator[hostile.Scene]:
    """A sound folder below the only root, and beside the root what must not be read; at the end no code has run."""
    folder = Path(shutil.copytree(sound, tmp_path / "models" / "tiny"))
    app.state.settings = app.state.settings.model_copy(update={"model_roots": (folder.parent,)})
    yield hostile.Scene(folder, tmp_path / "marker", hostile.make_outside(tmp_path / "outside"))
    assert not (tmp_path / "marker").exists()


def register(client: TestClient, path: object) -> Any:
    return client.post("/v1/models", json={"name": "tiny", "path": str(path)})


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_a_hostile_folder_is_refused_by_name(as_: As, scene: hostile.Scene, session: Session, name: str) -> None:
    build, words = hostile.REFUSED[name]
    build(scene)
    answer = register(as_(Role.ENGINEER), scene.folder)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/path"
    assert words in answer.json()["detail"]
    assert "secret" not in answer.text
    assert session.scalar(select(func.count()).select_from(ModelVersion)) == 0


@pytest.mark.parametrize("name", hostile.IGNORED)
def test_what_is_never_opened_does_not_matter(as_: As, scene: hostile.Scene, name: str) -> None:
    hostile.IGNORED[name](scene)
    assert register(as_(Role.ENGINEER), scene.folder).status_code == 201


@pytest.mark.parametrize("target", ["pipe", "secret.json"])
def test_a_manifest_is_not_followed_out(as_: As, scene: hostile.Scene, target: str) -> None:
    (scene.folder / "manifest.json").symlink_to(scene.outside / target)
    assert register(as_(Role.ENGINEER), scene.folder).status_code == 422


def test_what_lies_outside_is_not_told(as_: As, scene: hostile.Scene) -> None:
    """There is a folder, and there is none: the same answer."""
    client = as_(Role.ENGINEER)
    there, not_there = (register(client, scene.outside.with_name(name)) for name in ("outside", "nowhere"))
    assert there.status_code == not_there.status_code == 422
    assert there.json()["detail"].replace("/outside ", "/nowhere ") == not_there.json()["detail"]


HUB_IDS = [
    *("Qwen/../../x", "Qwen/x/../../y", "Qwen/..", "Qwen/.", "../Qwen/x", "./Qwen/x", "Qwen//x", "Qwen/x/", "/Qwen/x"),
    *(
        "//proc/self/environ",
        "/proc/self/cwd",
        "Qwen/x#fragment",
        "Qwen/x?a=b",
        "Qwen/%2e%2e%2fx",
        "Qwen\\x",
        "Qwen/x y",
    ),
    *("qwen/x", "QWEN/x", "Qwen/x\n", "Qwen/х", "Ｑwen/x", "Qwen/x@main", "Qwen/x@refs/pr/1", "Qwen/x@" + "a" * 39),
    *(
        "Qwen/x@" + "A" * 40,
        "Qwen/x--y",
        "Qwen/x..y",
        "Qwen/x-",
        "Qwen/-x",
        "Qwen/.x",
        "Qwen/" + "x" * 97,
        "Qwen",
        "Qwen/",
    ),
    *("https://example.com/Qwen/x", "file:///etc/passwd", "~/Qwen/x", "$HOME/x", "Qwen/x\u202e", "Qwen/x\u200b", ""),
]


@pytest.mark.parametrize("path", HUB_IDS)
def test_what_only_looks_like_an_allowed_hub_id_is_refused(
    as_: As, scene: hostile.Scene, app: FastAPI, path: str
) -> None:
    app.state.settings = app.state.settings.model_copy(update={"hub_models": ("Qwen/*",)})
    assert register(as_(Role.ENGINEER), path).status_code == 422


def test_a_hub_id_may_be_pinned_to_a_commit(as_: As, scene: hostile.Scene, app: FastAPI) -> None:
    app.state.settings = app.state.settings.model_copy(update={"hub_models": ("Qwen/*",)})
    for path in ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B@" + "0a" * 20):
        assert register(as_(Role.ENGINEER), path).json()["path"] == path


PARTS = st.one_of(
    st.sampled_from(
        ["..", ".", "", "/", "//", "tiny", "models", "outside", "link", "~", "%2e%2e", "proc", "self", "cwd"]
    ),
    st.sampled_from(
        ["\0", "\n", "\ud800", "\u202e", "．．", "‥", "a" * 300, "a" * 5000, "Qwen", "Qwen/x", "@" + "a" * 40]
    ),
    st.text(max_size=12),
    st.text(alphabet=string.printable, max_size=8),
)
ROOTS = st.sampled_from(["", "/", "//", "ROOT/", "ROOT/tiny/", "ROOT/../", "./", "../", "ROOT/link/"])
JOINTS = st.sampled_from(["/", "//", "\\", "/./", "/../", ""])
PATHS = st.one_of(
    st.builds(lambda root, parts, joint: root + joint.join(parts), ROOTS, st.lists(PARTS, max_size=8), JOINTS),
    st.builds(lambda parts, end: "/".join(parts) + end, st.lists(PARTS, max_size=2), PARTS),
    st.builds(lambda name, end: f"Qwen/{name}{end}", st.text("ab.-_", min_size=1, max_size=4), PARTS),
    st.builds(lambda root, parts: f"{root}/tiny" + "".join(parts), ROOTS, st.lists(st.sampled_from(["/", "/."]))),
)


@pytest.mark.parametrize(
    "count", [1_000, pytest.param(10_000, marks=pytest.mark.deep(reason="ten times as many of the same"))]
)
def test_no_path_leads_out_of_the_roots(sound: Path, tmp_path: Path, count: int) -> None:
    """So many paths against the door's own function: a folder below the root, an allowed id, or a 422."""
    root = Path(shutil.copytree(sound, tmp_path / "models" / "tiny")).parent
    shutil.copytree(sound, tmp_path / "outside")  # would be usable, were it not outside
    (root / "link").symlink_to(tmp_path / "outside")
    service = Settings(home=tmp_path / "home", model_roots=(root,), hub_models=("Qwen/*",))
    ended = {"folder": 0, "hub": 0, "refused": 0}

    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(PATHS)
    def try_path(path: str) -> None:
        try:
            found = folders.resolve(path.replace("ROOT", str(root)), service)
        except ApiError as error:
            ended["refused" if error.status == 422 else "else"] += 1
            return
        if found.startswith("/"):
            assert Path(found).resolve() == root / "tiny"
            ended["folder"] += 1
        else:
            assert re.fullmatch(r"Qwen/[A-Za-z0-9._-]+(@[0-9a-f]{40})?", found, re.ASCII)
            ended["hub"] += 1

    try_path()
    assert ended["folder"] > count / 100
    assert ended["hub"] > count / 100
    assert ended["refused"] > count / 2


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "/", "", "x" * 4096, "/" + "x/" * 2000, "tiny/" + "../" * 1000])
def test_odd_paths_are_no_fault_of_the_service(as_: As, scene: hostile.Scene, path: str) -> None:
    answer = as_(Role.ENGINEER).post(
        "/v1/models",
        content='{"name": "a", "path": ' + json.dumps(path) + "}",
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in (400, 422)
