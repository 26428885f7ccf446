"""Telling what passes by itself (an outage, a deadlock) from an error of the statement."""

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# SQLSTATE classes: connection exception, insufficient resources, operator intervention (shutdown, crash, starting up);
# and read-only, which is what a former primary answers that has come back as a standby.
READ_ONLY = "25006"
_OUTAGES = ("08", READ_ONLY, "53", "57P")
_TIMEOUT = "57014"
# And: transaction rollback (deadlock), lock not available, a statement's timeout.
_PASSING = (*_OUTAGES, "40", "55P03", _TIMEOUT)


def first_line(error: BaseException) -> str:
    """What a log says of an error that passes: SQLAlchemy adds the statement, PostgreSQL the row that it refuses."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def is_outage(error: Exception) -> bool:
    """Whether this is about the server or the way to it rather than about the statement."""
    return _is_connection(error) or _state(error).startswith(_OUTAGES)


def is_passing(error: Exception) -> bool:
    """Whether the same statement may succeed a little later: an outage, or somebody else's lock."""
    return _is_connection(error) or _state(error).startswith(_PASSING)


def is_timeout(error: Exception) -> bool:
    """Whether the statement was stopped, by `statement_timeout` or by an administrator."""
    return _state(error) == _TIMEOUT


def _is_connection(error: Exception) -> bool:
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    # Without a SQLSTATE the connection itself failed.
    failed = not _state(error) and type(error.orig).__name__ in {"OperationalError", "InterfaceError"}
    return bool(error.connection_invalidated or failed)


def _state(error: Exception) -> str:
    return getattr(error.orig, "pgcode", None) or "" if isinstance(error, DBAPIError) else ""
