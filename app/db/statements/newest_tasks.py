"""What is found among the newest tasks that match a filter: those that took longest, and how often each value occurs.

Like a page of tasks, both look at a bounded number of rows, the newest ones (docs/adr/0026).
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.statements.expressions import greatest, seconds_between
from app.db.statements.task_conditions import conditions
from app.db.statements.task_streams import start_of, streams
from app.ddl.clock import STATEMENT_TIME
from app.models.task import Task, TaskStatus
from app.models.task_filter import TaskFilter


class Longest(StrEnum):
    """By what tasks are sorted, the longest first."""

    DURATION = "duration"
    WAIT = "wait"


_IS_PENDING = Task.status == TaskStatus.PENDING.value
_DUE = greatest(Task.created_at, sa.func.coalesce(Task.run_at, Task.created_at))
# Of the last attempt, in seconds, until now where it goes on. NULL where there is none, or it is not due.
_SECONDS: dict[Longest, sa.ColumnElement[Any]] = {
    Longest.DURATION: sa.case(
        (_IS_PENDING, None), else_=seconds_between(Task.started_at, sa.func.coalesce(Task.finished_at, STATEMENT_TIME))
    ),
    Longest.WAIT: sa.case(
        (_IS_PENDING & (Task.due_at > STATEMENT_TIME), None),
        (_IS_PENDING, seconds_between(Task.due_at, STATEMENT_TIME)),
        else_=seconds_between(_DUE, Task.started_at),
    ),
}


def longest_ids(db: Session, wanted: TaskFilter, by: Longest, limit: int, skip: int, look: int) -> Sequence[UUID]:
    """The ids of the tasks that took longest, after `skip` of them, among the newest `look`."""
    ids, seconds = _ids(db, wanted, look, look), _SECONDS[by].label("seconds")
    took = sa.select(Task.id, seconds).join(ids, ids.c.id == Task.id).subquery()
    longest = took.c.seconds.desc(), took.c.id.desc()
    found = sa.select(took.c.id).where(took.c.seconds.is_not(None)).order_by(*longest)
    return db.scalars(found.offset(skip).limit(limit)).all()


def values_of(db: Session, wanted: TaskFilter, names: Sequence[str], limit: int, look: int) -> Sequence[sa.Row[Any]]:
    """The values of these columns of the newest `limit` tasks that match, among the newest `look`."""
    ids = _ids(db, wanted, look, limit)
    return db.execute(sa.select(*(Task.__table__.c[name] for name in names)).join(ids, ids.c.id == Task.id)).all()


def active_values(
    db: Session, wanted: TaskFilter, statuses: Sequence[TaskStatus], names: Sequence[str], limit: int
) -> Sequence[sa.Row[Any]]:
    """The values of these columns of at most `limit` tasks of these states, which have not ended.

    The filter names no more than owner, kind and states: an index has the rows of these states.
    """
    columns = [Task.__table__.c[name] for name in names]
    rest = conditions(wanted, [], status=False)
    parts = [
        sa.select(sa.select(*columns).where(Task.status == status, *rest).limit(limit).subquery())
        for status in statuses
    ]
    found = sa.union_all(*parts).subquery()
    return db.execute(sa.select(found).limit(limit)).all()


def _ids(db: Session, wanted: TaskFilter, look: int, limit: int) -> sa.Subquery:
    """The ids of the newest `limit` tasks that match, among the newest `look`."""
    # In each stream: MySQL fails to read the tags of rows that another SELECT joins or sorts.
    parts = [
        sa.select(stream.rows(sa.select(Task.id), stream.edge(db)).order_by(Task.id.desc()).limit(limit).subquery())
        for stream in streams(wanted, start_of(wanted, None), look)
    ]
    if len(parts) == 1:
        return parts[0].subquery()
    merged = sa.union_all(*parts).subquery()
    return sa.select(merged.c.id).order_by(merged.c.id.desc()).limit(limit).subquery()
