"""Distinguishes temporary database errors (an outage, a deadlock) from errors of the statement."""

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# SQLSTATE classes: connection exception, insufficient resources, operator intervention (shutdown, crash, start-up), and
# read-only, which a former primary answers after it has become a standby.
READ_ONLY = "25006"
_OUTAGES = ("08", READ_ONLY, "53", "57P")
_TIMEOUT = "57014"
_LOCKED = "55P03"
# Also temporary: transaction rollback (deadlock), lock not available, statement timeout.
_PASSING = (*_OUTAGES, "40", _LOCKED, _TIMEOUT)


def first_line(error: BaseException) -> str:
    """Return the error's first line for the log. SQLAlchemy appends the statement, PostgreSQL the refused row."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def is_outage(error: Exception) -> bool:
    """Return whether the error concerns the server or its connection instead of the statement."""
    return _is_connection(error) or _state(error).startswith(_OUTAGES)


def is_passing(error: Exception) -> bool:
    """Return whether the same statement may succeed later: after an outage, or once a lock is released."""
    return _is_connection(error) or _state(error).startswith(_PASSING)


def is_timeout(error: Exception) -> bool:
    """Return whether the statement was cancelled, by `statement_timeout` or by an administrator."""
    return _state(error) == _TIMEOUT


def is_locked(error: Exception) -> bool:
    """Return whether the statement gave up after `lock_timeout`: another transaction holds what it needs."""
    return _state(error) == _LOCKED


def _is_connection(error: Exception) -> bool:
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # An error without a SQLSTATE is a failure of the connection.
    failed = not _state(error) and type(error.orig).__name__ in {"OperationalError", "InterfaceError"}
    return bool(error.connection_invalidated or failed)


def _state(error: Exception) -> str:
    return getattr(error.orig, "pgcode", None) or "" if isinstance(error, DBAPIError) else ""
