"""Connections to MySQL and MariaDB: READ COMMITTED, times in UTC, strict values, and time limits."""

import socket
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import IntegrityError

from app.core.config import Settings
from app.db.connections.pool import undo_at_return, until_return
from app.db.outage import INTEGRITY_VIOLATION, sqlstate

# A transaction may take several statements here: none is its own transaction.
AUTOCOMMIT: dict[str, Any] = {}
ALWAYS_AUTOCOMMIT: dict[str, Any] = {}

_SESSION = (
    "SET time_zone = '+00:00',"
    " sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,ONLY_FULL_GROUP_BY',"
    " group_concat_max_len = 1048576,"  # bytes: a batch of ids (MySQL's default is 1,024)
    " {lock_waits}"
)
# Beyond a statement's own time limit: then the server is lost.
_SILENT_SECONDS = 5
# As `app/db/connections/postgresql.py` has libpq do it. PyMySQL turns the probes on, with the system's two hours.
_PROBES = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 10_000}
_USUAL_SECONDS = "task_service_statement_seconds"


def options(settings: Settings, idle_ms: int | None) -> dict[str, Any]:
    """Return what `create_engine` needs."""
    del idle_ms  # see `prepare`
    seconds = settings.database_statement_timeout_seconds
    return {
        "isolation_level": "READ COMMITTED",
        "connect_args": {
            "charset": "utf8mb4",
            "connect_timeout": settings.database_connect_timeout_seconds,
            "read_timeout": int(seconds) + _SILENT_SECONDS,
            "write_timeout": int(seconds) + _SILENT_SECONDS,
            "init_command": _SESSION.format(lock_waits=_lock_waits(seconds)),
        },
    }


def prepare(engine: Engine, settings: Settings, idle_ms: int | None) -> None:
    """Limit the time of statements, and of transactions that are idle, on each new connection.

    MySQL itself limits SELECT alone, and has no limit for idle transactions: it ends what is idle for `wait_timeout`.
    """
    event.listen(engine, "connect", _notice_a_lost_server)
    event.listen(engine, "connect", partial(_limit, settings.database_statement_timeout_seconds, idle_ms))
    undo_at_return(engine)
    event.listen(engine, "handle_error", _refused, retval=True)


def _refused(context: ExceptionContext) -> IntegrityError | None:
    """Return the error of a CHECK or a trigger as on the other engines: to PyMySQL it is an OperationalError."""
    error = context.sqlalchemy_exception
    if error is None or isinstance(error, IntegrityError) or not sqlstate(error).startswith(INTEGRITY_VIOLATION):
        return None
    return IntegrityError(context.statement, context.parameters, context.original_exception, hide_parameters=True)


def logs_statements(connection: Connection) -> bool:
    """Return whether the binary log holds statements: nothing may be written under READ COMMITTED then (error 1665)."""
    log_bin, log_format = connection.exec_driver_sql("SELECT @@global.log_bin, @@global.binlog_format").one()
    return bool(log_bin) and log_format == "STATEMENT"


def checks_foreign_keys_by_innodb(connection: Connection) -> bool:
    """False where the server's option `innodb_native_foreign_keys` is OFF: older servers have no other way."""
    option = connection.exec_driver_sql("SHOW VARIABLES LIKE 'innodb_native_foreign_keys'").one_or_none()
    return option is None or option[1] != "OFF"


def limit_statements(connection: Connection, seconds: float) -> None:
    """Stop each further SELECT (MariaDB: statement) after so long, until the connection goes back to its pool."""
    is_mariadb: bool = getattr(connection.dialect, "is_mariadb", False)
    _set(connection, *(_statements(each, is_mariadb) for each in (seconds, connection.info[_USUAL_SECONDS])))


def limit_lock_waits(connection: Connection, seconds: float) -> None:
    """Let each further statement fail after waiting so long for a row lock, until the connection goes back.

    One second at least: InnoDB counts whole seconds.
    """
    _set(connection, *(_lock_waits(each) for each in (seconds, connection.info[_USUAL_SECONDS])))


def _set(connection: Connection, wanted: str, usual: str) -> None:
    until_return(connection, partial(_execute, f"SET {usual}"))
    connection.exec_driver_sql(f"SET {wanted}")


def _execute(statement: str, connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def _statements(seconds: float, is_mariadb: bool) -> str:
    # 0 is no limit.
    if is_mariadb:
        return f"max_statement_time = {max(0.001, seconds)}"
    return f"max_execution_time = {max(1, int(seconds * 1000))}"


def _lock_waits(seconds: float) -> str:
    return f"innodb_lock_wait_timeout = {max(1, int(seconds))}"


def _notice_a_lost_server(connection: Any, _record: Any) -> None:
    own = connection._sock  # noqa: SLF001 (PyMySQL gives it no other way)
    if own.family in (socket.AF_INET, socket.AF_INET6):
        for name, value in _PROBES.items():
            if hasattr(socket, name):  # not on every system
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _limit(statement_seconds: float, idle_ms: int | None, connection: Any, record: Any) -> None:
    record.info[_USUAL_SECONDS] = statement_seconds
    is_mariadb = "MariaDB" in connection.get_server_info()
    limits = [_statements(statement_seconds, is_mariadb)]
    if is_mariadb and idle_ms is not None:
        limits.append(f"idle_transaction_timeout = {max(1, idle_ms // 1000)}")
    _execute(f"SET {', '.join(limits)}", connection)
