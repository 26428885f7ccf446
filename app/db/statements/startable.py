"""Pending tasks by what they need before they start, and those that need nothing but a slot.

`by_queue` counts all of them, and reads each. The other statements count up to a bound, by the indexes that a claim
reads: a queue with a million costs what one with ten thousand does.
"""

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Text,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.orm import Session

from app.db.statements.expressions import seconds_between
from app.db.statements.pending_rows import HAS_PLACE, NEEDS_A_SLOT, PENDING, is_held
from app.db.statements.reads import is_one_of
from app.db.statements.tables import TASKS
from app.ddl.clock import STATEMENT_TIME
from app.models.task import IS_RUNNING, Held, TaskPriority

# Exact up to so many. In the text: as a parameter, PostgreSQL plans it as a tenth of the table.
MOST = 10_000
# Of each line, so many rows at its front are asked for the time at which they became due.
_FRONT = 100
# Due, and without its turn yet: for a moment, behind a commit.
_UNPLACED = (PENDING, TASKS.c.turn.is_(None), HAS_PLACE, TASKS.c.due_at <= STATEMENT_TIME)
_UNKNOWN = (PENDING, is_held(Held.NAME))

_DUE = case((or_(TASKS.c.run_at.is_(None), TASKS.c.run_at <= STATEMENT_TIME), 1))
# A delayed or retried task waits from the time at which it is due.
_OLDEST = seconds_between(func.min(case((TASKS.c.due_at <= STATEMENT_TIME, TASKS.c.due_at))), STATEMENT_TIME)
_GROUP = (TASKS.c.queue, TASKS.c.celery_task_name, TASKS.c.held)
_BY_QUEUE = select(*_GROUP, func.count(), func.count(_DUE), _OLDEST).where(PENDING).group_by(*_GROUP)


class PendingTasks(NamedTuple):
    """Pending tasks of a queue, of a name, that the same holds: how many, how many are due, for how many seconds."""

    queue: str
    celery_task_name: str
    held: str | None
    number: int
    due: int
    oldest_seconds: float | None


def by_queue(db: Session) -> list[PendingTasks]:
    """Return the numbers of all pending tasks."""
    return [PendingTasks(*row) for row in db.execute(_BY_QUEUE)]


def count(db: Session, queue: str, names: Collection[str] | None) -> tuple[int, float | None]:
    """Return how many tasks of a queue need nothing but a slot, at most MOST + 1, and how long the oldest has waited.

    `names`: those that count; None for all. They count also where no worker has known them so far. The oldest is that
    of the front of each priority, in seconds; None where there is no task.
    """
    number, oldest = _statements(MOST, names is not None)
    parameters = {"queue": queue, **({} if names is None else {"names": list(names)})}
    found = db.scalars(number, parameters).one()
    waited: Any = db.scalar(oldest, parameters) if found else None
    return found, None if waited is None else max(0.0, float(waited))


@lru_cache(maxsize=8)
def _statements(most: int, of_names: bool) -> tuple[Select[int], Select[Any]]:
    """The number and the age. Built once: that takes longer than to execute them."""
    known = [is_one_of(TASKS.c.celery_task_name, "names")] if of_names else []
    of_queue = [TASKS.c.queue == bindparam("queue"), *known]
    lines = [(*NEEDS_A_SLOT, *of_queue, TASKS.c.priority == _text(each.value)) for each in reversed(TaskPriority)]
    others = [(*_UNPLACED, *of_queue), (*_UNKNOWN, *of_queue)]

    def parts(column: ColumnElement[Any]) -> list[Select[Any]]:
        # In the order of their index: PostgreSQL would else read the table where most rows of it match.
        of_lines = [select(column).where(*line).order_by(TASKS.c.turn, TASKS.c.id) for line in lines]
        return [*of_lines, *(select(column).where(*which) for which in others)]

    found, front = _first(most + 1, *parts(TASKS.c.id)), _first(most, *parts(TASKS.c.due_at), each=_FRONT)
    age = seconds_between(func.min(front.c.due_at), STATEMENT_TIME)
    return select(func.count()).select_from(found), select(age)


def _first(most: int, *parts: Select[Any], each: int | None = None) -> Any:
    """Return the first rows of these SELECTs, one after the other. Later ones are not read where there are enough."""
    bounded = [part.limit(_number(each or most)).subquery().select() for part in parts]
    return union_all(*bounded).limit(_number(most)).subquery()


def _number(value: int) -> ColumnElement[int]:
    return literal_column(str(value))


def _text(value: str) -> ColumnElement[str]:
    return literal_column(f"'{value}'", Text)


# -- What a task waits for that needs nothing but a slot ---------------------------------------------------------------


def ahead(db: Session, task_id: UUID) -> int | None:
    """Return how many tasks stand before this one in the lines of its queue, at most MOST + 1; None if it has no place.

    That is in the line of its priority, and in those of higher ones.
    """
    columns = (TASKS.c.queue, TASKS.c.priority, TASKS.c.turn)
    row = db.execute(select(*columns).where(TASKS.c.id == task_id, *NEEDS_A_SLOT)).one_or_none()
    if row is None:
        return None
    higher = [each for each in TaskPriority if each.is_above(TaskPriority(row.priority))]
    # The turn alone as well: MySQL finds no range in a comparison of rows.
    before = (
        TASKS.c.turn <= row.turn,
        tuple_(TASKS.c.turn, TASKS.c.id) < tuple_(row.turn, literal(task_id, TASKS.c.id.type)),
    )
    lines = [
        (TASKS.c.priority == row.priority, *before),
        *((TASKS.c.priority == each.value,) for each in higher),
    ]  # fmt: skip
    all_before = select(TASKS.c.id).where(*NEEDS_A_SLOT, TASKS.c.queue == row.queue)
    parts = (all_before.where(*line).order_by(TASKS.c.turn, TASKS.c.id) for line in lines)
    return db.scalars(select(func.count()).select_from(_first(MOST + 1, *parts))).one()


def running_on(db: Session, workers: Sequence[UUID]) -> list[tuple[str, int]]:
    """Return the names of the tasks that run on these workers, each with how many: those with most first."""
    number = func.count()
    found = select(TASKS.c.celery_task_name, number).where(IS_RUNNING, TASKS.c.worker_id.in_(workers))
    found = found.group_by(TASKS.c.celery_task_name).order_by(number.desc(), TASKS.c.celery_task_name)
    return [(name, int(running)) for name, running in db.execute(found)]


def count_running(db: Session, queue: str) -> int:
    """Return how many tasks of a queue run."""
    return db.scalars(select(func.count()).where(IS_RUNNING, TASKS.c.queue == queue)).one()
