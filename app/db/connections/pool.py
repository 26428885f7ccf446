"""What is done as a connection leaves its pool and comes back: a dead one is replaced, settings are undone.

An idle connection has nothing to read. One that is readable, or in error, has been ended: by the server, by a reset,
or by the kernel's keepalive probes. A connection that was idle for long is replaced in any case, since a proxy may
acknowledge probes on behalf of a server that it has lost (docs/adr/0030).
"""

import ctypes
import logging
import select
import sys
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DisconnectionError

logger = logging.getLogger(__name__)

_IDLE_SINCE = "idle_since"


def replace_dead_connections(engine: Engine, max_idle_seconds: float) -> None:
    """Have the engine's pool open a new connection wherever it would hand out one that is not usable."""

    def note(_connection: Any, record: Any) -> None:
        record.info[_IDLE_SINCE] = time.monotonic()

    def check(connection: Any, record: Any, _proxy: Any) -> None:
        idle_since = record.info.get(_IDLE_SINCE)  # None: the connection is new
        if idle_since is not None and not is_usable(connection, idle_since, max_idle_seconds):
            raise DisconnectionError("the connection ended while it was idle")

    event.listen(engine, "checkin", note)
    event.listen(engine, "checkout", check)


def is_usable(connection: Any, idle_since: float, max_idle_seconds: float) -> bool:
    """Return whether this DBAPI connection may be used again. Takes about 2 µs and sends nothing.

    `idle_since` is when it was last used, by `time.monotonic()`. A driver whose connections have no `fileno()` is not
    checked.
    """
    fileno = getattr(getattr(connection, "_sock", connection), "fileno", None)  # PyMySQL's connection has a socket
    if fileno is None:
        return True
    if time.monotonic() - idle_since > max_idle_seconds:
        return False
    try:
        return not _is_ready(fileno())
    except Exception:  # noqa: BLE001 (each driver has its own error for a closed connection)
        return False


if sys.platform == "win32":

    def _is_ready(descriptor: int) -> bool:
        return any(select.select([descriptor], [], [descriptor], 0))

else:

    class _PollFd(ctypes.Structure):
        _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))

    # `select.poll` releases the interpreter's lock, and gets it back after up to 5 ms beside a busy thread.
    _poll = ctypes.PyDLL(None).poll
    _poll.argtypes = (ctypes.POINTER(_PollFd), ctypes.c_ulong, ctypes.c_int)

    def _is_ready(descriptor: int) -> bool:
        """Return whether the descriptor is readable, at its end, or in error."""
        return bool(_poll(_PollFd(descriptor, select.POLLIN), 1, 0))


# -- Settings of a connection that hold until it goes back to its pool: in the place of PostgreSQL's SET LOCAL ---------
# A session returns its connection at the end of each transaction.

_UNDO = "until_return"


def undo_at_return(engine: Engine) -> None:
    """Have the engine's pool do what `until_return` has noted. For each new engine."""
    event.listen(engine, "checkin", _undo)


def until_return(connection: Connection, undo: Callable[[Any], None]) -> None:
    """Call `undo` with the driver's connection once it goes back to the pool. Where that fails, it is closed."""
    connection.info.setdefault(_UNDO, []).append(undo)


def _undo(connection: Any, record: Any) -> None:
    undos = record.info.pop(_UNDO, ())
    if connection is None:  # it is closed
        return
    try:
        for undo in reversed(undos):
            undo(connection)
    except Exception as error:  # noqa: BLE001 (each driver has its own errors)
        logger.info("a connection is replaced, as its settings could not be undone: %s", type(error).__name__)
        record.invalidate()
