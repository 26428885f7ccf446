"""The passes of maintenance over what no claim may take: tasks that wait for limits, or for a worker that knows them.

Everything here has been done already, unless a process died, a task was changed while it waited, or time has passed.
"""

import logging
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.served_tasks import served_tasks
from app.db.session import transaction
from app.db.sql import held_tasks, limits, user_places
from app.db.statements.held_rows import Lines
from app.db.statements.limit_places import of_limit, of_lost_workers
from app.maintenance import running_quota
from app.models.limit import Limit
from app.models.task import TaskPriority
from app.services.operations import admission
from app.services.operations.admission import Admission
from app.services.operations.lines import behind
from app.services.operations.live_workers import look

logger = logging.getLogger(__name__)

# Statements over the front of the lines, and batches of tasks that are known again, in one pass.
MOST_ROUNDS = 10
BATCH = 500


def settle(db: Session, quota: int, *, silent_for: timedelta | None) -> float | None:
    """Free the places that nobody frees, and admit. Returns in how many seconds a rate allows the next start.

    `quota`: QUOTA_RUNNING_TASKS. `silent_for`: as in `passes.rescue_lost`.
    """
    with transaction(db):
        names = list(db.scalars(select(Limit.name).order_by(Limit.name)))
        by_user = quota > 0 or user_places.is_used(db)
        lost = admission.release(db, of_lost_workers(silent_for)) if names or by_user else {}
    for name in lost:
        logger.warning("maintenance: places of limit %s are free, whose worker is lost", name)
    if by_user:
        running_quota.settle(db, quota)
    if not names:
        return None
    for name in names:
        _repair(db, name)
    return admit_all(db)


def admit_all(db: Session) -> float | None:
    """Admit tasks to each limit for which some wait. Returns in how many seconds a rate allows the next start."""
    with transaction(db):
        waiting = held_tasks.with_waiting(db)
    waits = [wait for name in waiting if (wait := _admit(db, name)) is not None]
    return min(waits, default=None)


def _repair(db: Session, name: str) -> None:
    with transaction(db):
        limit = limits.lock(db, name)
        if limit is None:
            return
        limits.forget_starts(db, limit)
        limits.release(db, limits.without_use(name))
        lacking = held_tasks.hold_without_place(db, name)
    if lacking:
        logger.warning("maintenance: %d tasks of limit %s had no place, and wait for one", lacking, name)


def _admit(db: Session, name: str) -> float | None:
    with transaction(db):
        limit = limits.lock(db, name)
        if limit is None:
            return None
        admitting = Admission(db, limit)
        _take_back(db, admitting, name)
        keys = held_tasks.waiting_keys(db, name) if limit.is_by_key else []
        rooms = admitting.rooms_of(keys)
        admitting.run([key for key in keys if rooms[key] > 0])
        return limits.seconds_until_start(db, limit)


def _take_back(db: Session, admitting: Admission, name: str) -> None:
    """Take the places of tasks that wait behind others of their limit: in a paused queue, or of a lower priority.

    A place is given in the order of that moment. So a task that became due later may wait for one that cannot start.
    """
    admitted = held_tasks.admitted(db, of_limit(name))
    if not admitted:
        return
    lines = admitting.lines
    keys = {row.key for row in admitted if row.key is not None}
    of_keys = {key: place for key, (_, place) in held_tasks.next_of_keys(db, name, lines, keys).items()}
    first = held_tasks.next_held(db, name, lines, 1)[:1] if admitting.room() <= 0 else []
    best = min((row.place for row in first), default=len(lines.queues) + 1)
    taken = behind(lines, admitted, {key: min(best, place) for key, place in of_keys.items()}, best)
    if taken:
        held_tasks.take_back(db, taken, of_limit(name))
        admitting.ask_for(of_keys)


def hold_unknown(db: Session) -> None:
    """Take the tasks out of the way of claims that no live worker of their queue knows, and let others go on."""
    with transaction(db):
        look(db)
    for queues, names in served_tasks().served() or []:
        for _ in range(MOST_ROUNDS):
            with transaction(db):
                released = held_tasks.release_known(db, queues, names, BATCH)
            if released < BATCH:
                break
        if names is None:
            continue
        lines = [(queue, priority.value) for queue in queues for priority in TaskPriority]
        for _ in range(MOST_ROUNDS):
            with transaction(db):
                held = held_tasks.hold_unknown(db, Lines([q for q, _ in lines], [p for _, p in lines]), names)
            if not held:
                break
            logger.warning("maintenance: %d tasks of %s wait: no live worker knows them", held, ", ".join(queues))
