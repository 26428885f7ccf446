"""The privileges of the role that runs the service, where another role owns the tables (docs/servers.md)."""

from sqlalchemy import Connection, text

from app.errors import InvalidInput

# Audit records can be added, not changed, and the database sets their time: `at` is not among the columns.
_GRANTS = """\
GRANT USAGE ON SCHEMA public TO {role};
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
REVOKE INSERT, UPDATE, DELETE ON alembic_version, audit_events FROM {role};
GRANT INSERT (id, event, origin, actor_id, actor_name, object_kind, object_id, address, request_id, detail)
    ON audit_events TO {role};
"""

_FOREIGN_TABLES = text(
    "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND NOT pg_has_role(tableowner, 'USAGE')"
)


def grant_to_service(connection: Connection, role: str) -> None:
    """Give `role` the privileges that API, workers and beat need, and no others, on the tables that exist now.

    Raises InvalidInput unless this session's role owns the tables and is another one, ProgrammingError if there is no
    such role.
    """
    # PostgreSQL only warns, and grants nothing.
    if connection.scalar(_FOREIGN_TABLES):
        raise InvalidInput("run this as the role that owns the tables")
    if connection.scalar(text("SELECT current_user")) == role:
        raise InvalidInput(f"{role} owns the tables: the service needs a role of its own")
    quoted = connection.dialect.identifier_preparer.quote(role)
    connection.execute(text(_GRANTS.format(role=quoted)))
