"""What one scrape of `/metrics` tells of tasks and workers, read with a few small statements."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.core.task_metrics import QueueDepth, TaskNumbers, WorkerLoad
from app.db.session import SessionLocal
from app.db.statements import queue_depths, reads, workers
from app.db.statements.expressions import seconds_between
from app.ddl.clock import STATEMENT_TIME
from app.messaging.routing import QUEUES
from app.models.maintenance import MaintenanceLease
from app.models.task import IS_RUNNING, Task
from app.services.operations import task_sums
from app.services.operations.live_workers import lease

STATEMENT_SECONDS = 2.0

_SINCE_MAINTENANCE = select(seconds_between(MaintenanceLease.renewed_at, STATEMENT_TIME))
_RUNNING = select(Task.worker_id, func.count()).where(IS_RUNNING).group_by(Task.worker_id)


def read_task_numbers() -> TaskNumbers:
    """Read them, on a connection of their own. Each statement takes at most STATEMENT_SECONDS.

    They take longer the more tasks are pending, and no longer the more have ended.
    """
    with SessionLocal() as db:
        reads.limit_read(db, STATEMENT_SECONDS)
        loads = _worker_loads(db)
        depths = _depths(db, {queue for worker in loads for queue in worker.queues})
        since: Any = db.scalar(_SINCE_MAINTENANCE)
        sums = task_sums.read(db)
    return TaskNumbers(depths, sums, loads, float("inf") if since is None else max(0.0, float(since)))


def _depths(db: Session, served: set[str]) -> list[QueueDepth]:
    """Of every queue that is known, is served or has an unfinished task; idle ones included."""
    waiting = {queue: (number, ready, float(age or 0)) for queue, number, ready, age in queue_depths.read_waiting(db)}
    running = {queue: number for queue, number in queue_depths.read_running(db)}  # noqa: C416 (a row is no pair for mypy)
    depths = []
    for queue in dict.fromkeys((*QUEUES, *sorted(known_queues() | served), *waiting, *running)):
        pending, ready, age = waiting.get(queue, (0, 0, 0.0))
        depths.append(QueueDepth(queue, pending, ready, running.get(queue, 0), max(0.0, age)))
    return depths


def _worker_loads(db: Session) -> list[WorkerLoad]:
    """Those that `GET /workers/` shows."""
    running = {worker: number for worker, number in db.execute(_RUNNING)}  # noqa: C416 (a row is no pair for mypy)
    return [
        WorkerLoad(each.name, each.queues, each.concurrency, running.get(each.id, 0), is_up=not lost)
        for each, lost in workers.not_stopped(db, lease(), None)
    ]
