"""Does bulk deeds, as long as there are running ones: in each round, a step for each user who has any."""

import logging
import time
from threading import Event
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.outage import first_line, is_outage, is_passing
from app.maintenance.rounds import AT_NEXT_ROUND, Needs, Pass, Round
from app.services.bulk import steps

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.5
# After each batch, for this share of the time that it took, the database works for others alone.
REST = 0.5


def take_steps(db: Session, stopping: Event) -> bool:
    """Take one step for each user who has a running deed. Returns whether any has moved."""
    moved = False
    for deeds in steps.running(db).values():
        for deed_id in deeds:
            if stopping.is_set():
                return False
            begun = time.monotonic()
            if _take_step(db, deed_id):
                moved = True
                stopping.wait(REST * (time.monotonic() - begun))
                break  # the user's next deed has its turn once this one has ended, or can do nothing
    return moved


def _take_step(db: Session, deed_id: UUID) -> bool:
    try:
        return steps.step(db, deed_id)
    except Exception as error:
        if is_outage(error):
            raise
        if is_passing(error):
            logger.warning("bulk: a batch of deed %s is tried again: %s", deed_id, first_line(error))
        else:
            logger.exception("bulk: a batch of deed %s failed, and is tried again; its user can abort it", deed_id)
        return False


def _run(db: Session, this: Round) -> float | None:
    return AT_NEXT_ROUND if take_steps(db, this.stopping) else None


PASS = Pass("do_bulk", IDLE_SECONDS, Needs.THREAD, _run)
