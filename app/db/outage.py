"""Distinguishes temporary database errors (an outage, a deadlock) from errors of the statement, on every engine.

Each engine's error is put as the SQLSTATE that PostgreSQL has for it.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy.exc import DBAPIError, TimeoutError as PoolTimeout

# SQLSTATE classes: connection exception, insufficient resources, operator intervention (shutdown, crash, start-up), and
# read-only, which a former primary answers after it has become a standby.
READ_ONLY = "25006"
DISK_FULL = "53100"
_OUTAGES = ("08", READ_ONLY, "53", "57P")
_TIMEOUT = "57014"
_LOCKED = "55P03"
_DEADLOCK = "40P01"
_NO_CONNECTION = "08006"
# Also temporary: transaction rollback (deadlock), lock not available, statement timeout.
_PASSING = (*_OUTAGES, "40", _LOCKED, _TIMEOUT)
INTEGRITY_VIOLATION = "23"
UNIQUE_VIOLATION = "23505"
_CHECK_VIOLATION = "23514"
_FOREIGN_KEY_VIOLATION = "23503"
NO_TABLE, NO_COLUMN = "42P01", "42703"

# https://mariadb.com/kb/en/mariadb-error-codes/, https://dev.mysql.com/doc/mysql-errors/8.0/en/
_OF_MYSQL = {
    1021: DISK_FULL, 1114: DISK_FULL, 1040: "53300", 1203: "53300", 1226: "53300", 1037: "53200", 1038: "53200",
    1053: "57P01", 1077: "57P01", 1927: "57P01", 4031: "57P01",
    **dict.fromkeys((1042, 1043, 1158, 1159, 1160, 1161, 1184, 2002, 2003, 2006, 2013, 2014, 2055), _NO_CONNECTION),
    1290: READ_ONLY, 1792: READ_ONLY, 1836: READ_ONLY,
    1205: _LOCKED, 3572: _LOCKED,
    1213: _DEADLOCK, 1020: _DEADLOCK, 1412: _DEADLOCK,
    1317: _TIMEOUT, 1969: _TIMEOUT, 3024: _TIMEOUT, 1907: _TIMEOUT,
    1062: UNIQUE_VIOLATION, 1586: UNIQUE_VIOLATION,
    1451: _FOREIGN_KEY_VIOLATION, 1452: _FOREIGN_KEY_VIOLATION,
    1644: _CHECK_VIOLATION, 3819: _CHECK_VIOLATION, 4025: _CHECK_VIOLATION,
    1146: NO_TABLE, 1054: NO_COLUMN,
}  # fmt: skip
_NO_SUCH_ROUTINE = 1305
# https://www.sqlite.org/rescode.html, by the begin of the name.
_OF_SQLITE = {
    "SQLITE_BUSY": _LOCKED,
    "SQLITE_LOCKED": _LOCKED,
    "SQLITE_INTERRUPT": _TIMEOUT,
    "SQLITE_FULL": DISK_FULL,
    "SQLITE_NOMEM": "53200",
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_IOERR": _NO_CONNECTION,
    "SQLITE_CANTOPEN": _NO_CONNECTION,
    "SQLITE_CONSTRAINT_UNIQUE": UNIQUE_VIOLATION,
    "SQLITE_CONSTRAINT_PRIMARYKEY": UNIQUE_VIOLATION,
    "SQLITE_CONSTRAINT_FOREIGNKEY": _FOREIGN_KEY_VIOLATION,
    "SQLITE_CONSTRAINT": _CHECK_VIOLATION,
    "SQLITE_ERROR": "42000",
}
_SQLITE_TEXTS = {"no such table": NO_TABLE, "no such column": NO_COLUMN}


def first_line(error: BaseException) -> str:
    """Return the error's first line for the log. SQLAlchemy appends the statement, PostgreSQL the refused row."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def is_outage(error: BaseException) -> bool:
    """Return whether the error concerns the server or its connection instead of the statement."""
    return _is_connection(error) or sqlstate(error).startswith(_OUTAGES)


def is_passing(error: BaseException) -> bool:
    """Return whether the same statement may succeed later: after an outage, or once a lock is released."""
    return _is_connection(error) or sqlstate(error).startswith(_PASSING)


def is_of_broken_process(error: BaseException) -> bool:
    """Return whether the error is of the process and not of the database: it has lost descriptors that SQLite uses."""
    return getattr(getattr(error, "orig", None), "sqlite_errorname", "") == "SQLITE_PROTOCOL"


def is_timeout(error: Exception) -> bool:
    """Return whether the statement was cancelled, by its time limit or by an administrator."""
    return sqlstate(error) == _TIMEOUT


def is_locked(error: Exception) -> bool:
    """Return whether the statement gave up waiting for a lock: another transaction holds what it needs."""
    return sqlstate(error) == _LOCKED


def is_deadlock(error: Exception) -> bool:
    """Return whether the engine rolled the transaction back, since it and others wait for each other."""
    return sqlstate(error) == _DEADLOCK


def _is_connection(error: BaseException) -> bool:
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # An error without a SQLSTATE is a failure of the connection.
    failed = not sqlstate(error) and type(error.orig).__name__ in {"OperationalError", "InterfaceError"}
    return bool(error.connection_invalidated or failed)


def sqlstate(error: BaseException) -> str:
    """Return the SQLSTATE of a database error; "" for others, and where the driver tells none."""
    return next((state for state in _states(getattr(error, "orig", None)) if state), "")


def _states(error: Any) -> Iterator[str | None]:
    yield getattr(error, "pgcode", None)
    name = getattr(error, "sqlite_errorname", None)
    if name is not None:
        yield from (state for begin, state in _SQLITE_TEXTS.items() if str(error).startswith(begin))
        yield from (state for begin, state in _OF_SQLITE.items() if name.startswith(begin))
        return
    number = next(iter(getattr(error, "args", ())), None)
    if type(error).__module__.startswith("pymysql") and isinstance(number, int) and number:
        if number == _NO_SUCH_ROUTINE and error.args[-1].startswith("SAVEPOINT"):
            yield _DEADLOCK  # the return to a savepoint that is gone with its transaction
        yield _OF_MYSQL.get(number, "42000")
