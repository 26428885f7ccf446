"""Refuses a database server that is too old. The settings refuse an old SQLite, which is a library of this process."""

from typing import Any

from sqlalchemy import Connection

# By SQLAlchemy's name of the dialect, and for MariaDB of its own. PostgreSQL 17 is the first with
# uuid_extract_timestamp(), MySQL 8.0.19 that with `VALUES … AS new`, MariaDB 10.6 that with SKIP LOCKED.
OLDEST = {"postgresql": ("PostgreSQL", (17,)), "mysql": ("MySQL", (8, 0, 19)), "mariadb": ("MariaDB", (10, 6))}


def version_fault(connection: Connection) -> str | None:
    """Return which version is needed and which one is there, in one line; None if it is new enough."""
    dialect = connection.dialect
    name, oldest = OLDEST.get("mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name, ("", ()))
    if _version(connection) >= oldest:
        return None
    dialect.initialize(connection)  # a process that waits would not notice that the server has been upgraded
    version = _version(connection)
    return None if version >= oldest else f"{name} {_dotted(oldest)} or newer is needed, not {_dotted(version)}"


def _version(connection: Connection) -> tuple[Any, ...]:
    """As it was when this process connected first."""
    return connection.dialect.server_version_info or ()


def _dotted(version: tuple[Any, ...]) -> str:
    return ".".join(map(str, version)) or "an unknown version"
