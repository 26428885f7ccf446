"""Queues: what waits and runs in each, pause and resume. Each function is one transaction."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from uuid import UUID

from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.core.config import get_settings
from app.core.nearest import MAX_CHARACTERS, did_you_mean
from app.core.origin import current_actor
from app.db.session import transaction
from app.db.statements import claim_holds, reads, task_numbers, workers
from app.db.statements.task_numbers import read_running_by_queue
from app.db.transactions import after_commit
from app.errors import QueueNotFound, Text
from app.messaging import wakeups
from app.messaging.application import QUEUES
from app.models.queue import HoldKind, QueueEvent
from app.models.task import TaskPriority
from app.services import audit
from app.services.audit import Subject
from app.services.operations.demand import Waiting, count_waiting
from app.services.operations.worker_service import worker_lease

# So many tasks of each priority are looked at for whose they are.
FRONT = 5000


DUE_LOOK = 10_000


@dataclass
class PauseState:
    """Whether a queue is paused, and by whom, when and why."""

    name: str
    paused: bool = False
    paused_reason: str | None = None
    paused_by: UUID | None = None
    paused_at: datetime | None = None


@dataclass
class QueueState(Waiting, PauseState):
    """A queue as `GET /queues/` shows it, and how many of the slots are in use. Ages are in seconds."""

    running: int = 0
    started_per_minute: int = 0
    workers: int = 0
    slots: int = 0
    slots_used: int = 0
    """Of the slots: those that run something, of whatever queue."""


@dataclass(frozen=True)
class LineOfUser:
    """What one user has in the lines of a queue: by priority the tasks that need nothing but a slot."""

    user_id: UUID
    by_priority: dict[TaskPriority, int]

    @property
    def total(self) -> int:
        return sum(self.by_priority.values())


@dataclass(frozen=True)
class QueueLines:
    """What waits in a queue for nothing but a slot, by user, the one with most first.

    `is_cut`: only the first FRONT tasks of a priority were looked at.
    """

    users: list[LineOfUser]
    is_cut: bool


def list_queues(db: Session, *, to_admin: bool = True) -> list[QueueState]:
    """Return every queue that is known or has a task, a worker or a pause. `paused_by` is for administrators.

    Has DATABASE_COSTLY_READ_SECONDS.
    """
    reads.limit_read(db, get_settings().costly_read_seconds)
    queues: dict[str, QueueState] = {}

    def of(name: str) -> QueueState:
        return queues.setdefault(name, QueueState(name))

    for name in (*QUEUES, *sorted(known_queues())):
        of(name)
    live, held = workers.live(db, worker_lease()), claim_holds.held(db, HoldKind.QUEUE)
    count_waiting(db, live, {name for name, *_ in held}, of)
    used = Counter[UUID | None]()
    for name, worker_id, running in read_running_by_queue(db):
        of(name).running += running
        used[worker_id] += running
    for name, starts in task_numbers.read_starts_by_queue(db):
        of(name).started_per_minute = starts
    for worker in live:
        for name in worker.queues:
            of(name).workers += 1
            of(name).slots += worker.concurrency
            of(name).slots_used += used[worker.id]
    for name, since, reason, held_by in held:
        queue = of(name)
        queue.paused, queue.paused_at, queue.paused_reason = True, since, reason
        queue.paused_by = held_by if to_admin else None
    return list(queues.values())


def get_queue(db: Session, name: str, *, to_admin: bool = True) -> QueueState:
    """Return one of them. Has DATABASE_COSTLY_READ_SECONDS. Raises QueueNotFound."""
    queues = {queue.name: queue for queue in list_queues(db, to_admin=to_admin)}
    if name not in queues:
        raise _not_found(name, queues)
    return queues[name]


def queue_lines(db: Session, name: str) -> QueueLines:
    """Return who has how much in the lines of a queue: of each priority the first FRONT tasks are looked at."""
    by_user: dict[UUID, dict[TaskPriority, int]] = {}
    is_cut = False
    for priority in reversed(TaskPriority):
        rows = task_numbers.front_of_line(db, name, priority.value, FRONT)
        is_cut = is_cut or sum(number for _, number in rows) == FRONT
        for user_id, number in rows:
            by_user.setdefault(user_id, {})[priority] = int(number)
    lines = [LineOfUser(*of_user) for of_user in by_user.items()]
    return QueueLines(sorted(lines, key=lambda line: (-line.total, line.user_id)), is_cut)


def due_of_user(db: Session, user_id: UUID) -> dict[str, int]:
    """Return how many of the user's pending tasks need only a slot, by queue, among the newest DUE_LOOK."""
    return {queue: int(number) for queue, number in task_numbers.due_of_user(db, user_id, DUE_LOOK)}


def pause_queue(db: Session, name: str, reason: str | None = None, *, commit: bool = True) -> PauseState:
    """Let no task of this queue begin, from the commit on, until `resume_queue`. What runs goes on.

    Paused again, a queue takes the new reason. All claims of all queues wait from this call to the commit. Raises
    QueueNotFound.
    """
    actor = current_actor()
    by = actor.id if actor else None
    with transaction(db, commit=commit):
        _check_known(db, name)
        audit.record(db, QueueEvent.PAUSED, Subject("queue", name), reason=reason or "")
        since = claim_holds.hold(db, HoldKind.QUEUE, name, reason, by)
    return PauseState(name, paused=True, paused_reason=reason, paused_by=by, paused_at=since)


def resume_queue(db: Session, name: str, *, commit: bool = True) -> PauseState:
    """Let the tasks of this queue begin again: several slots are woken for them. Raises QueueNotFound."""
    with transaction(db, commit=commit):
        _check_known(db, name)
        if claim_holds.is_held(db, HoldKind.QUEUE, name):
            claim_holds.forget(db, HoldKind.QUEUE, name)
            audit.record(db, QueueEvent.RESUMED, Subject("queue", name))
            after_commit(db, lambda: wakeups.publish([name] * wakeups.MANY))
    return PauseState(name)


def _check_known(db: Session, name: str) -> None:
    """Raise QueueNotFound, unless the queue is declared, served or paused, or has tasks. Counts nothing."""
    known = {
        *QUEUES,
        *known_queues(),
        *chain.from_iterable(worker.queues for worker in workers.live(db, worker_lease())),
    }
    if name in known or claim_holds.is_held(db, HoldKind.QUEUE, name) or task_numbers.has_unfinished_in_queue(db, name):
        return
    raise _not_found(name, known)


def _not_found(name: str, known: Iterable[str]) -> QueueNotFound:
    return QueueNotFound(Text("There is no queue {}{}", name[:MAX_CHARACTERS], did_you_mean(name, known)))
