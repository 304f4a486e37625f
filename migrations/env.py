"""Alembic's entry. `annotation_api.db.migrate` hands in its connection; the `alembic` command,
used to write a new migration, connects to RANKLOOP_DATABASE_URL."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import Connection

from annotation_api.db.engine import make_engine
from annotation_api.db.tables import Base


def run(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=Base.metadata, compare_type=True, compare_server_default=True
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    url = os.environ.get("RANKLOOP_DATABASE_URL")
    if not url:
        raise SystemExit("Set RANKLOOP_DATABASE_URL to the database that alembic shall look at.")
    engine = make_engine(url, application_name="alembic")
    try:
        with engine.connect() as connection:
            run(connection)
    finally:
        engine.dispose()
