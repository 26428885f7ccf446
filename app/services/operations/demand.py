"""How many tasks of a queue could start, what the others need, and what the slots that serve it are used for."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.served_tasks import ServedTasks
from app.db.statements import claim_holds, startable, workers
from app.db.statements.startable import MOST
from app.db.statements.workers import LiveWorker
from app.models.queue import HoldKind
from app.models.task import Held
from app.services.operations.worker_service import worker_lease


@dataclass
class Waiting:
    """The pending tasks of a queue. The four numbers behind `ready` add up to them; ages are in seconds."""

    pending: int = 0
    ready: int = 0
    startable: int = 0
    blocked: int = 0
    limited: int = 0
    scheduled: int = 0
    oldest_ready_seconds: float | None = None
    oldest_startable_seconds: float | None = None


_NEEDS_PLACE = frozenset({Held.USER, Held.LIMIT, Held.LIMIT_KEY})
# What else holds a task blocks it, also what a newer version of the service calls by a word of its own.
_NEEDS_SLOT_OR_PLACE = _NEEDS_PLACE | {None, Held.NAME}


def count_waiting(
    db: Session, live: Sequence[LiveWorker], paused: Collection[str], of: Callable[[str], Waiting]
) -> None:
    """Add what waits in each queue that has pending tasks to what `of` returns for its name.

    `live` are the workers, `paused` the queues that are. Reads every pending task.
    """
    served = _served_by(live)
    for tasks in startable.by_queue(db):
        of_queue = of(tasks.queue)
        age = None if tasks.oldest_seconds is None else max(0.0, float(tasks.oldest_seconds))
        of_queue.oldest_ready_seconds = _older(of_queue.oldest_ready_seconds, age)
        of_queue.pending += tasks.number
        of_queue.ready += tasks.due
        of_queue.scheduled += tasks.number - tasks.due
        if tasks.queue in paused or tasks.held not in _NEEDS_SLOT_OR_PLACE:
            of_queue.blocked += tasks.due
        elif tasks.held in _NEEDS_PLACE:
            of_queue.limited += tasks.due
        elif served.is_served(tasks.queue) and not served.can_run(tasks.queue, tasks.celery_task_name):
            of_queue.blocked += tasks.due
        else:
            of_queue.startable += tasks.due
            of_queue.oldest_startable_seconds = _older(of_queue.oldest_startable_seconds, age)


def _older(one: float | None, other: float | None) -> float | None:
    return max((age for age in (one, other) if age is not None), default=None)


def _served_by(live: Sequence[LiveWorker]) -> ServedTasks:
    served = ServedTasks()
    served.learn((worker.queues, worker.task_names) for worker in live)
    return served


# -- The demand of one queue, for what starts and stops workers: by a few looks into indexes ---------------------------


@dataclass(frozen=True)
class Demand:
    """How many slots a queue could use. `more`: there are more startable tasks than `startable` says."""

    queue: str
    slots: int
    running: int
    startable: int
    more: bool
    oldest_startable_seconds: float | None

    @property
    def slots_needed(self) -> int:
        """The slots that the running tasks have, and those that could start would use."""
        return self.startable + self.running


def read_demand(db: Session, queue: str) -> Demand:
    """Return the demand of a queue, of whatever name: one that nothing is known of has none."""
    serving, slots = _serving(db, queue)
    running = startable.count_running(db, queue)
    if claim_holds.is_held(db, HoldKind.QUEUE, queue):
        return Demand(queue, slots, running, 0, more=False, oldest_startable_seconds=None)
    names = _served_by(serving).names(queue) if serving else None
    number, oldest = startable.count(db, queue, names)
    return Demand(queue, slots, running, min(number, MOST), more=number > MOST, oldest_startable_seconds=oldest)


def _serving(db: Session, queue: str) -> tuple[list[LiveWorker], int]:
    """Return the live workers that serve a queue, and how many slots they have."""
    serving = [worker for worker in workers.live(db, worker_lease()) if queue in worker.queues]
    return serving, sum(worker.concurrency for worker in serving)


# -- What a task waits for that needs nothing but a slot ---------------------------------------------------------------


@dataclass(frozen=True)
class PlaceInLine:
    """How many tasks stand before a task, and what runs in the slots that serve its queue: names and numbers.

    `more`: there are more of them than `ahead` says.
    """

    ahead: int
    more: bool
    slots: int
    running: Sequence[tuple[str, int]]


def place_in_line(db: Session, task_id: UUID, queue: str) -> PlaceInLine | None:
    """Return the place of a pending task of this queue; None if it has none: it runs, or waits for something else."""
    ahead = startable.ahead(db, task_id)
    if ahead is None:
        return None
    serving, slots = _serving(db, queue)
    running = startable.running_on(db, [worker.id for worker in serving])
    return PlaceInLine(min(ahead, MOST), ahead > MOST, slots, running)
