"""Ends the transactions that a body has left open in sessions of `SessionLocal`, once it has ended.

Their locks would keep the end of its own task from being written, on SQLite everything, for as long as this process
lives.
"""

import logging
from uuid import UUID
from weakref import WeakSet

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.outage import first_line
from app.db.session import call_for_each_session
from app.messaging.task_base import OF_RUN
from app.services.execution.attempts import current_attempt

logger = logging.getLogger(__name__)

# Of the attempt whose body runs in this context; made by the first session that it opens.
_opened: dict[UUID, WeakSet[Session]] = {}


def _note(session: Session) -> None:
    if (attempt := current_attempt.get()) is not None:
        _opened.setdefault(attempt.task_id, WeakSet()).add(session)


def watch_sessions() -> None:
    """Begin, in a process that runs bodies."""
    call_for_each_session(_note)


def leave_sessions() -> None:
    """End it: this process runs no bodies any more, and may go on."""
    call_for_each_session(None)


def end(task_id: UUID) -> None:
    """Roll back what the body of this task has left open, also in `self.db`, which its `after_return` may use again."""
    if not _opened:  # most bodies open none
        return
    for session in _opened.pop(task_id, ()):
        if session.in_transaction():
            _roll_back(session, task_id)
    # A thread of a body that has ended may open more: they are noted until they are gone.
    for other in [other for other, sessions in _opened.items() if not sessions]:
        del _opened[other]


def _roll_back(session: Session, task_id: UUID) -> None:
    try:
        if OF_RUN in session.info:
            session.rollback()
            return
        logger.warning("task %s: its body left a transaction open, which is rolled back", task_id)
        session.close()
    except SQLAlchemyError as error:
        logger.warning("task %s: a transaction that its body left open: %s", task_id, first_line(error))
