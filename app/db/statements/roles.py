"""The privileges of the database user that runs the service, where another one owns the tables (MySQL and MariaDB)."""

from collections.abc import Iterator

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.sql import func

from app.core.engines import SQLITE
from app.db.statements.writes import engine_name
from app.errors import InvalidInput

# Audit records can be added, not changed, and the database sets their time: `at` is not among the columns.
_AUDIT = "audit_events"
_RECORD = (
    *("id", "event", "origin", "actor_id", "actor_name"),
    *("object_kind", "object_id", "address", "request_id", "detail"),
)
_ONLY_READ = {"alembic_version", _AUDIT}
_OF_ALL_TABLES = text(
    "SELECT count(*) FROM information_schema.schema_privileges WHERE table_schema = database() AND grantee = :grantee"
)
_TO_WRITE_A_TABLE = text(
    "SELECT privilege_type FROM information_schema.table_privileges"
    " WHERE table_schema = database() AND table_name = :table AND grantee = :grantee"
    " AND privilege_type IN ('INSERT', 'UPDATE', 'DELETE')"
)
_TO_WRITE_A_COLUMN = text(
    "SELECT privilege_type, column_name FROM information_schema.column_privileges"
    " WHERE table_schema = database() AND table_name = :table AND grantee = :grantee"
    " AND privilege_type IN ('INSERT', 'UPDATE')"
)


def grant_to_service(connection: Connection, role: str) -> None:
    """Give `role` the privileges that API, workers and beat need, and no others, on the tables that exist now.

    `role` is a user's name, which may have a host: `name@host`. Raises InvalidInput on SQLite, for the user of this
    session, and for one with privileges on the whole database, which no privilege on a table takes away. Raises
    DBAPIError if there is no such user, and unless this session's user may grant.
    """
    if engine_name(connection) == SQLITE:
        raise InvalidInput("SQLite has no roles: who may write to the file may change everything in it")
    name = role.removesuffix("@%")
    if name in {each.removesuffix("@%") for each in _names_of_session(connection)}:
        raise InvalidInput(f"{role} owns the tables: the service needs a user of its own")
    quote = connection.dialect.identifier_preparer.quote_identifier
    quoted = "@".join(map(quote, name.split("@")))
    # MariaDB would create the user.
    connection.exec_driver_sql(f"SHOW GRANTS FOR {quoted}")
    user, _, host = name.partition("@")
    grantee = f"'{user}'@'{host or '%'}'"
    if connection.execute(_OF_ALL_TABLES, {"grantee": grantee}).scalar_one():
        raise InvalidInput(f"{role} has privileges on the whole database: revoke them, they include the audit")
    for statement in _grants(connection, grantee):
        connection.exec_driver_sql(statement.format(role=quoted))


def _names_of_session(connection: Connection) -> tuple[str, str]:
    """Return with and without the host."""
    full = str(connection.execute(select(func.current_user())).scalar_one())
    return full, full.partition("@")[0]


def _grants(connection: Connection, grantee: str) -> Iterator[str]:
    for table in inspect(connection).get_table_names():
        if table not in _ONLY_READ:
            yield f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {{role}}"
            continue
        yield f"GRANT SELECT ON {table} TO {{role}}"
        yield from _revocations(connection, table, grantee)
    yield f"GRANT INSERT ({', '.join(_RECORD)}) ON {_AUDIT} TO {{role}}"


def _revocations(connection: Connection, table: str, grantee: str) -> Iterator[str]:
    """Of what the user has: MySQL 9 refuses to revoke what was not granted."""
    which = {"table": table, "grantee": grantee}
    for privilege in connection.scalars(_TO_WRITE_A_TABLE, which).all():
        yield f"REVOKE {privilege} ON {table} FROM {{role}}"
    for privilege, column in connection.execute(_TO_WRITE_A_COLUMN, which).all():
        if (table, privilege) != (_AUDIT, "INSERT") or column not in _RECORD:
            yield f"REVOKE {privilege} ({column}) ON {table} FROM {{role}}"
