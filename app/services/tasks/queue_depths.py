"""How much work waits and runs in each queue, from the partial indexes of unfinished tasks."""

from sqlalchemy import func, select, text

from app.core.metrics import QueueDepth
from app.db.session import engine
from app.messaging.routing import QUEUES
from app.models.task import Task, TaskStatus

STATEMENT_TIMEOUT_MS = 2000
_NOW = func.clock_timestamp()
# A delayed task waits since it is due, not since it was made.
_DUE_SINCE = func.greatest(Task.created_at, Task.run_at)


def read_queue_depths() -> list[QueueDepth]:
    """Every queue, idle ones included. On a connection of its own, and never longer than the timeout.

    One SELECT a status: only so are the partial indexes used, and finished rows cost nothing.
    """
    pending = select(
        Task.queue,
        func.count(),
        func.extract("epoch", _NOW - func.min(_DUE_SINCE).filter(_DUE_SINCE <= _NOW)),
    )
    running = select(Task.queue, func.count())
    with engine().connect() as connection:
        connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}"))
        waiting = connection.execute(pending.where(Task.status == TaskStatus.PENDING).group_by(Task.queue)).all()
        at_work = connection.execute(running.where(Task.status == TaskStatus.RUNNING).group_by(Task.queue)).all()
    in_work: dict[str, int] = dict(at_work)
    in_wait: dict[str, tuple[int, float]] = {queue: (count, float(age or 0)) for queue, count, age in waiting}
    return [
        QueueDepth(
            queue=queue,
            pending=in_wait.get(queue, (0, 0.0))[0],
            running=in_work.get(queue, 0),
            oldest_pending_seconds=max(0.0, in_wait.get(queue, (0, 0.0))[1]),
        )
        for queue in dict.fromkeys((*QUEUES, *in_wait, *in_work))
    ]
