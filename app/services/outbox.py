"""The outbox: hands what became of tasks to those that follow them (docs/adr/0052).

A consumer gets each row of its tasks at least once, those of one task in their order; the order among tasks is not
promised. Users take turns: a batch has as many rows of each, so that none waits for the thousands of another one. The
rows are found because they are there, not by a position in a sequence: so a row whose transaction commits late is not
missed. What a consumer writes is committed together with the deletion of its row, and is done once.

A row on which its consumer has failed five times is set aside: it stays in the table, and the others go on, also the
later ones of its task.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from math import ceil
from typing import Any, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.redacted_text import redact_text
from app.db.outage import first_line
from app.db.session import transaction
from app.db.statements.reads import distinct_values, is_one_of
from app.db.statements.writes import changed_rows
from app.db.together import blamed, together
from app.db.transactions import retry_deadlocks
from app.ddl.clock import NOW, seconds
from app.ddl.terms import MOST_CONSUMERS
from app.models.outbox import OutboxRow
from app.models.task import Task

logger = logging.getLogger(__name__)

# Rows that are locked and handed over in one transaction, unless the consumer says so many.
BATCH = 50
# Users of whom a batch has rows.
USERS_AT_ONCE = 16
MOST_FAILURES = 5
# Before the second try; each further one waits twice as long.
RETRY_SECONDS = 1.0
ERROR_CHARACTERS = 500
_NOBODY = UUID(int=0)


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
    """Takes rows of the outbox. `handle` runs in the transaction that deletes these rows, and does not commit.

    It writes to the database and nothing else: the server ends a transaction that is idle for two seconds
    (`IDLE_MS` of `app/db/session.py`), and on SQLite it keeps all other writers waiting. What is slow, or is sent over
    the network, is a task or a row for a pass of its own. What cannot be taken back by a rollback belongs into
    `after_commit`; it may then be lost with the process. After an exception the rows are handed over in parts
    (`app/db/together.py`), and the one at fault is tried again later.
    """

    name: str
    number: int
    handle: Callable[[Session, Sequence[TaskEvent]], None]
    batch: int = BATCH

    def __post_init__(self) -> None:
        if not 0 <= self.number < MOST_CONSUMERS:
            raise ValueError(f"a consumer's number is between 0 and {MOST_CONSUMERS - 1}, not {self.number}")

    @property
    def bit(self) -> int:
        """Its bit in `tasks.followers`."""
        return 1 << self.number


@dataclass(slots=True)
class Turn:
    """Whose turn it is at a consumer: that of the users behind this one."""

    user_id: UUID = _NOBODY


def add_followers(db: Session, bits: int, *which: sa.ColumnElement[bool]) -> int:
    """Have the consumers of these bits told what becomes of these tasks from the commit on.

    Returns how many tasks lacked one of the bits. A task that ends at the same time either has ended for the caller
    after this call, or is told.
    """
    known = sa.func.coalesce(Task.followers, 0)
    followers, is_new = known.bitwise_or(bits), known.bitwise_and(bits) != bits
    statement = sa.update(Task).where(*which, is_new).values(followers=followers)
    return changed_rows(db.execute(statement.execution_options(synchronize_session=False)))


def deliver_batch(
    db: Session, consumer: Consumer, *, of: Sequence[UUID] | None = None, turn: Turn | None = None
) -> int:  # fmt: skip
    """Hand a batch to the consumer, in one transaction if possible. Returns how many rows it was: 0 if none is ready.

    Of each task it is the first row that is left. `of`: of these tasks alone. `turn`, which the call moves on, says of
    which users. A row at which the consumer fails counts a failure. Raises SQLAlchemyError if the outbox itself cannot
    be read or written.
    """
    with transaction(db):  # it is that of the first try, too
        ids = _first_of_users(db, consumer, turn or Turn()) if of is None else _first_of_tasks(db, consumer, of)
        what = f"rows of the outbox for {consumer.name}"
        return sum(together(what, ids, partial(_deliver, db, consumer), partial(_write_failure, db, consumer)))


def _deliver(db: Session, consumer: Consumer, ids: Sequence[int]) -> int:
    return retry_deadlocks(lambda: _hand_over(db, consumer, ids))


def _hand_over(db: Session, consumer: Consumer, ids: Sequence[int]) -> int:
    """Hand over those of these rows that nobody else has locked, and delete them. Returns how many."""
    with blamed(db), transaction(db):
        rows = db.execute(_LOCK, {"ids": list(ids)}).all()
        if rows:
            try:
                consumer.handle(db, [TaskEvent(*values) for _, *values in rows])
            except SystemExit as error:  # it would end the thread, and with it the outbox, without a word
                raise RuntimeError("the consumer ends the process") from error
            db.execute(_DONE, {"ids": [row.id for row in rows]})
    return len(rows)


def _write_failure(db: Session, consumer: Consumer, row_id: int, error: Exception) -> int:
    """Write that the consumer has failed at this row once more. Returns 1, the number of rows."""
    with transaction(db):
        rows = db.execute(_LOCK, {"ids": [row_id]}).all()
        for failures, *values in rows:
            _write_failure_of(db, consumer, TaskEvent(*values), failures + 1, error)
    return 1


def _write_failure_of(db: Session, consumer: Consumer, event: TaskEvent, failures: int, error: Exception) -> None:
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


_OUTBOX = cast("sa.Table", OutboxRow.__table__)
_ROWS, _BEFORE = _OUTBOX.c, _OUTBOX.alias("before")
_IS_READY = (
    _ROWS.consumer == sa.bindparam("consumer", type_=sa.SmallInteger),
    _ROWS.set_aside_at.is_(None),
    _ROWS.next_try_at.is_(None) | (_ROWS.next_try_at <= NOW),
)
# One look into the index of tasks for each row. Of NOT EXISTS, PostgreSQL made a join with all rows of the consumer for
# each of them, where its statistics knew of none: 70 ms with 4,000 rows, now 0.3. With `set_aside_at IS NULL` as a
# condition it read the index of what is ready instead.
_IS_FIRST = (
    _ROWS.id
    == sa.select(sa.func.min(sa.case((_BEFORE.c.set_aside_at.is_(None), _BEFORE.c.id))))
    .where(_BEFORE.c.consumer == _ROWS.consumer, _BEFORE.c.task_id == _ROWS.task_id)
    .scalar_subquery()
)
_USERS = distinct_values(
    _ROWS.user_id, _IS_READY[0], _ROWS.set_aside_at.is_(None), most=sa.bindparam("most", type_=sa.Integer)
)
# Of some tasks, by their index alone: with the look for rows before each one, PostgreSQL took some 90 times as long.
_FIRST_OF = (
    sa.select(sa.func.min(_ROWS.id))
    .where(_IS_READY[0], is_one_of(_ROWS.task_id, "of"), _ROWS.set_aside_at.is_(None))
    .group_by(_ROWS.task_id)
)
_LOCK = (
    sa.select(_ROWS.failures, *(_ROWS[name] for name in TaskEvent._fields))
    .where(is_one_of(_ROWS.id, "ids"), *_IS_READY[1:])  # the ids are the consumer's
    .order_by(_ROWS.id)
    .with_for_update(skip_locked=True)
)
_DONE = sa.delete(_OUTBOX).where(is_one_of(_ROWS.id, "ids"))


@cache
def _first_of(number: int) -> Any:
    """Return the SELECT of the first rows of so many users, as many of each."""
    of_users = [
        sa.select(_ROWS.id)
        .where(*_IS_READY, _ROWS.user_id == sa.bindparam(f"user_{each}", type_=_ROWS.user_id.type), _IS_FIRST)
        .order_by(_ROWS.id)
        .limit(sa.bindparam("each", type_=sa.Integer))
        for each in range(number)
    ]
    return of_users[0] if number == 1 else sa.union_all(*(sa.select(each.subquery()) for each in of_users))


def _first_of_users(db: Session, consumer: Consumer, turn: Turn) -> Sequence[int]:
    """The ids of rows to hand over now, of the users whose turn it is. A row waits for the one of its task before it.

    The look locks nothing, so that it sees all rows at one moment: MySQL would lock rows as they are now, and look for
    the ones before them as they were when the statement began.
    """
    which, sees_all = {"consumer": consumer.number}, turn.user_id == _NOBODY
    while True:
        users: Sequence[UUID] = db.scalars(_USERS, {**which, "after": turn.user_id, "most": USERS_AT_ONCE}).all()
        is_end = len(users) < USERS_AT_ONCE
        turn.user_id = _NOBODY if is_end else users[-1]
        if users:
            whose = {f"user_{number}": each for number, each in enumerate(users)}
            values = {**which, **whose, "each": ceil(consumer.batch / len(users))}
            if ids := db.scalars(_first_of(len(users)), values).all():
                return ids
        if is_end and sees_all:
            return ()
        sees_all |= is_end


def _first_of_tasks(db: Session, consumer: Consumer, of: Sequence[UUID]) -> Sequence[int]:
    """Return the ids of rows to hand over now, of these tasks."""
    return db.scalars(_FIRST_OF, {"consumer": consumer.number, "of": list(of)}).all()
