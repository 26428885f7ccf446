"""Hands the rows of the outbox to their consumers: a pass for each, so that none waits for another one."""

from functools import partial

from sqlalchemy.orm import Session

from app.maintenance.rounds import Needs, Pass, Round
from app.services.consumers import CONSUMERS
from app.services.outbox import Consumer, Turn, deliver_batch

IDLE_SECONDS = 0.5


def pass_of(consumer: Consumer) -> Pass:
    """The pass that serves this consumer."""
    turn = Turn()

    def run(db: Session, this: Round) -> float | None:
        # A batch has the first row of each task: it is the last one when none is left.
        return this.run_batches(db, partial(deliver_batch, consumer=consumer, turn=turn), 1)

    return Pass(f"outbox_{consumer.name}", IDLE_SECONDS, Needs.THREAD, run)


PASSES = tuple(map(pass_of, CONSUMERS))
