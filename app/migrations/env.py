"""Runs migrations on the settings' database; no migration may wait long for a lock or run for ever."""

import logging
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

import app.models  # noqa: F401 (fills the metadata)
from app.core.config import ConfigurationError
from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.db.compatibility import BEFORE_THE_BASELINE, fault_of_version, read_version, version_fault
from app.db.outage import first_line
from app.db.session import build_engine
from app.ddl.columns import Base
from app.migrations.baselines import NO_WAY_BELOW

FIRST = {
    POSTGRESQL: "SET lock_timeout = '5s'",
    MYSQL: "SET lock_wait_timeout = 5, innodb_lock_wait_timeout = 5",
    # A revision may make a table anew. As the old one is dropped, its rows would take those that refer to them along.
    SQLITE: "PRAGMA foreign_keys = OFF",
}
STATEMENT_SECONDS = 300
LOOK_SECONDS = 0.5
TAKE_LOCK = {POSTGRESQL: "SELECT pg_try_advisory_lock(7315623)", MYSQL: "SELECT get_lock('task_service_migrations', 0)"}


def run() -> None:
    """Migrate. Raises CommandError, in one line, for a database that cannot be reached or refuses a migration."""
    try:
        engine = build_engine(statement_seconds=STATEMENT_SECONDS)
        if engine.dialect.name == SQLITE:
            prepare_file(engine.url.database)
        connection = engine.connect()
    except (SQLAlchemyError, TypeError, ValueError) as error:  # a driver's TypeError is about an option of the URL
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        why = f"its driver has no option {unknown[1]}" if unknown else first_line(error)
        raise CommandError(f"DATABASE_URL cannot be used: {why}") from None
    try:
        with connection:
            migrate(connection)
    except DBAPIError as error:
        raise CommandError(f"the database refused a migration: {first_line(error)}") from error
    finally:
        engine.dispose()


def prepare_file(path: str | None) -> None:
    """Create SQLite's file unless it is there, readable by its owner alone. SQLite gives those beside it the same mode.

    Raises CommandError where it cannot be one.
    """
    if not path or path == ":memory:":
        return
    file = Path(path)
    if file.is_dir():
        raise CommandError(f"DATABASE_URL cannot be used: {file} is a folder, and no file")
    try:
        with suppress(FileExistsError):
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except OSError as error:
        raise CommandError(f"DATABASE_URL cannot be used: {file}: {error.strerror}") from None


def migrate(connection: Connection) -> None:
    if (fault := version_fault(connection)) is not None:
        raise CommandError(fault)
    name = connection.dialect.name
    _wait_for_another(connection)
    connection.execute(text(FIRST[name]))
    is_empty = read_version(connection) is None
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        transactional_ddl=name != MYSQL,  # which commits at each such statement
        # A revision's locks end with it: it may be the next one that has to wait, and processes work meanwhile. In an
        # empty database nobody does. It is migrated as a whole or not at all.
        transaction_per_migration=name == POSTGRESQL and not is_empty,
    )
    logging.basicConfig(format="%(message)s")
    logging.getLogger("alembic.runtime.migration").setLevel(logging.INFO)  # «Running upgrade …»
    logging.getLogger("alembic.util.messaging").setLevel(logging.CRITICAL)  # Alembic prints the same as «FAILED: …»
    if context.get_context().opts.get("destination_rev") == "base":  # before each step down is committed
        raise CommandError(NO_WAY_BELOW)
    with context.begin_transaction():
        if name == SQLITE:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        if (version := read_version(connection)) in BEFORE_THE_BASELINE:
            raise CommandError(fault_of_version(version))
        context.run_migrations()
    connection.commit()  # `alembic stamp --purge base` runs no revision


def _wait_for_another(connection: Connection) -> None:
    """Let one process migrate at a time, until its connection ends; the second then finds nothing left to do.

    SQLite has one writer anyway. Raises CommandError after STATEMENT_SECONDS.
    """
    ask = TAKE_LOCK.get(connection.dialect.name)
    until = time.monotonic() + STATEMENT_SECONDS
    while ask is not None and not connection.scalar(text(ask)):
        # No statement waits meanwhile: an index that another process creates concurrently would wait for it.
        connection.commit()
        if time.monotonic() > until:
            raise CommandError("another migration runs on this server")
        time.sleep(LOOK_SECONDS)


if context.is_offline_mode():
    raise SystemExit("offline migrations (--sql) are not supported: DATABASE_URL must be reachable")
try:
    run()
except ConfigurationError as error:
    raise SystemExit(str(error)) from None
