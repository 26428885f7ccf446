"""Refuses a database server that is too old, unsafe, or takes no writes of the service.

The settings refuse an old SQLite, which is a library.
"""

from typing import Any

from sqlalchemy import Connection

from app.db.connecting import mysql

# By SQLAlchemy's name of the dialect, and for MariaDB of its own. PostgreSQL 17 is the first with
# uuid_extract_timestamp(), MySQL 8.0.19 that with `VALUES … AS new`, MariaDB 10.6 that with SKIP LOCKED.
OLDEST = {"postgresql": ("PostgreSQL", (17,)), "mysql": ("MySQL", (8, 0, 19)), "mariadb": ("MariaDB", (10, 6))}

# From here on MySQL itself checks foreign keys, unless it is told to have InnoDB check them: 9.7.4 stores tasks whose
# user is not there. The option is deprecated: a later version without it is accepted, as any unknown one.
_OWN_FOREIGN_KEYS = (9, 6)


def server_name(connection: Connection) -> str:
    """Return the product and the version of the server, such as `PostgreSQL 18.1`."""
    name, _ = _product(connection)
    return f"{name or connection.dialect.name} {_dotted(_version(connection))}"


def version_fault(connection: Connection) -> str | None:
    """Return which version or option is needed and which one is there, in one line; None if the server can be used."""
    dialect = connection.dialect
    name, oldest = _product(connection)
    if _version(connection) < oldest:
        dialect.initialize(connection)  # a process that waits would not notice that the server has been upgraded
    version = _version(connection)
    if version < oldest:
        return f"{name} {_dotted(oldest)} or newer is needed, not {_dotted(version)}"
    if name == "MySQL" and version >= _OWN_FOREIGN_KEYS and not mysql.checks_foreign_keys_by_innodb(connection):
        return (
            f"MySQL {_dotted(version)} does not check every foreign key: start it with --innodb-native-foreign-keys=ON"
        )
    if dialect.name == "mysql" and mysql.logs_statements(connection):
        return "binlog_format=STATEMENT refuses every write of the service: set it to ROW or MIXED"
    return None


def _product(connection: Connection) -> tuple[str, tuple[int, ...]]:
    dialect = connection.dialect
    return OLDEST.get("mariadb" if getattr(dialect, "is_mariadb", False) else dialect.name, ("", ()))


def _version(connection: Connection) -> tuple[Any, ...]:
    """As it was when this process connected first."""
    return connection.dialect.server_version_info or ()


def _dotted(version: tuple[Any, ...]) -> str:
    return ".".join(map(str, version)) or "an unknown version"
