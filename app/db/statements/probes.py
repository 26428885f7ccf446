"""Statements that change no row: whether the database takes writes, and what the role may do with the tables."""

from collections.abc import Iterator

from sqlalchemy import Connection, Executable, Table, delete, false, insert, select, update
from sqlalchemy.exc import DBAPIError

from app.core.engines import SQLITE
from app.db.connections import of
from app.db.connections.sqlite import brief_lock_waits
from app.db.outage import sqlstate
from app.ddl.columns import Base
from app.models.audit import AuditRecord
from app.models.worker import MaintenanceLease

_SAME = update(MaintenanceLease).values(renewed_at=MaintenanceLease.renewed_at)


def probe_write(connection: Connection, lock_seconds: float) -> None:
    """Write in this transaction, and wait so long for another one. Raises DBAPIError, some engines at the commit."""
    if connection.dialect.name != SQLITE:
        of(connection.dialect.name).limit_lock_waits(connection, lock_seconds)
        connection.execute(_SAME)
        return
    with brief_lock_waits(connection, lock_seconds):
        connection.execute(_SAME)
    # SQLite does not write a row that stays as it is, so it would not see that the disk is full. Nothing else uses this
    # number of the file's first page (https://www.sqlite.org/pragma.html#pragma_user_version).
    number = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    connection.exec_driver_sql(f"PRAGMA user_version = {1 - number % 2}")


# -- What the role of this process may do with the tables of the service -----------------------------------------------

# As PostgreSQL has it; `app.db.outage` tells it of no MySQL.
_REFUSED = {"42501", "42000"}
# The database sets the time of an audit record, and no record is changed (docs/servers.md).
_SET_BY_DATABASE = "at"


def missing_privileges(connection: Connection) -> list[str]:
    """Return each privilege that the service needs and this role lacks, such as `UPDATE on tasks`.

    The connection is in autocommit, so that a refused statement ends no transaction. Raises DBAPIError for all other
    errors. On SQLite, which has no roles, nothing is missing.
    """
    missing = []
    for table in Base.metadata.sorted_tables:
        for privilege, statement in _probes_of(table):
            try:
                connection.execute(statement)
            except DBAPIError as error:
                if sqlstate(error) not in _REFUSED:
                    raise
                missing.append(f"{privilege} on {table.name}")
    return missing


def _probes_of(table: Table) -> Iterator[tuple[str, Executable]]:
    is_audit = table.name == AuditRecord.__tablename__
    first = next(iter(table.columns))
    columns = [
        each for each in table.columns if each.identity is None and not (is_audit and each.name == _SET_BY_DATABASE)
    ]
    nothing = select(*columns).where(false())
    yield "SELECT", nothing
    yield "INSERT", insert(table).from_select(columns, nothing, include_defaults=False)
    if not is_audit:
        yield "UPDATE", update(table).where(false()).values({first: first})
        yield "DELETE", delete(table).where(false())
