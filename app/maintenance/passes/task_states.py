"""Moves tasks on: ends lost attempts, revokes what is expired, gives turns, holds unknown ones, wakes slots."""

import logging
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.core.served_tasks import served_tasks
from app.db.outage import is_locked
from app.db.session import transaction
from app.db.sql import held_tasks, turns
from app.db.statements import claim_holds
from app.db.statements.batches import lock_batch
from app.db.statements.expressions import greatest
from app.db.statements.pending_rows import HAS_PLACE, PENDING, PLACE_BATCH, Lines, is_held
from app.db.statements.reads import has_rows
from app.db.statements.tables import TASKS
from app.ddl.clock import NOW, STATEMENT_TIME
from app.maintenance.passes import places
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round, queues
from app.messaging.wakeups import wake
from app.models.task import IS_PENDING, IS_RUNNING, Held, Task, TaskPriority
from app.models.worker import WorkerProcess
from app.services.execution import ends
from app.services.operations.worker_service import look_at_workers

logger = logging.getLogger(__name__)

LOST_BATCH = 500


def end_lost_attempts(db: Session, *, silent_for: timedelta | None) -> int:
    """End the attempts of stopped workers, and of workers without a heartbeat for that long. Returns how many."""
    with transaction(db):
        ids = _attempts_of_lost_workers(db, silent_for, LOST_BATCH)
        ended = ends.end_tasks(db, ends.lost(_how_lost(silent_for)), Task.id.in_(ids)) if ids else 0
    for task_id in ids:
        logger.warning("maintenance: task %s: its worker is lost, and the attempt has ended", task_id)
    return ended


def _how_lost(silent_for: timedelta | None) -> str:
    return "its worker has stopped" + (
        f", or sent no heartbeat for {silent_for.total_seconds():g} s" if silent_for else ""
    )


def _attempts_of_lost_workers(db: Session, silent_for: timedelta | None, limit: int) -> list[UUID]:
    """Return the running tasks, at most `limit`, of workers that have stopped; their rows are locked until the commit.

    With `silent_for` also those of workers without a heartbeat for that time.
    """
    # In subqueries: FOR UPDATE would lock the workers of a join, and their heartbeats would wait.
    worker = WorkerProcess.id == Task.worker_id
    stopped_at = select(WorkerProcess.stopped_at).where(worker).scalar_subquery()
    gone: ColumnElement[bool] = stopped_at.is_not(None)
    if silent_for is not None:
        # Without a row of the worker (it never registered, or was forgotten) the task's own age decides.
        # A claim is a sign of life too: after a partition a child may be back before its parent's next heartbeat.
        heartbeat_at = select(WorkerProcess.heartbeat_at).where(worker).scalar_subquery()
        sign_of_life = greatest(Task.started_at, func.coalesce(heartbeat_at, Task.started_at))
        gone = gone | (sign_of_life < NOW - silent_for)
    attempts = select(Task.id).where(IS_RUNNING, gone)
    # Found without locks first: nearly always there is none, and an UPDATE of a running task would wait for its look.
    found = db.scalars(attempts.limit(limit)).all()
    return lock_batch(db, attempts.where(Task.id.in_(found)), limit) if found else []


def _end_lost(db: Session, this: Round) -> None:
    end_lost_attempts(db, silent_for=this.silent_for)


END_LOST_ATTEMPTS = Pass(
    "end_lost_attempts", EACH_ROUND, Needs.DATABASE, _end_lost, lambda: has_rows(select(Task.id).where(IS_RUNNING))
)


# -- Revokes the pending tasks past their `expires_at`: they never start -----------------------------------------------

EXPIRED_BATCH = 500
_EXPIRED = select(Task.id).where(IS_PENDING, Task.expires_at <= STATEMENT_TIME)


def revoke_expired(db: Session) -> int:
    """Revoke a batch of them. Returns how many."""
    with transaction(db):
        ids = lock_batch(db, _EXPIRED, EXPIRED_BATCH)
        return ends.end_tasks(db, ends.expired(), Task.id.in_(ids)) if ids else 0


def _revoke_batch(db: Session, _: Round) -> None:
    revoke_expired(db)


REVOKE_EXPIRED = Pass(
    "revoke_expired", EACH_ROUND, Needs.DATABASE, _revoke_batch, lambda: has_rows(_EXPIRED.order_by(Task.expires_at))
)


# -- Gives the tasks that have become due their turns ------------------------------------------------------------------

# Where turns are given user by user, the users of so many tasks are looked at in one round.
MOST_UNPLACED = 100_000
_DUE = (PENDING, TASKS.c.turn.is_(None), TASKS.c.due_at <= STATEMENT_TIME)


def give_turns(db: Session) -> None:
    """Give every pending task that has become due its turn, in batches.

    A transaction that holds the turns of its users, and is not over yet, delays the tasks of those users alone.
    """
    if _give_all(db):
        return
    # In the order of an index: else SQLite would take another one.
    rows = select(TASKS.c.user_id).where(*_DUE)
    oldest = rows.order_by(TASKS.c.due_at).limit(MOST_UNPLACED).subquery("unplaced")
    with transaction(db):
        users = db.scalars(select(oldest.c.user_id).distinct()).all()
    for user_id in users:
        _give_all(db, user_id)


def _give_all(db: Session, user_id: UUID | None = None) -> bool:
    """Give all that are due their turns, of all users or of this one. Returns False where a lock is in the way."""
    given = PLACE_BATCH
    try:
        while given == PLACE_BATCH:
            with transaction(db):
                given = turns.place_due(db, user_id)
    except OperationalError as error:
        if not is_locked(error):
            raise
        return False
    return True


def _give_turns(db: Session, this: Round) -> None:
    # In one pass: where the first fails, no task gets a turn that has to wait for a place of its user.
    places.hold_without_place(db, this.settings.quota_running_tasks)
    give_turns(db)


def _any_is_due() -> ColumnElement[bool]:
    # A task that has its turn and no place of its user is ready: the wake-ups look for these.
    return has_rows(select(TASKS.c.id).where(*_DUE).order_by(TASKS.c.due_at))


GIVE_TURNS = Pass("give_turns", EACH_ROUND, Needs.DATABASE, _give_turns, _any_is_due)


# -- Takes the tasks out of the way of claims that no live worker knows ------------------------------------------------

# Statements over the front of the lines, and batches of tasks that are known again, in one pass.
MOST_STATEMENTS = 10
RELEASED_BATCH = 500


def _hold_unknown(db: Session, _this: Round) -> None:
    """Hold the tasks that no live worker of their queue knows, and let those go on that one knows again."""
    with transaction(db):
        look_at_workers(db)
    for served, names in served_tasks().served() or []:
        for _ in range(MOST_STATEMENTS):
            with transaction(db):
                released = held_tasks.release_known(db, served, names, RELEASED_BATCH)
            if released < RELEASED_BATCH:
                break
        if names is None:
            continue
        lines = [(queue, priority.value) for queue in served for priority in TaskPriority]
        for _ in range(MOST_STATEMENTS):
            with transaction(db):
                held = held_tasks.hold_unknown(db, Lines([q for q, _ in lines], [p for _, p in lines]), names)
            if not held:
                break
            logger.warning("maintenance: %d tasks of %s wait: no live worker knows them", held, ", ".join(served))


def _any_is_held() -> ColumnElement[bool]:
    # Those to hold are ready: the wake-ups look for these.
    return has_rows(select(TASKS.c.id).where(PENDING, is_held(Held.NAME)))


HOLD_UNKNOWN = Pass("hold_unknown_tasks", EACH_ROUND, Needs.DATABASE, _hold_unknown, _any_is_held)


# -- Wakes a slot for each queue with ready rows -----------------------------------------------------------------------
# Whatever is lost on the way (a wake-up, the broker's content, a process between commit and wake-up) costs one round.
# Without the broker the rows stay ready, and the next round tries again.


def ready_queues(db: Session) -> list[str]:
    """Return the queues in which a task could start now."""
    with transaction(db):
        return turns.ready_queues(db, sorted(known_queues() - claim_holds.paused_queues(db)))


def _wake_slots(db: Session, this: Round) -> None:
    queues = ready_queues(db)
    if queues:
        producer = this.producer()
        for queue in queues:
            wake(producer, queue)


def _any_is_ready() -> ColumnElement[bool]:
    """Return whether a task could start but for a pause of its queue, or since no live worker knows it."""
    ready = select(TASKS.c.id).where(PENDING, TASKS.c.turn.is_not(None), HAS_PLACE).order_by(TASKS.c.turn, TASKS.c.id)
    lines = [(queue, priority.value) for queue in sorted(queues()) for priority in TaskPriority]
    return or_(*(has_rows(ready.where(TASKS.c.queue == queue, TASKS.c.priority == value)) for queue, value in lines))


WAKE_SLOTS = Pass("wake_slots", EACH_ROUND, Needs.BROKER, _wake_slots, _any_is_ready)
