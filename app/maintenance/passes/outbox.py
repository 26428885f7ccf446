"""Hands the rows of the outbox to their consumers, each in batches of its own."""

import logging
from functools import partial

from sqlalchemy.orm import Session

from app.db.outage import first_line, is_outage, is_passing
from app.maintenance.rounds import AT_NEXT_ROUND, EACH_ROUND, Needs, Pass, Round
from app.services import consumers, outbox
from app.services.outbox import Consumer

logger = logging.getLogger(__name__)


def _run(db: Session, this: Round) -> float | None:
    more = [_serve(db, this, consumer) for consumer in consumers.CONSUMERS]
    return AT_NEXT_ROUND if any(more) else None


def _serve(db: Session, this: Round, consumer: Consumer) -> bool:
    """Returns whether more may be left. A lock that one consumer waits for does not delay the others."""
    try:
        # A batch has the first row of each task: it is the last one when none is left.
        return this.run_batches(db, partial(outbox.deliver_batch, consumer=consumer), 1) is not None
    except Exception as error:
        if is_outage(error) or not is_passing(error):
            raise
        logger.info("outbox: rows for %s are handed over at the next round: %s", consumer.name, first_line(error))
        return True


PASS = Pass("hand_over_outbox", EACH_ROUND, Needs.DATABASE, _run)
