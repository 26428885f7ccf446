"""Telling an outage of the database from an error of the statement."""

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# SQLSTATE classes: connection exception, insufficient resources, operator intervention (shutdown, crash, starting up).
_STATES = ("08", "53", "57P")


def is_outage(error: Exception) -> bool:
    """Whether this is about the server or the way to it rather than about the statement."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "pgcode", None) or ""
    # Without a SQLSTATE the connection itself failed.
    return (
        error.connection_invalidated
        or (not state and type(error.orig).__name__ in {"OperationalError", "InterfaceError"})
        or state.startswith(_STATES)
    )
