"""Rows of pending tasks: what turns and claims ask of their lines, what holds a row, how rows are locked.

A line is a queue and a priority. A process names the lines that it serves, and the tasks that it knows.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, Integer, Select, Text, bindparam, func, literal_column, select, update
from sqlalchemy.orm import Session

from app.db.statements.tables import CLAIMED_TURNS, TASKS
from app.db.transactions import Executes, Transaction
from app.models.task import Held, TaskStatus

# What an attempt needs of its task, and what the child needs beside it.
CLAIMED = (
    TASKS.c.id,
    TASKS.c.attempt,
    TASKS.c.args,
    TASKS.c.kwargs,
    TASKS.c.failures,
    TASKS.c.max_attempts,
    TASKS.c.max_attempts_named,
    TASKS.c.retry_backoff_seconds,
)
ROUTED = (
    TASKS.c.celery_task_name,
    TASKS.c.celery_id,
    TASKS.c.queue,
    TASKS.c.priority,
    TASKS.c.timeout_seconds,
    TASKS.c.limit,
    TASKS.c.user_limited,
    TASKS.c.followers,
)
# In one claim, where nothing but this is known of its tasks: they are short. More would keep rows from other slots.
MOST_ROWS = 10
# So many tasks get their turns by one statement.
PLACE_BATCH = 500
# Whose last turn is known: of a user, in a line.
LINE = ("user_id", "queue", "priority")


@dataclass(frozen=True)
class LinesToServe:
    """Lines in the order of service. `floors`: no ready row stands below, as far as this process knows: turn and id.

    Many users may have the same turn: the ids tell which of those rows are gone.
    """

    queues: list[str]
    priorities: list[str]
    floors: Sequence[tuple[float, UUID]]


@dataclass(frozen=True)
class TaskNames:
    """The tasks that a process knows, and those that take milliseconds: `most` rows of these at once at most."""

    known: list[str]
    short: list[str]
    most: int = MOST_ROWS


_FIND_CLAIM = (
    select(*CLAIMED, *ROUTED)
    .where(
        TASKS.c.claim_id == bindparam("p_claim_id", type_=TASKS.c.claim_id.type),
        TASKS.c.worker_id == bindparam("p_worker_id", type_=TASKS.c.worker_id.type),
        TASKS.c.status == TaskStatus.RUNNING.value,
    )
    .order_by(TASKS.c.id)
)


def find_claim(db: Executes, claim_id: UUID, worker_id: UUID) -> Sequence[Any]:
    """The values of CLAIMED and ROUTED of the running tasks that this worker claimed under this id."""
    rows: Sequence[Any] = db.execute(_FIND_CLAIM, {"p_claim_id": claim_id, "p_worker_id": worker_id}).all()
    return rows


# -- Rows that no claim may take: those that wait for a place of a limit, and those that no live worker knows ----------

# How many rows of a limit are looked at together: the least of these that suffices. A statement for each on PostgreSQL,
# since a parameter as LIMIT is planned badly.
LOOK_SIZES = (10, 100, 500)
# How many values one statement finds: MariaDB and MySQL end a recursion after a thousand steps.
VALUES_AT_ONCE = 500
# How many ids one statement names.
_IDS = 500
# A pass for tasks that no live worker knows looks at so many rows at the front of each line, which is where they stand
# in the way of a claim.
FRONT_ROWS = 500
# The value stands in the text, for the partial indexes.
PENDING: ColumnElement[bool] = TASKS.c.status == literal_column(f"'{TaskStatus.PENDING.value}'", Text)
# Of tasks with a place of their limit.
HAS_PLACE = TASKS.c.held.is_(None)
# By a word of a newer version of the service, which alone knows when the task goes on.
IS_HELD_OTHERWISE = TASKS.c.held.not_in(list(Held))
# Those that a claim may take: due, with a turn, and held by nothing.
NEEDS_A_SLOT: tuple[ColumnElement[bool], ...] = (PENDING, TASKS.c.turn.is_not(None), HAS_PLACE)


def is_held(held: Held) -> ColumnElement[bool]:
    """Whether a row is held by this. The value stands in the text, for the partial indexes."""
    return TASKS.c.held == literal_column(f"'{held.value}'", Text)


def waits_for(held: Held) -> tuple[ColumnElement[bool], ...]:
    """The rows that are due, and are held by this."""
    return (PENDING, is_held(held), TASKS.c.turn.is_not(None))


def waiting_values(db: Session, of: Any, held: Held, *which: ColumnElement[bool]) -> list[Any]:
    """The values of this column of the due rows that are held by this: one index lookup for each."""
    found = list(db.scalars(_waiting_values(of, held, *which)))
    values = found
    while len(found) == VALUES_AT_ONCE:
        found = list(db.scalars(_waiting_values(of, held, *which, of > found[-1])))
        values += found
    return values


def _waiting_values(of: Any, held: Held, *which: ColumnElement[bool]) -> Select[Any]:
    """The first of them, in their order. An engine that reads them by DISTINCT reads all rows of each value."""

    def first(*after: ColumnElement[bool]) -> Any:
        rows = select(of).where(*which, *waits_for(held), of.is_not(None), *after).order_by(of)
        return rows.limit(literal_column("1", Integer))

    values = select(first().scalar_subquery().label("value"), literal_column("1", Integer).label("number"))
    steps = values.cte("waiting", recursive=True)
    following = first(of > steps.c.value).correlate(steps).scalar_subquery()
    more = select(following, steps.c.number + 1).where(steps.c.value.is_not(None), steps.c.number < VALUES_AT_ONCE)
    found = steps.union_all(more)
    return select(found.c.value).where(found.c.value.is_not(None)).order_by(found.c.number)


class Lines(NamedTuple):
    """Queues and priorities in the order in which a limit serves them."""

    queues: list[str]
    priorities: list[str]


class HeldRow(NamedTuple):
    """A row that waits for a place; `key` is that of the place, and `place` that of the row's line, from 1."""

    id: UUID
    queue: str
    celery_task_name: str
    limit: str | None
    key: str | None
    place: int
    turn: float


class AdmittedRow(NamedTuple):
    """A pending task that has a place, and the key under which the place stands."""

    id: UUID
    queue: str
    priority: str
    key: str | None


# -- Rows of tasks that are locked by their ids, and changed then; and the clock of their line -------------------------


def clock_of(row: FromClause) -> ColumnElement[float]:
    """The highest turn that was claimed from the line of this row, which has queue and priority; 0 before any was."""
    return clock_of_line(row.c.queue, row.c.priority)


def clock_of_line(queue: ColumnElement[str], priority: ColumnElement[str]) -> ColumnElement[float]:
    of_line = (CLAIMED_TURNS.c.queue == queue, CLAIMED_TURNS.c.priority == priority)
    # As max(), MySQL would read all turns of the line.
    top = select(CLAIMED_TURNS.c.turn).where(*of_line).order_by(CLAIMED_TURNS.c.turn.desc()).limit(1)
    return func.coalesce(top.scalar_subquery(), 0.0)


def lock_tasks(
    db: Transaction, columns: Sequence[Any], ids: Sequence[UUID], *which: ColumnElement[bool]
) -> Sequence[Any]:
    """Lock those of these tasks that match and that no other transaction has locked. Returns these columns of them.

    By the primary key alone: a read through another index locks its entries of the rows that it then leaves out, and
    who has locked such a row waits to change it.
    """
    found = select(*columns).where(TASKS.c.id.in_(ids), *which).order_by(TASKS.c.id)
    rows = found.with_hint(TASKS, "FORCE INDEX (PRIMARY)", "mysql").with_for_update(skip_locked=True)
    return db.execute(rows).all()


def change_tasks(db: Transaction, ids: Sequence[UUID], values: Mapping[str, Any], **options: Any) -> None:
    """Give these tasks, which this transaction has locked, these values by column. `options` are those of `execute`."""
    # Of few rows MySQL would read all, and wait for those that others have locked.
    these = update(TASKS).with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql").where(TASKS.c.id.in_(ids))
    db.execute(these.values(**values), **options)


def change_found(db: Session, ids: Sequence[UUID], values: Mapping[str, Any], *which: ColumnElement[bool]) -> int:
    """Change those of these tasks that still match and that nobody else has locked. Returns how many."""
    number = 0
    for batch in batches_of(ids):
        held = [row.id for row in lock_tasks(db, [TASKS.c.id], batch, *which)]
        if held:
            change_tasks(db, held, values)
        number += len(held)
    return number


def batches_of(ids: Collection[UUID]) -> Iterator[Sequence[UUID]]:
    """Yield the ids that one statement names."""
    in_order = list(ids)
    return (in_order[at : at + _IDS] for at in range(0, len(in_order), _IDS))
