"""How each process of the service is started: the one place that says so.

`rankloop up` starts them from here, and so does `rankloop serve PART...`, which is what containers and units of
a supervisor run.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from annotation_api.processes.part import Part
from annotation_api.settings import Settings, SettingsError

RAY_PORT = 6379  # where a head listens, unless RANKLOOP_RAY_ADDRESS says otherwise
# Events and settings only: models and data travel as files. It must fit into the machine's /dev/shm.
OBJECT_STORE_BYTES = 80 * 2**20
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is sent home
    "RAY_ROTATION_MAX_BYTES": str(5 * 2**20),  # of each of its logs, in its temporary folder
    "RAY_ROTATION_BACKUP_COUNT": "1",
}


def command(part: Part, settings: Settings, host: str, port: int) -> list[str]:
    """The part's process; `host` and `port` are where the API listens. Raises SettingsError."""
    match part:
        case Part.API:
            return api_command(host, port)
        case Part.DISPATCHER:
            return [sys.executable, "-m", "workers"]
        case Part.RAY_HEAD:
            return [*_ray_start(part, settings), "--head", f"--port={_ray_port(settings)}", "--include-dashboard=false"]
        case Part.RAY_NODE:
            if settings.ray_address in (None, "auto"):
                raise SettingsError("RANKLOOP_RAY_ADDRESS is not set to the cluster's head, host:port.")
            return [*_ray_start(part, settings), f"--address={settings.ray_address}"]


def environment(part: Part, settings: Settings, given: Mapping[str, str]) -> dict[str, str]:
    """What the part is told. Raises SettingsError where Ray would take work from anybody who reaches it.

    To the API, uploads under way are files without a name in the home: /tmp is memory on many machines.
    """
    if part is Part.API:
        return {"TMPDIR": str(settings.home.resolve())} | dict(given)
    if not part.of_ray:
        return dict(given)
    if "RAY_AUTH_MODE" not in given:
        raise SettingsError(
            "RAY_AUTH_MODE is not set. Ray listens on every address: set it to token and name a file with a random "
            "token in RAY_AUTH_TOKEN_PATH (`openssl rand -hex 32`), the same for all machines of the cluster."
        )
    return RAY_ENVIRONMENT | dict(given)


def api_command(host: str, port: int) -> list[str]:
    return [sys.executable, "-m", "annotation_api.http.entry.listening", host, str(port)]


def make_room(part: Part, settings: Settings) -> None:
    """Before a Ray node starts: remove what those that have ended left, each a folder of its own."""
    if not part.of_ray or (part is Part.RAY_HEAD and _taken(_ray_port(settings))):  # Ray itself says that it is taken
        return
    folder = _ray_folder(part, settings)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for session in folder.glob("session_*"):
        if session.is_symlink():
            session.unlink()
        else:
            shutil.rmtree(session)


def _ray_start(part: Part, settings: Settings) -> list[str]:
    ray, folder = Path(sys.executable).with_name("ray"), _ray_folder(part, settings)
    options = [f"--temp-dir={folder}", f"--object-store-memory={OBJECT_STORE_BYTES}", "--disable-usage-stats"]
    return [str(ray), "start", "--block", *options]


def _ray_folder(part: Part, settings: Settings) -> Path:
    """This node's alone. Short: the path of a socket may have about 100 characters."""
    name = f"ray-{_ray_port(settings)}" if part is Part.RAY_HEAD else "ray-node"
    return Path("/tmp") / f"rankloop-{os.getuid()}" / name


def _ray_port(settings: Settings) -> int:
    _, _, port = (settings.ray_address or "").rpartition(":")
    return int(port) if port.isdecimal() else RAY_PORT


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False
