"""How many tasks wait and run in each queue, read from the partial indexes of unfinished tasks."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select, text

from app.db.clock import NOW
from app.models.task import Task, TaskStatus

# A delayed task waits from the time at which it is due.
_DUE_SINCE = func.greatest(Task.created_at, Task.run_at)
_PENDING = (
    select(
        Task.queue,
        func.count(),
        func.extract("epoch", NOW - func.min(_DUE_SINCE).filter(_DUE_SINCE <= NOW)),
    )
    .where(Task.status == TaskStatus.PENDING)
    .group_by(Task.queue)
)
_RUNNING = select(Task.queue, func.count()).where(Task.status == TaskStatus.RUNNING).group_by(Task.queue)

Rows = Sequence[Sequence[Any]]


def read_queue_depths(connection: Connection, timeout_ms: int) -> tuple[Rows, Rows]:
    """Two lists: queue, number of pending tasks and age of the oldest in seconds; queue and number of running tasks.

    One SELECT for each status: only then does PostgreSQL use the partial indexes. Each takes at most `timeout_ms`.
    """
    connection.execute(text(f"SET LOCAL statement_timeout = {timeout_ms}"))
    return connection.execute(_PENDING).all(), connection.execute(_RUNNING).all()
