"""What a fault test needs to know of the engine of this session: marks, and what is done to its server."""

from contextlib import suppress

import pytest
from sqlalchemy.exc import OperationalError

from app.launcher.postgres import EmbeddedPostgres
from tests.support.databases import ENGINE, MariaDB, SQLiteFiles
from tests.support.services import Services
from tests.support.stack import Stack

needs_server = pytest.mark.skipif(
    ENGINE == "sqlite", reason="SQLite has no server, and no connection to one: see test_database_file.py"
)
of_sqlite = pytest.mark.skipif(ENGINE != "sqlite", reason="of a database that is a file: SQLite")
# Of tests that freeze processes at any moment.
freezes = pytest.mark.skipif(
    ENGINE == "sqlite",
    reason="on SQLite a process that is frozen while it writes holds all others up (docs/servers.md)",
)

_TERMINATE = """
    SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_OTHERS = "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()"


def terminate(stack: Stack) -> int:
    """End all connections of others to the stack's database on its server; how many."""
    if ENGINE == "postgresql":
        return len(stack.sql(_TERMINATE))
    others = [row[0] for row in stack.sql(_OTHERS)]
    for number in others:
        with suppress(OperationalError):  # it has ended meanwhile
            stack.sql(f"KILL {number}")
    return len(others)


def database_server_of(services: Services) -> EmbeddedPostgres | MariaDB:
    """To be killed and started. Not of SQLite, which has none."""
    server = services.database
    assert not isinstance(server, SQLiteFiles)
    return server
