"""Ends the transactions that a body has left open, once it has ended: in sessions, and on connections of the engine.

Their locks would keep the end of its own task from being written, on SQLite everything, for as long as this process
lives.
"""

import logging
import threading
from typing import Any
from uuid import UUID
from weakref import WeakSet

from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.core.engines import SQLITE
from app.core.task_bodies import goes_on, is_of_service
from app.db.outage import first_line
from app.db.session import call_for_each_session, engine
from app.messaging.task_base import OF_RUN
from app.services.execution.attempts import current_attempt

logger = logging.getLogger(__name__)

# Of the attempt whose body runs in this context; made by the first session that it opens.
_opened: dict[UUID, WeakSet[Session]] = {}


def _note_session(session: Session) -> None:
    if (attempt := current_attempt.get()) is not None:
        _opened.setdefault(attempt.task_id, WeakSet()).add(session)


def watch_sessions() -> None:
    """Begin to watch the sessions, in a process that runs bodies."""
    call_for_each_session(_note_session)


def leave_sessions() -> None:
    """End it: this process runs no bodies any more, and may go on."""
    call_for_each_session(None)


def roll_back_sessions(task_id: UUID) -> None:
    """Roll back what the body of this task has left open, also in `self.db`, which its `after_return` may use again."""
    if not _opened:  # most bodies open none
        return
    for session in _opened.pop(task_id, ()):
        if session.in_transaction():
            _roll_back_session(session, task_id)
    # A thread of a body that has ended may open more: they are noted until they are gone.
    for other in [other for other, sessions in _opened.items() if not sessions]:
        del _opened[other]


def _roll_back_session(session: Session, task_id: UUID) -> None:
    try:
        if OF_RUN in session.info:
            session.rollback()
            return
        logger.warning("task %s: its body left a transaction open, which is rolled back", task_id)
        session.close()
    except SQLAlchemyError as error:
        logger.warning("task %s: a transaction that its body left open: %s", task_id, first_line(error))


# -- Rolls back what a body has left in a transaction on connections of the engine: its own, or those of its threads ---
# The functions above end the sessions that a body has opened itself. What else it leaves would lock its own row, and on
# SQLite keep everybody from writing, for as long as this process lives. For forked pool processes: each runs one body
# at a time.

_TOLD = "left_by_a_body"
# The connections of the engine that are in use by other threads, each with the one that took it.
_held: dict[Any, threading.Thread] = {}


def watch_connections() -> None:
    """Begin to watch the connections, in a pool process that was forked."""
    event.listen(engine(), "checkout", _taken)
    event.listen(engine(), "checkin", _returned)
    event.listen(engine(), "detach", _returned)  # the connection on which this process claims and ends


def roll_back_connections() -> None:
    """Roll back what is open. Call it while no body runs.

    Not that of a thread that runs still: only SQLite's connections may be used by two threads at once.
    """
    for record, thread in [*_held.items()]:
        connection = record.dbapi_connection
        may_be_busy = goes_on(thread) and thread is not threading.main_thread()
        if connection is None or (may_be_busy and engine().dialect.name != SQLITE):
            continue
        if not record.info.get(_TOLD):  # it may be kept for as long as this process lives
            record.info[_TOLD] = True
            logger.warning("a body left a connection of the engine in use: its transactions are rolled back")
        engine().dialect.do_rollback(connection)


def _taken(_connection: Any, record: Any, _proxy: Any) -> None:
    thread = threading.current_thread()
    if not is_of_service(thread):
        _held[record] = thread


def _returned(_connection: Any, record: Any) -> None:
    _held.pop(record, None)
