"""Settings of a connection that hold until it goes back to its pool: in the place of PostgreSQL's SET LOCAL.

A session returns its connection at the end of each transaction.
"""

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, event

_UNDO = "until_return"

logger = logging.getLogger(__name__)


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
