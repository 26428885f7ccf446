"""Counts the waiting and running tasks of each queue, with the partial indexes of unfinished tasks."""

from app.core.metrics import QueueDepth
from app.db.session import engine
from app.db.statements import queue_depths
from app.messaging.routing import QUEUES

STATEMENT_TIMEOUT_MS = 2000


def read_queue_depths() -> list[QueueDepth]:
    """Every queue, idle ones included. On its own connection, and never longer than twice the timeout."""
    with engine().connect() as connection:
        waiting, at_work = queue_depths.read_queue_depths(connection, STATEMENT_TIMEOUT_MS)
    running_counts: dict[str, int] = {row[0]: row[1] for row in at_work}
    pending_counts: dict[str, tuple[int, float]] = {queue: (count, float(age or 0)) for queue, count, age in waiting}
    return [
        QueueDepth(
            queue=queue,
            pending=pending_counts.get(queue, (0, 0.0))[0],
            running=running_counts.get(queue, 0),
            oldest_pending_seconds=max(0.0, pending_counts.get(queue, (0, 0.0))[1]),
        )
        for queue in dict.fromkeys((*QUEUES, *pending_counts, *running_counts))
    ]
