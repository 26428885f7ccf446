"""The outbox: hands what became of tasks to those that follow them (docs/adr/0052).

A consumer gets each row of its tasks at least once, those of one task in their order; the order among tasks is not
promised. The rows are found because they are there, not by a position in a sequence: so a row whose transaction
commits late is not missed. What a consumer writes is committed together with the deletion of its row, and is done once.

A row on which its consumer has failed five times is set aside: it stays in the table, and the others go on, also the
later ones of its task.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.redacted_text import redact_text
from app.db.outage import first_line, is_outage, is_passing
from app.db.rows import changed_rows
from app.db.session import transaction
from app.db.statements.conditions import is_one_of
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

    `generation` is that of the task, which rises with each retry. It and what follows are of the task as the event has
    left it; None in rows from before revision 0032.
    """

    id: int
    task_id: UUID
    user_id: UUID
    event: str
    generation: int
    created_at: datetime
    version: int | None
    finished_at: datetime | None
    task_type: str | None
    celery_task_name: str | None
    tags: list[str] | None
    webhook_url: str | None


@dataclass(frozen=True)
class Consumer:
    """Takes rows of the outbox. `handle` runs in the transaction that deletes the row, and does not commit.

    It writes to the database and nothing else: the server ends a transaction that is idle for two seconds
    (`IDLE_MS` of `app/db/session.py`), and on SQLite it keeps all other writers waiting. What is slow, or is sent over
    the network, is a task or a row for a pass of its own. What cannot be taken back by a rollback belongs into
    `after_commit`; it may then be lost with the process. An exception has the row tried again.
    """

    name: str
    number: int
    handle: Callable[[Session, TaskEvent], None]
    handle_all: Callable[[Session, Sequence[TaskEvent]], None] | None = None
    """As `handle` for several events, where that costs less. What it fails on is handed over one by one."""

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
    return add_followers(db, consumer.bit, *which)


def add_followers(db: Session, bits: int, *which: sa.ColumnElement[bool]) -> int:
    """As `follow_tasks`, for the consumers of these bits. Returns how many tasks lacked one of them."""
    known = sa.func.coalesce(Task.followers, 0)
    followers, is_new = known.bitwise_or(bits), known.bitwise_and(bits) != bits
    statement = sa.update(Task).where(*which, is_new).values(followers=followers)
    return changed_rows(db.execute(statement.execution_options(synchronize_session=False)))


def deliver_batch(
    db: Session, consumer: Consumer, size: int = BATCH, of: Sequence[UUID] | None = None
) -> int:  # fmt: skip
    """Hand at most `size` rows to the consumer, in one transaction. Returns how many rows it was.

    Of each task it is the first row that is left. `of`: of these tasks alone. Raises SQLAlchemyError if the
    outbox itself cannot be read or written.
    """
    at: tuple[TaskEvent, int] | None = None
    rows: Sequence[Any] = ()
    all_handled = False
    try:
        with transaction(db):
            rows = _lock_rows(db, consumer, size, of)
            if len(rows) == 1:
                failures, *values = rows[0]
                at = TaskEvent(*values), failures + 1
            if not _deliver_together(db, consumer, rows):
                for failures, *values in rows:
                    at = TaskEvent(*values), failures + 1
                    _deliver(db, consumer, *at)
            all_handled = True
    except Exception as error:
        # The transaction is gone, with what it had handed over.
        if at is None:
            raise
        if all_handled and len(rows) > 1:
            # The COMMIT failed, which does not say for which row. A batch of one does.
            return sum(deliver_batch(db, consumer, 1, [TaskEvent(*values).task_id]) for _, *values in rows)
        # Of the connection, a lock or a time limit; or the COMMIT of this row alone.
        with transaction(db):
            _write_failure(db, consumer, *at, error)
        return 1
    return len(rows)


def _deliver_together(db: Session, consumer: Consumer, rows: Sequence[Any]) -> bool:
    """Hand these rows over at once and delete them. Returns False, with nothing done, where that is not possible.

    What it raises for one row alone, its caller takes back and writes down.
    """
    events = [TaskEvent(*values) for _, *values in rows]
    if consumer.handle_all is None or not events:
        return False
    if len(events) == 1:
        consumer.handle_all(db, events)
        db.execute(_DONE, {"ids": [events[0].id]})
        return True
    try:
        with db.begin_nested():
            consumer.handle_all(db, events)
            db.execute(_DONE, {"ids": [event.id for event in events]})
    except Exception as error:
        if is_outage(error) or is_passing(error):
            raise
        logger.warning("outbox: %d rows for %s one by one, after: %s", len(events), consumer.name, first_line(error))
        return False
    return True


_OUTBOX = cast("sa.Table", OutboxRow.__table__)
_ROWS, _BEFORE = _OUTBOX.c, _OUTBOX.alias("before")
_IS_READY = (
    _ROWS.consumer == sa.bindparam("consumer", type_=sa.SmallInteger),
    _ROWS.set_aside_at.is_(None),
    _ROWS.next_try_at.is_(None) | (_ROWS.next_try_at <= NOW),
)
_WAITS = sa.exists().where(
    _BEFORE.c.consumer == _ROWS.consumer,
    _BEFORE.c.task_id == _ROWS.task_id,
    _BEFORE.c.id < _ROWS.id,
    _BEFORE.c.set_aside_at.is_(None),
)
_FIRST = sa.select(_ROWS.id).where(*_IS_READY, ~_WAITS).order_by(_ROWS.id).limit(sa.bindparam("size", type_=sa.Integer))
# Of some tasks, by their index alone: with the look for rows before each one, PostgreSQL took some 90 times as long.
_FIRST_OF = (
    sa.select(sa.func.min(_ROWS.id))
    .where(_IS_READY[0], is_one_of(_ROWS.task_id, "of"), _ROWS.set_aside_at.is_(None))
    .group_by(_ROWS.task_id)
)
_LOCK = (
    sa.select(_ROWS.failures, *(_ROWS[name] for name in TaskEvent._fields))
    .where(is_one_of(_ROWS.id, "ids"), *_IS_READY)
    .order_by(_ROWS.id)
    .with_for_update(skip_locked=True)
)
_DONE = sa.delete(_OUTBOX).where(is_one_of(_ROWS.id, "ids"))


def _lock_rows(db: Session, consumer: Consumer, size: int, of: Sequence[UUID] | None) -> Sequence[Any]:
    """The rows to hand over now: `failures`, and the columns of a TaskEvent. A row waits for the one before it.

    The look locks nothing, so that it sees all rows at one moment: MySQL would lock rows as they are now, and look for
    the ones before them as they were when the statement began.
    """
    values: dict[str, Any] = {"consumer": consumer.number}
    first = _FIRST if of is None else _FIRST_OF
    ids = db.execute(first, {**values, "size": size, "of": list(of or ())}).scalars().all()
    return db.execute(_LOCK, {**values, "ids": list(ids)}).all() if ids else ()


def _deliver(db: Session, consumer: Consumer, event: TaskEvent, failures: int) -> None:
    """Hand the event over and delete its row; where that fails, write down that it is failure number `failures`."""
    try:
        with db.begin_nested():
            consumer.handle(db, event)
            db.execute(_DONE, {"ids": [event.id]})
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit would end the thread, and with it the outbox, without a word
        if is_outage(error) or is_passing(error):
            raise
        _write_failure(db, consumer, event, failures, error)


def _write_failure(db: Session, consumer: Consumer, event: TaskEvent, failures: int, error: BaseException) -> None:
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
