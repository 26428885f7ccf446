"""Finds database connections that died while they were idle, before they are used and without a round trip.

An idle connection has nothing to read. One that is readable, or in error, has been ended: by the server, by a reset,
or by the kernel's keepalive probes. A connection that was idle for long is replaced in any case, since a proxy may
acknowledge probes on behalf of a server that it has lost (docs/adr/0030).
"""

import ctypes
import select
import sys
import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError

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
    """Whether this DBAPI connection may be used again. Takes about 2 µs and sends nothing.

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
        """Whether the descriptor is readable, at its end, or in error."""
        return bool(_poll(_PollFd(descriptor, select.POLLIN), 1, 0))
