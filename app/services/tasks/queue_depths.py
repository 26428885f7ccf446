"""How much work waits and runs in each queue, from the partial indexes of unfinished tasks."""

from app.core.metrics import QueueDepth
from app.db.postgresql import queue_depths
from app.db.session import engine
from app.messaging.routing import QUEUES

STATEMENT_TIMEOUT_MS = 2000


def read_queue_depths() -> list[QueueDepth]:
    """Every queue, idle ones included. On its own connection, and never longer than twice the timeout."""
    with engine().connect() as connection:
        waiting, at_work = queue_depths.read_queue_depths(connection, STATEMENT_TIMEOUT_MS)
    in_work: dict[str, int] = {row[0]: row[1] for row in at_work}
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
