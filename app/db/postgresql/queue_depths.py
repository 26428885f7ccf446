"""How many tasks wait, run and have started in each queue, and who serves it. From partial indexes."""

from sqlalchemy import Connection, exists, func, select, text, true, union_all
from sqlalchemy.orm import Session

from app.db.clock import NOW, STATEMENT_TIME
from app.db.every_engine.queue_depths import MINUTE_AGO, RUNNING, Rows
from app.models.task import Task, TaskStatus
from app.models.user import User

# A delayed or retried task waits from the time at which it is due.
_DUE_SINCE = Task.due_at
_PENDING = (
    select(
        Task.queue,
        func.count(),
        func.extract("epoch", NOW - func.min(_DUE_SINCE).filter(_DUE_SINCE <= NOW)),
    )
    .where(Task.status == TaskStatus.PENDING)
    .group_by(Task.queue)
)
_READY = (
    select(
        Task.queue,
        func.count(),
        func.count().filter(func.coalesce(Task.run_at, STATEMENT_TIME) <= STATEMENT_TIME),
        func.extract("epoch", STATEMENT_TIME - func.min(_DUE_SINCE).filter(_DUE_SINCE <= STATEMENT_TIME)),
    )
    .where(Task.status == TaskStatus.PENDING)
    .group_by(Task.queue)
)
_STARTED_RUNNING = select(Task.queue).where(Task.status == TaskStatus.RUNNING, Task.started_at > MINUTE_AGO)
# By user, because the index of ended tasks begins with the user.
_STARTED_ENDED = (
    select(Task.queue)
    .where(Task.user_id == User.id, Task.finished_at > MINUTE_AGO, Task.started_at > MINUTE_AGO)
    .lateral("ended")
)
_STARTED = union_all(_STARTED_RUNNING, select(_STARTED_ENDED.c.queue).select_from(User).join(_STARTED_ENDED, true()))
_STARTED_ROWS = _STARTED.subquery()
_STARTS = select(_STARTED_ROWS.c.queue, func.count()).group_by(_STARTED_ROWS.c.queue)


def read_queue_depths(connection: Connection, timeout_ms: int) -> tuple[Rows, Rows]:
    """Two lists: queue, number of pending tasks and age of the oldest in seconds; queue and number of running tasks.

    One SELECT for each status: only then does PostgreSQL use the partial indexes. Each takes at most `timeout_ms`.
    """
    connection.execute(text(f"SET LOCAL statement_timeout = {timeout_ms}"))
    return connection.execute(_PENDING).all(), connection.execute(RUNNING).all()


def read_waiting(db: Session) -> Rows:
    """Of each queue: its name, the number of pending tasks, of those that are due, the age of the oldest in seconds."""
    return db.execute(_READY).all()


def read_starts(db: Session) -> Rows:
    """Of each queue: its name, and how many tasks have a last attempt that began within a minute."""
    return db.execute(_STARTS).all()


def has_unfinished(db: Session, queue: str) -> bool:
    """Whether a task of this queue runs, or waits and was sent. Counts nothing."""
    sent = (Task.status == TaskStatus.PENDING, Task.turn.is_not(None))
    states = (sent, (Task.status == TaskStatus.RUNNING,))
    return any(db.scalar(select(exists().where(*state, Task.queue == queue))) for state in states)
