"""Wakes a slot for each queue with ready rows.

Whatever is lost on the way (a wake-up, the broker's content, a process between commit and wake-up) costs one round.
Without the broker the rows stay ready, and the next round tries again.
"""

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.db.session import transaction
from app.db.sql import turns
from app.db.statements import claim_holds
from app.db.statements.conditions import has_rows
from app.db.statements.held_rows import HAS_PLACE, PENDING
from app.db.statements.tables import TASKS
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round, queues
from app.messaging.wakeups import wake
from app.models.task import TaskPriority


def ready_queues(db: Session) -> list[str]:
    """The queues in which a task could start now."""
    with transaction(db):
        return turns.ready_queues(db, sorted(known_queues() - claim_holds.paused_queues(db)))


def _run(db: Session, this: Round) -> None:
    queues = ready_queues(db)
    if queues:
        producer = this.producer()
        for queue in queues:
            wake(producer, queue)


def _has_work() -> ColumnElement[bool]:
    """A task could start, but for a pause of its queue, or is to be held since no live worker knows it."""
    ready = select(TASKS.c.id).where(PENDING, TASKS.c.turn.is_not(None), HAS_PLACE).order_by(TASKS.c.turn, TASKS.c.id)
    lines = [(queue, priority.value) for queue in sorted(queues()) for priority in TaskPriority]
    return or_(*(has_rows(ready.where(TASKS.c.queue == queue, TASKS.c.priority == value)) for queue, value in lines))


PASS = Pass("wake_slots", EACH_ROUND, Needs.BROKER, _run, _has_work)
