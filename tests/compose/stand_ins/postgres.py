"""Stands for the image of Postgres: its entrypoint's steps, with the programs of the embedded server.

Runs as the image's user `postgres`, for whom the volume is made. The first start makes the cluster, its database
and what /docker-entrypoint-initdb.d holds.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

DATA = Path("/var/lib/postgresql/18/docker")
FIRST = Path("/docker-entrypoint-initdb.d")


def main() -> None:
    if not (DATA / "PG_VERSION").exists():
        make()
    os.execvp("postgres", ["postgres", "-D", str(DATA), "-c", "listen_addresses=*"])


def make() -> None:
    user, name = os.environ.get("POSTGRES_USER", "postgres"), os.environ.get("POSTGRES_DB", "postgres")
    password = Path(os.environ["POSTGRES_PASSWORD_FILE"]).read_text().rstrip("\n")
    DATA.mkdir(parents=True, mode=0o700)
    with tempfile.NamedTemporaryFile("w") as secret:
        secret.write(password + "\n")
        secret.flush()
        run("initdb", "-D", DATA, f"--username={user}", f"--pwfile={secret.name}", "--auth=trust", "--locale=C.UTF-8")
    with (DATA / "pg_hba.conf").open("a") as rules:
        rules.write("\nhost all all all scram-sha-256\n")
    run("pg_ctl", "-D", DATA, "-w", "start", "-o", "-c listen_addresses=''")
    if name != "postgres":
        run("psql", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", "postgres", "-c", f'CREATE DATABASE "{name}"')
    for script in sorted(FIRST.glob("*")) if FIRST.exists() else ():
        if script.suffix != ".sql":
            sys.exit(f"the stand-in for Postgres does not run {script}")
        run("psql", "-v", "ON_ERROR_STOP=1", "--no-password", "--no-psqlrc", "-U", user, "-d", name, "-f", script)
    run("pg_ctl", "-D", DATA, "-m", "fast", "-w", "stop")


def run(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True)


main()
