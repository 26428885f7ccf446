"""What is found among the newest tasks that match a filter: those that took longest, and how often each value occurs.

Like a page of tasks, both look at a bounded number of rows, the newest ones (docs/adr/0026).
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.statements.expressions import greatest, seconds_between
from app.db.statements.task_conditions import of_owner
from app.db.statements.task_streams import start_of, streams
from app.ddl.clock import STATEMENT_TIME
from app.models.task import Task, TaskStatus
from app.models.task_count import KIND
from app.models.task_filter import Longest, TaskFilter

_IS_PENDING = Task.status == TaskStatus.PENDING.value
_DUE = greatest(Task.created_at, sa.func.coalesce(Task.run_at, Task.created_at))
# In seconds, until now where it goes on. NULL where there is none, or it is not due.
_SECONDS: dict[Longest, sa.ColumnElement[Any]] = {
    Longest.DURATION: sa.case(
        (_IS_PENDING, None), else_=seconds_between(Task.started_at, sa.func.coalesce(Task.finished_at, STATEMENT_TIME))
    ),
    # Of the first attempt: what was tried again has another time of the last one.
    Longest.WAIT: sa.case(
        (_IS_PENDING & (Task.attempt == 0) & (_DUE <= STATEMENT_TIME), seconds_between(_DUE, STATEMENT_TIME)),
        (~_IS_PENDING & (Task.attempt == 1), seconds_between(_DUE, Task.started_at)),
        else_=None,
    ),
}


def longest_ids(db: Session, wanted: TaskFilter, by: Longest, limit: int, skip: int, look: int) -> Sequence[UUID]:
    """The ids of the tasks that took longest, after `skip` of them, among the newest `look`."""
    (ids, _), seconds = _ids(db, wanted, look, look), _SECONDS[by].label("seconds")
    took = sa.select(Task.id, seconds).join(ids, ids.c.id == Task.id).subquery()
    longest = took.c.seconds.desc(), took.c.id.desc()
    found = sa.select(took.c.id).where(took.c.seconds.is_not(None)).order_by(*longest)
    return db.scalars(found.offset(skip).limit(limit)).all()


def values_in(
    db: Session, wanted: TaskFilter, status: TaskStatus, names: Sequence[str], limit: int, look: int
) -> tuple[Sequence[sa.Row[Any]], bool]:
    """The values of these columns of `limit` tasks of this state, among `look` of it; and whether these are all.

    The filter names no more than owner, kind and states. Of a state in which few tasks are: an index has them.
    """
    in_state = [Task.status == status, *of_owner(wanted)]
    table = Task.__table__.c
    some = sa.select(*(table[name] for name in {*names, *KIND})).where(*in_state).limit(look).subquery()
    of_kind = [some.c[name] == value for name in KIND if (value := getattr(wanted, name)) is not None]
    rows = db.execute(sa.select(*(some.c[name] for name in names)).where(*of_kind).limit(limit + 1)).all()
    is_cut = bool(of_kind) and db.scalar(sa.select(Task.id).where(*in_state).offset(look).limit(1)) is not None
    return rows[:limit], len(rows) <= limit and not is_cut


def values_of(
    db: Session, wanted: TaskFilter, names: Sequence[str], limit: int, look: int
) -> tuple[Sequence[sa.Row[Any]], bool]:
    """The values of these columns of the newest `limit` tasks that match, among the newest `look`.

    And whether these are all that match.
    """
    ids, looks_at_all = _ids(db, wanted, look, limit + 1)
    found = sa.select(*(Task.__table__.c[name] for name in names)).join(ids, ids.c.id == Task.id)
    rows = db.execute(found.order_by(Task.id.desc())).all()
    return rows[:limit], looks_at_all and len(rows) <= limit


def _ids(db: Session, wanted: TaskFilter, look: int, limit: int) -> tuple[sa.Subquery, bool]:
    """The ids of the newest `limit` tasks that match, among the newest `look`; and whether there are no others."""
    found = [(stream, stream.edge(db)) for stream in streams(wanted, start_of(wanted, None), look)]
    # In each stream: MySQL fails to read the tags of rows that another SELECT joins or sorts.
    parts = [
        sa.select(stream.rows(sa.select(Task.id), edge).order_by(Task.id.desc()).limit(limit).subquery())
        for stream, edge in found
    ]
    looks_at_all = all(edge is None for _, edge in found)
    if len(parts) == 1:
        return parts[0].subquery(), looks_at_all
    merged = sa.union_all(*parts).subquery()
    return sa.select(merged.c.id).order_by(merged.c.id.desc()).limit(limit).subquery(), looks_at_all
