"""What one scrape of `/metrics` tells of tasks and workers, read with a few small statements."""

from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.core.metrics import QueueDepth, TaskNumbers, WorkerLoad
from app.db.session import SessionLocal
from app.db.statements import queue_depths, reads, workers
from app.db.statements.expressions import seconds_between
from app.db.statements.queue_depths import RunningTasks
from app.ddl.clock import STATEMENT_TIME
from app.messaging.application import QUEUES
from app.models.maintenance import MaintenanceLease
from app.services.operations import task_sums
from app.services.operations.live_workers import lease

STATEMENT_SECONDS = 2.0

_SINCE_MAINTENANCE = select(seconds_between(MaintenanceLease.renewed_at, STATEMENT_TIME))


def read_task_numbers() -> TaskNumbers:
    """Read them, on a connection of their own. Each statement takes at most STATEMENT_SECONDS.

    They take longer the more tasks are pending, and no longer the more have ended.
    """
    with SessionLocal() as db:
        reads.limit_read(db, STATEMENT_SECONDS)
        running = queue_depths.read_running(db)
        loads = _worker_loads(db, running)
        depths = _depths(db, running, {queue for worker in loads for queue in worker.queues})
        since = maintenance_seconds(db)
        sums = task_sums.read(db)
    return TaskNumbers(depths, sums, loads, since)


def maintenance_seconds(db: Session) -> float:
    """Return how many seconds ago a round of maintenance began; infinity before the first one."""
    since: Any = db.scalar(_SINCE_MAINTENANCE)
    return float("inf") if since is None else max(0.0, float(since))


def _depths(db: Session, running_tasks: Sequence[RunningTasks], served: set[str]) -> list[QueueDepth]:
    """Of every queue that is known, is served or has an unfinished task; idle ones included."""
    waiting = {queue: (number, ready, float(age or 0)) for queue, number, ready, age in queue_depths.read_waiting(db)}
    running = Counter[str]()
    for each in running_tasks:
        running[each.queue] += each.number
    depths = []
    for queue in dict.fromkeys((*QUEUES, *sorted(known_queues() | served), *waiting, *running)):
        pending, ready, age = waiting.get(queue, (0, 0, 0.0))
        depths.append(QueueDepth(queue, pending, ready, running[queue], max(0.0, age)))
    return depths


def _worker_loads(db: Session, running_tasks: Sequence[RunningTasks]) -> list[WorkerLoad]:
    """Those that `GET /workers/` shows."""
    running = Counter[UUID | None]()
    for each in running_tasks:
        running[each.worker_id] += each.number
    return [
        WorkerLoad(each.name, each.queues, each.concurrency, running[each.id], is_up=not lost)
        for each, lost in workers.not_stopped(db, lease(), None)
    ]
