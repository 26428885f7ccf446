"""Hands the rows of the outbox to their consumers, each in batches of its own. No other pass waits for a consumer."""

from functools import partial

from sqlalchemy.orm import Session

from app.maintenance.rounds import AT_NEXT_ROUND, Needs, Pass, Round
from app.services import consumers, outbox

IDLE_SECONDS = 0.5


def _run(db: Session, this: Round) -> float | None:
    # A batch has the first row of each task: it is the last one when none is left.
    more = [this.run_batches(db, partial(outbox.deliver_batch, consumer=each), 1) for each in consumers.CONSUMERS]
    return None if all(each is None for each in more) else AT_NEXT_ROUND


PASS = Pass("hand_over_outbox", IDLE_SECONDS, Needs.THREAD, _run)
