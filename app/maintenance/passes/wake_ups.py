"""Wakes a slot for each queue with ready rows.

Whatever is lost on the way (a wake-up, the broker's content, a process between commit and wake-up) costs one round.
Without the broker the rows stay ready, and the next round tries again.
"""

from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.db.session import transaction
from app.db.sql import turns
from app.db.statements import claim_holds
from app.maintenance.rounds import EACH_ROUND, Needs, Pass, Round
from app.messaging.wakeups import wake


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


PASS = Pass("wake_slots", EACH_ROUND, Needs.BROKER, _run)
