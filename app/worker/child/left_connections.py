"""Rolls back what a body has left in a transaction on connections of the engine: its own, or those of its threads.

`left_sessions` ends the sessions that a body has opened itself. What else it leaves would lock its own row, and on
SQLite keep everybody from writing, for as long as this process lives. For forked pool processes: each runs one body at
a time.
"""

import logging
import threading
from typing import Any

from sqlalchemy import event

from app.core.engines import SQLITE
from app.core.task_bodies import goes_on, is_of_service
from app.db.session import engine

logger = logging.getLogger(__name__)

_TOLD = "left_by_a_body"
# The connections of the engine that are in use by other threads, each with the one that took it.
_held: dict[Any, threading.Thread] = {}


def watch_connections() -> None:
    """Begin, in a pool process that was forked."""
    event.listen(engine(), "checkout", _taken)
    event.listen(engine(), "checkin", _returned)
    event.listen(engine(), "detach", _returned)  # the connection on which this process claims and ends


def roll_back_left() -> None:
    """Roll back what is open. Call it while no body runs.

    Not that of a thread that runs still: only SQLite's connections may be used by two threads at once.
    """
    for record, thread in [*_held.items()]:
        connection = record.dbapi_connection
        may_be_busy = goes_on(thread) and thread is not threading.main_thread()
        if connection is None or (may_be_busy and not _is_sqlite()):
            continue
        if not record.info.get(_TOLD):  # it may be kept for as long as this process lives
            record.info[_TOLD] = True
            logger.warning("a body left a connection of the engine in use: its transactions are rolled back")
        engine().dialect.do_rollback(connection)


def _is_sqlite() -> bool:
    return engine().dialect.name == SQLITE


def _taken(_connection: Any, record: Any, _proxy: Any) -> None:
    thread = threading.current_thread()
    if not is_of_service(thread):
        _held[record] = thread


def _returned(_connection: Any, record: Any) -> None:
    _held.pop(record, None)
