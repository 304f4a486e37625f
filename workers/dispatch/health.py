"""Whether this machine's dispatcher is at work and its launchers get into Ray: exit code 0, or 1 and a sentence.

    python -m workers.dispatch.health

For the health check of a container: one connection and one question, without the weight of an ORM.
"""

from __future__ import annotations

import platform
import sys

import psycopg
from psycopg.conninfo import conninfo_to_dict

from annotation_api.settings import Settings, SettingsError

ALIVE_SECONDS = 30  # as `dispatchers.ALIVE_SECONDS`
CONNECT_SECONDS = 5
STATES = """
    SELECT ray FROM dispatchers
    WHERE split_part(id, ':', 1) = %s AND seen_at > clock_timestamp() - make_interval(secs => %s)
"""


def main() -> int:
    try:
        trouble = _trouble(Settings.from_environment())
    except (SettingsError, psycopg.Error) as error:
        trouble = " ".join(str(error).split())
    if trouble:
        print(f"workers.dispatch.health: {trouble}", file=sys.stderr)
    return 1 if trouble else 0


def _trouble(settings: Settings) -> str | None:
    """What keeps jobs from running here; None when nothing does."""
    url = (settings.database_url or "").replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # what it says may hold the password
        return "RANKLOOP_DATABASE_URL cannot be read; a % in its password is written %25."
    with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
        states = [row[0] for row in connection.execute(STATES, (platform.node(), ALIVE_SECONDS))]
    if not states:
        return f"no dispatcher of {platform.node()} was seen for {ALIVE_SECONDS} s"
    return "launchers do not get into the Ray cluster" if set(states) == {"down"} else None


if __name__ == "__main__":
    sys.exit(main())
