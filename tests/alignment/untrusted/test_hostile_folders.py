"""Hostile model folders where models are loaded: refused by name, nothing run, nothing read outside."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from alignment.models import view as model_view
from alignment.models.load import load_causal_lm, load_tokenizer
from alignment.shared.errors import BadInput, StageError
from alignment.shared.records import Demonstration, Prompt
from tests.support.alignment import hostile, tiny

NAMES = [*hostile.REFUSED, *hostile.IGNORED]


def spoilt(base: Path, home: Path, name: str) -> Path:
    """A copy of a sound folder, spoilt by the builder of that name."""
    folder = Path(shutil.copytree(base, home / name))
    build = hostile.REFUSED[name][0] if name in hostile.REFUSED else hostile.IGNORED[name]
    build(hostile.Scene(folder, home / "marker", home / "outside"))
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Where folders are spoilt; at the end no code has run."""
    hostile.make_outside(tmp_path / "outside")
    yield tmp_path
    assert not (tmp_path / "marker").exists()


@pytest.fixture
def sound(home: Path) -> Path:
    return tiny.save(tiny.causal(), home / "sound")


def load(folder: Path) -> object:
    return load_causal_lm(folder, load_tokenizer(folder), trained=False)


@pytest.mark.parametrize("name", hostile.REFUSED)
def test_it_is_refused_by_name_where_models_are_loaded(sound: Path, home: Path, name: str) -> None:
    folder = spoilt(sound, home, name)
    with pytest.raises(BadInput) as caught:
        load(folder)
    assert str(folder) in caught.value.cause
    assert caught.value.next_step
    assert hostile.REFUSED[name][1] in str(caught.value)


@pytest.mark.parametrize("name", hostile.IGNORED)
def test_what_is_never_opened_does_not_matter(sound: Path, home: Path, name: str) -> None:
    assert load(spoilt(sound, home, name))


def test_a_stage_on_hostile_folders_runs_no_code_and_reads_nothing_outside(sound: Path, home: Path) -> None:
    rows = [Demonstration(prompt=Prompt.from_text(f"w{i} w1"), response="w2 w3") for i in range(4)]
    (home / "demonstrations.jsonl").write_text("".join(row.canonical() + "\n" for row in rows))
    folders = [str(spoilt(sound, home, name)) for name in NAMES]
    script = str(Path(hostile.__file__).with_name("watched.py"))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, str(home), *folders], capture_output=True, text=True, env=environment, timeout=1200
    )
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["folder"] for row in told] == NAMES, done.stderr[-2000:]
    for row in told:
        assert row["seen"] == [], row
        assert row["ended"] == "trained" if row["folder"] in hostile.IGNORED else row["ended"].startswith("BadInput")
    assert list((home / "views").iterdir()) == []


def test_weights_larger_than_the_files_are_refused_before_they_are_allocated(sound: Path) -> None:
    edit = json.loads((sound / "config.json").read_text()) | {"intermediate_size": 2**40}
    (sound / "config.json").write_text(json.dumps(edit))
    with pytest.raises(StageError, match="describes 211,106"):
        load(sound)


def test_weights_that_lack_a_tensor_are_refused(sound: Path) -> None:
    """The library would begin it at random."""
    weights = load_file(sound / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, sound / "model.safetensors", {"format": "pt"})
    with pytest.raises(StageError, match=r"lack 1 tensors .* model\.layers\.1\.mlp\.up_proj\.weight"):
        load(sound)


def test_a_folder_exchanged_while_it_is_loaded_changes_nothing(sound: Path, home: Path) -> None:
    with model_view.opened(sound, model_view.FolderPart.WEIGHTS) as seen:
        before = {path.name: path.read_bytes() for path in seen.iterdir()}
        (sound / "config.json").write_text('{"auto_map": {}}')
        (sound / "new.safetensors").write_bytes(b"evil")
        (sound / "new.safetensors").rename(sound / "model.safetensors")
        assert {path.name: path.read_bytes() for path in seen.iterdir()} == before
    assert not seen.exists()


@pytest.mark.parametrize("member", ["../outside", "/etc", ".", "..", "a/b", "a\n", "", 7])
def test_members_of_an_ensemble_stay_in_its_folder(sound: Path, home: Path, member: object) -> None:
    (sound / "ensemble.json").write_text(
        json.dumps({"members": [member], "combine": "mean", "variance_coef": 1.0, "adapters": False})
    )
    with pytest.raises(BadInput, match="ensemble"):
        load_tokenizer(sound)


def test_a_member_that_is_a_link_is_refused(sound: Path, home: Path) -> None:
    (sound / "member-0").symlink_to(home / "outside")
    (sound / "ensemble.json").write_text(
        json.dumps({"members": ["member-0"], "combine": "mean", "variance_coef": 1.0, "adapters": False})
    )
    with pytest.raises(StageError, match="names 'member-0'"):
        load_tokenizer(sound)


def test_links_within_a_hub_cache_are_followed(sound: Path, home: Path) -> None:
    cache = home / "models--org--name"
    snapshot = cache / "snapshots" / ("a" * 40)
    (cache / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in sound.iterdir():
        path.rename(cache / "blobs" / f"{path.name}-blob")
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}-blob")
    assert load(snapshot)
