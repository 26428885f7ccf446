"""The outbox: hands what became of tasks to those that follow them (docs/adr/0052).

A consumer gets each row of its tasks at least once, those of one task in their order; the order among tasks is not
promised. The rows are found because they are there, not by a position in a sequence: so a row whose transaction
commits late is not missed. What a consumer writes is committed together with the deletion of its row, and is done once.

A row on which its consumer has failed five times is set aside: it stays in the table, and the others go on, also the
later ones of its task.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from app.core.redacted_text import redact_text
from app.db.outage import first_line, is_outage, is_passing
from app.db.rows import changed_rows
from app.db.session import transaction
from app.db.statements import batches
from app.ddl.clock import NOW, seconds
from app.ddl.trigger_terms import MOST_CONSUMERS
from app.models.outbox import OutboxRow
from app.models.task import Task

logger = logging.getLogger(__name__)

# Rows that are locked and handed over in one transaction.
BATCH = 50
MOST_FAILURES = 5
# Before the second try; each further one waits twice as long.
RETRY_SECONDS = 1.0
ERROR_CHARACTERS = 500


class TaskEvent(NamedTuple):
    """A row of the outbox, as its consumer gets it. `event` is an OutboxEvent, or what a newer release calls one.

    `generation` is that of the task, which rises with each retry.
    """

    id: int
    task_id: UUID
    user_id: UUID
    event: str
    generation: int
    created_at: datetime


@dataclass(frozen=True)
class Consumer:
    """Takes rows of the outbox. `handle` runs in the transaction that deletes the row, and does not commit.

    What cannot be taken back by a rollback belongs into `after_commit`; it may then be lost with the process, or has to
    be safe to do twice. An exception has the row tried again.
    """

    name: str
    number: int
    handle: Callable[[Session, TaskEvent], None]

    def __post_init__(self) -> None:
        if not 0 <= self.number < MOST_CONSUMERS:
            raise ValueError(f"a consumer's number is between 0 and {MOST_CONSUMERS - 1}, not {self.number}")

    @property
    def bit(self) -> int:
        """Its bit in `tasks.followers`."""
        return 1 << self.number


def follow_tasks(db: Session, consumer: Consumer, *which: sa.ColumnElement[bool]) -> int:
    """Have the consumer told what becomes of these tasks from the commit on. Returns how many it did not follow yet.

    A task that ends at the same time either has ended for the caller after this call, or is told.
    """
    known = sa.func.coalesce(Task.followers, 0)
    followers, is_new = known.bitwise_or(consumer.bit), known.bitwise_and(consumer.bit) == 0
    statement = sa.update(Task).where(*which, is_new).values(followers=followers)
    return changed_rows(db.execute(statement.execution_options(synchronize_session=False)))


def deliver_batch(db: Session, consumer: Consumer) -> int:
    """Hand one batch of rows to the consumer, in one transaction. Returns how many rows it was.

    Of each task it is the first row that is left. Raises SQLAlchemyError if the outbox itself cannot be read or
    written.
    """
    at: tuple[TaskEvent, int] | None = None
    try:
        with transaction(db):
            ids = batches.lock_batch(db, _ready_rows(consumer), BATCH)
            for failures, *values in db.execute(_read_rows(ids)).all() if ids else ():
                at = TaskEvent(*values), failures + 1
                _deliver(db, consumer, *at)
            at = None
    except Exception as error:
        if at is None:
            raise
        # Of the connection, a lock or a time limit: the transaction is gone, with what it had handed over before.
        with transaction(db):
            _write_failure(db, consumer, *at, error)
        return 1
    return len(ids)


def _ready_rows(consumer: Consumer) -> sa.Select[int]:
    """The keys of the rows to hand over now. A row waits for the one before it of the same task."""
    before = aliased(OutboxRow)
    waits = sa.exists().where(
        before.consumer == OutboxRow.consumer,
        before.task_id == OutboxRow.task_id,
        before.id < OutboxRow.id,
        before.set_aside_at.is_(None),
    )
    return (
        sa.select(OutboxRow.id)
        .where(
            OutboxRow.consumer == consumer.number,
            OutboxRow.set_aside_at.is_(None),
            OutboxRow.next_try_at.is_(None) | (OutboxRow.next_try_at <= NOW),
            ~waits,
        )
        .order_by(OutboxRow.id)
    )


def _read_rows(ids: list[int]) -> sa.Select[Any]:
    columns = (OutboxRow.failures, *(getattr(OutboxRow, name) for name in TaskEvent._fields))
    return sa.select(*columns).where(OutboxRow.id.in_(ids)).order_by(OutboxRow.id)


def _deliver(db: Session, consumer: Consumer, event: TaskEvent, failures: int) -> None:
    """Hand the event over and delete its row; where that fails, write down that it is failure number `failures`."""
    try:
        with db.begin_nested():
            consumer.handle(db, event)
            row = sa.delete(OutboxRow).where(OutboxRow.id == event.id)
            db.execute(row.execution_options(synchronize_session=False))
    except Exception as error:
        if is_outage(error) or is_passing(error):
            raise
        _write_failure(db, consumer, event, failures, error)


def _write_failure(db: Session, consumer: Consumer, event: TaskEvent, failures: int, error: Exception) -> None:
    what = f"outbox: {event.event} of task {event.task_id} for {consumer.name}"
    values: dict[str, Any] = {"failures": failures, "error": redact_text(first_line(error))[:ERROR_CHARACTERS]}
    if failures >= MOST_FAILURES:
        values["set_aside_at"] = NOW
        told = "%s is set aside after %d failures: row %d of task_outbox"
        logger.error(told, what, failures, event.id, exc_info=error)
    else:
        wait = RETRY_SECONDS * 2 ** (failures - 1)
        values["next_try_at"] = NOW + seconds(sa.literal(wait, sa.Double))
        logger.warning("%s failed, and is tried again in %g s: %s", what, wait, values["error"])
    row = sa.update(OutboxRow).where(OutboxRow.id == event.id).values(values)
    db.execute(row.execution_options(synchronize_session=False))
