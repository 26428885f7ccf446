"""Numbers of one user's tasks within a time of creation, read from an index.

An id tells the time of creation to within ID_SLACK. Tasks further inside than that are counted in the index
`ix_tasks_user_status` alone; rows are read only near the edges. (docs/adr/0026)
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy import Select, func, literal, select
from sqlalchemy.orm import Session

from app.core.ids import FIRST_ID, LAST_ID, time_of
from app.db.statements.task_conditions import ID_SLACK, id_at, names_more, of_owner, of_times
from app.models.task import Task, TaskStatus
from app.models.task_filter import TaskFilter

# The resolution of the database's times: `<= t` is `< t + INSTANT`.
INSTANT = timedelta(microseconds=1)


def inside(wanted: TaskFilter, sign: int = 1) -> Iterator[Select[*tuple[Any, ...]]]:
    """Numbers by status, to be added up."""
    within, edges = [], []
    if wanted.created_after is not None:
        far = id_at(wanted, wanted.created_after, 1, no_bound=LAST_ID)
        within.append(Task.id > far)
        edges.append([Task.id >= id_at(wanted, wanted.created_after, -1, no_bound=FIRST_ID), Task.id <= far])
    if wanted.created_before is not None:
        far = id_at(wanted, wanted.created_before, -1, no_bound=FIRST_ID)
        within.append(Task.id < far)
        # Without bounds one edge covers all ids: then the other one must cover none.
        low, high = (FIRST_ID, LAST_ID) if wanted.created_after is None else (LAST_ID, FIRST_ID)
        edges.append([
            Task.id >= id_at(wanted, wanted.created_before, -1, no_bound=low),
            Task.id <= id_at(wanted, wanted.created_before, 1, no_bound=high),
        ])  # fmt: skip
    states = sorted(set(wanted.status) or TaskStatus)
    number = (sign * func.count()).label("number")
    for status in states:
        of_status = [Task.status == status, *of_owner(wanted), *within]
        yield select(literal(status.value).label("status"), number).where(*of_status)
    for edge in edges:
        of_edge = [Task.status.in_(states), *of_owner(wanted), *edge, *of_times(wanted)]
        yield select(Task.status, number).where(*of_edge).group_by(Task.status)


def outside(wanted: TaskFilter) -> Iterator[TaskFilter]:
    """Filters for the times outside of this one's. They do not overlap."""
    if wanted.created_after is not None:
        yield replace(wanted, created_after=None, created_before=wanted.created_after + INSTANT)
    if wanted.created_before is not None:
        yield replace(wanted, created_after=wanted.created_before - INSTANT, created_before=None)


def serves(wanted: TaskFilter) -> bool:
    """Whether the filter names a user and times alone, and the edges do not meet."""
    if wanted.user_id is None or wanted.error or names_more(wanted):
        return False
    if wanted.created_after is None or wanted.created_before is None:
        return wanted.created_after is not wanted.created_before
    return wanted.created_before - wanted.created_after > 3 * ID_SLACK


def holds_most(db: Session, wanted: TaskFilter) -> bool:
    """Whether more of the time from the user's first to the last task lies inside than outside: estimates the rows."""
    ids = select(Task.id).where(*of_owner(wanted)).limit(1)
    oldest, newest = (ids.order_by(order).scalar_subquery() for order in (Task.id, Task.id.desc()))
    first, last = db.execute(select(oldest, newest)).one()
    if first is None:
        return False
    begin, end = time_of(first), time_of(last)
    since = begin if wanted.created_after is None else max(begin, wanted.created_after.timestamp())
    until = end if wanted.created_before is None else min(end, wanted.created_before.timestamp())
    return until - since > (end - begin) / 2
