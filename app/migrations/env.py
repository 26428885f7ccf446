"""Runs migrations on the settings' database; no migration may wait long for a lock or run for ever."""

import logging

from alembic import context
from sqlalchemy import text

import app.models  # noqa: F401 (fills the metadata)
from app.core.config import ConfigurationError
from app.db.base import Base
from app.db.session import engine

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "5min"


def run() -> None:
    logging.basicConfig(format="%(message)s")
    logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)  # «Running upgrade …»
    with engine().connect() as connection:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.commit()
        context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
        with context.begin_transaction():
            # Two starters at once: the second waits, then finds nothing left to do.
            connection.execute(text("SELECT pg_advisory_xact_lock(7315623)"))
            context.run_migrations()


if context.is_offline_mode():
    raise SystemExit("offline migrations (--sql) are not supported: DATABASE_URL must be reachable")
try:
    run()
except ConfigurationError as error:
    raise SystemExit(str(error)) from None
