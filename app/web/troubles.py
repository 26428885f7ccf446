"""What is not well, for the sentence with which the overview begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import quote
from uuid import UUID

from app.models.worker import WorkerState
from app.services.operations.queue_service import QueueState
from app.services.operations.worker_service import WorkerInfo

# Seconds after which a task that could start has waited long.
LONG_WAIT = 60
# Seconds after which a lost worker is no news any more.
LOST_LONG = 600


@dataclass(frozen=True)
class Trouble:
    """One of `no_workers`, `no_worker`, `lost`, `failed`, `endpoint`, `paused`, `waits`. `path` shows more of it."""

    kind: str
    path: str
    name: str = ""
    number: int = 0
    seconds: float = 0
    since: datetime | None = None


def troubles(
    failures: tuple[int, datetime],
    queues: Sequence[QueueState],
    workers: Sequence[WorkerInfo],
    now: datetime,
    endpoints: Sequence[tuple[UUID, str]] = (),
) -> list[Trouble]:
    """Return what is not well, the worst first: nothing for a service that is well.

    `failures` are those that count, and since when. `queues` are those whose state matters to the reader. `workers` is
    empty for readers who may not see them. `endpoints`: id and name of the reader's webhooks that get nothing.
    """
    number, since = failures
    found = [each for queue in queues if (each := _of_queue(queue))]
    if queues and not any(queue.workers for queue in queues):
        found = [Trouble("no_workers", "/queues"), *(each for each in found if each.kind != "no_worker")]
    lost = [worker.name for worker in workers if worker.state is WorkerState.LOST and _matters(worker, now)]
    return [
        *(each for each in found if each.kind.startswith("no_worker")),
        *(Trouble("lost", f"/workers/{quote(name, safe='')}", name) for name in lost),
        *([Trouble("failed", "/errors", number=number, since=since)] if number else []),
        *(Trouble("endpoint", f"/webhooks/{endpoint_id}", name) for endpoint_id, name in endpoints),
        *(each for each in found if not each.kind.startswith("no_worker")),
    ]


def queues_of_user(queues: Sequence[QueueState], due: Mapping[str, int]) -> list[QueueState]:
    """Return the queues in which a user has tasks that are due, with those alone: `due` are their numbers."""
    return [replace(queue, ready=due[queue.name]) for queue in queues if due.get(queue.name)]


def _of_queue(queue: QueueState) -> Trouble | None:
    """Return why the tasks of a queue do not start. A queue without tasks that are due has no trouble."""
    path = f"/queues/{quote(queue.name, safe='')}"
    if queue.ready == 0:
        return None
    if queue.paused:
        return Trouble("paused", path, queue.name, queue.ready)
    if queue.workers == 0:
        return Trouble("no_worker", path, queue.name, queue.ready)
    waited = queue.oldest_ready_seconds or 0
    # With free slots they wait for the place of a limit, which somebody has set.
    is_full = queue.slots_used >= queue.slots
    return Trouble("waits", path, queue.name, queue.ready, waited) if is_full and waited > LONG_WAIT else None


def _matters(worker: WorkerInfo, now: datetime) -> bool:
    """Return whether a lost worker still holds tasks, or has been lost for a short time."""
    return bool(worker.running) or (now - worker.last_heartbeat_at).total_seconds() < LOST_LONG


def longest_wait(queues: Sequence[QueueState]) -> float:
    """Return for how many seconds the oldest task that could start has waited."""
    return max((queue.oldest_ready_seconds or 0.0 for queue in queues), default=0.0)


def used_slots(workers: Sequence[WorkerInfo]) -> tuple[int, int, int]:
    """Return how many workers live, how many slots of them are used, and how many they have."""
    living = [worker for worker in workers if worker.state is not WorkerState.LOST]
    return len(living), sum(len(worker.running) for worker in living), sum(worker.concurrency for worker in living)
