"""What the role of this process may do with the tables of the service. The statements concern no row."""

from collections.abc import Iterator

from sqlalchemy import Connection, Executable, Table, delete, false, insert, select, update
from sqlalchemy.exc import DBAPIError

from app.db.outage import sqlstate
from app.ddl.base import Base
from app.models.audit import AuditRecord

# As PostgreSQL has it; `app.db.outage` tells it of no MySQL.
_REFUSED = {"42501", "42000"}
# The database sets the time of an audit record, and no record is changed (docs/database-roles.md).
_SET_BY_DATABASE = "at"


def missing_privileges(connection: Connection) -> list[str]:
    """Return each privilege that the service needs and this role lacks, such as `UPDATE on tasks`.

    The connection is in autocommit, so that a refused statement ends no transaction. Raises DBAPIError for all other
    errors. On SQLite, which has no roles, nothing is missing.
    """
    missing = []
    for table in Base.metadata.sorted_tables:
        for privilege, statement in _statements(table):
            try:
                connection.execute(statement)
            except DBAPIError as error:
                if sqlstate(error) not in _REFUSED:
                    raise
                missing.append(f"{privilege} on {table.name}")
    return missing


def _statements(table: Table) -> Iterator[tuple[str, Executable]]:
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
