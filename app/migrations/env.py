"""Runs migrations on the settings' database; no migration may wait long for a lock or run for ever."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, text

import app.models  # noqa: F401 (fills the metadata)
from app.core.config import ConfigurationError
from app.core.engines import MYSQL, POSTGRESQL
from app.db.base import Base
from app.db.server_version import version_fault
from app.db.session import build_engine
from app.migrations import baselines

LOCK_WAITS = {
    POSTGRESQL: "SET lock_timeout = '5s'",
    MYSQL: "SET lock_wait_timeout = 5, innodb_lock_wait_timeout = 5",
}
STATEMENT_SECONDS = 300
LOCK = "task_service_migrations"


def run() -> None:
    engine = build_engine(statement_seconds=STATEMENT_SECONDS)
    try:
        with engine.connect() as connection:
            migrate(connection)
    finally:
        engine.dispose()


def migrate(connection: Connection) -> None:
    if (fault := version_fault(connection)) is not None:
        raise CommandError(fault)
    name = connection.dialect.name
    if name in LOCK_WAITS:
        connection.execute(text(LOCK_WAITS[name]))
        connection.commit()
    options: dict[str, Any] = {
        "connection": connection,
        "target_metadata": Base.metadata,
        "compare_type": True,
        "transactional_ddl": name != MYSQL,  # which commits at each such statement
    }
    context.configure(**options)
    plan = context.get_context().opts["fn"]
    logging.basicConfig(format="%(message)s")
    logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)  # «Running upgrade …»
    if name != POSTGRESQL:
        plan = baselines.beginning_there(plan, context.script)
    context.configure(**options, fn=plan)
    with context.begin_transaction(), _alone(connection):
        context.run_migrations()


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Two starters at once: the second waits, then finds nothing left to do."""
    if connection.dialect.name == POSTGRESQL:
        connection.execute(text("SELECT pg_advisory_xact_lock(7315623)"))
    elif connection.dialect.name == MYSQL:  # until the connection ends
        if not connection.scalar(text(f"SELECT get_lock('{LOCK}', {STATEMENT_SECONDS})")):
            raise CommandError("another migration runs on this server")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    yield


if context.is_offline_mode():
    raise SystemExit("offline migrations (--sql) are not supported: DATABASE_URL must be reachable")
try:
    run()
except ConfigurationError as error:
    raise SystemExit(str(error)) from None
