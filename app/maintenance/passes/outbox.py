"""Hands the rows of the outbox to their consumers: a pass for each, so that none waits for another one."""

from functools import partial

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from app.db.statements.conditions import has_rows
from app.maintenance.rounds import Needs, Pass, Round
from app.models.outbox import OutboxRow
from app.services.consumers import CONSUMERS
from app.services.outbox import Consumer, Turn, deliver_batch

IDLE_SECONDS = 0.5


def pass_of(consumer: Consumer) -> Pass:
    """The pass that serves this consumer."""
    turn = Turn()

    def run(db: Session, this: Round) -> float | None:
        # A batch has the first row of each task: it is the last one when none is left.
        return this.run_batches(db, partial(deliver_batch, consumer=consumer, turn=turn), 1)

    def has_work() -> ColumnElement[bool]:
        rows = select(OutboxRow.id).where(OutboxRow.consumer == consumer.number, OutboxRow.set_aside_at.is_(None))
        return has_rows(rows.order_by(OutboxRow.user_id, OutboxRow.id))

    return Pass(f"outbox_{consumer.name}", IDLE_SECONDS, Needs.THREAD, run, has_work)


PASSES = tuple(map(pass_of, CONSUMERS))
