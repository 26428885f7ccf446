"""Numbers of one user's tasks within a time of creation, read from an index.

An id tells the time of creation but for ID_SLACK. What lies inside by more than that is counted in
`ix_tasks_user_status` alone; only near the edges are rows looked at. (docs/adr/0026)
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, literal, select
from sqlalchemy.orm import Session

from app.models.task import Task, TaskStatus
from app.services.tasks.task_filter import FIRST_ID, ID_SLACK, LAST_ID, TaskFilter

# The resolution of the database's times: `<= t` is `< t + INSTANT`.
INSTANT = timedelta(microseconds=1)


def inside(wanted: TaskFilter, sign: int = 1) -> Iterator[Select[*tuple[Any, ...]]]:
    """Numbers by status, to be added up."""
    within, edges = [], []
    if wanted.created_after is not None:
        far = wanted.id_at(wanted.created_after, 1, no_bound=LAST_ID)
        within.append(Task.id > far)
        edges.append([Task.id >= wanted.id_at(wanted.created_after, -1, no_bound=FIRST_ID), Task.id <= far])
    if wanted.created_before is not None:
        far = wanted.id_at(wanted.created_before, -1, no_bound=FIRST_ID)
        within.append(Task.id < far)
        # Without bounds one edge is everything: then the other one is nothing.
        low, high = (FIRST_ID, LAST_ID) if wanted.created_after is None else (LAST_ID, FIRST_ID)
        edges.append([
            Task.id >= wanted.id_at(wanted.created_before, -1, no_bound=low),
            Task.id <= wanted.id_at(wanted.created_before, 1, no_bound=high),
        ])  # fmt: skip
    states = sorted(set(wanted.status) or TaskStatus)
    number = (sign * func.count()).label("number")
    for status in states:
        of_status = [Task.status == status, *wanted.owner(), *within]
        yield select(literal(status.value).label("status"), number).where(*of_status)
    for edge in edges:
        of_edge = [Task.status.in_(states), *wanted.owner(), *edge, *wanted.of_rows()]
        yield select(Task.status, number).where(*of_edge).group_by(Task.status)


def outside(wanted: TaskFilter) -> Iterator[TaskFilter]:
    """What the times leave out, as filters that overlap nowhere."""
    if wanted.created_after is not None:
        yield replace(wanted, created_after=None, created_before=wanted.created_after + INSTANT)
    if wanted.created_before is not None:
        yield replace(wanted, created_after=wanted.created_before - INSTANT, created_before=None)


def serves(wanted: TaskFilter) -> bool:
    """Whether the numbers are those of a user and a time alone, and of one whose edges do not meet."""
    if wanted.user_id is None or wanted.kind() or wanted.tag or wanted.name:
        return False
    if wanted.created_after is None or wanted.created_before is None:
        return wanted.created_after is not wanted.created_before
    return wanted.created_before - wanted.created_after > 3 * ID_SLACK


def holds_most(db: Session, wanted: TaskFilter) -> bool:
    """Whether more of the time between the user's first and last task lies inside than outside: a guess at the rows."""
    ids = select(Task.id).where(*wanted.owner()).limit(1)
    oldest, newest = (ids.order_by(order).scalar_subquery() for order in (Task.id, Task.id.desc()))
    first, last = db.execute(select(oldest, newest)).one()
    if first is None:
        return False
    begin, end = _seconds(first), _seconds(last)
    since = begin if wanted.created_after is None else max(begin, wanted.created_after.timestamp())
    until = end if wanted.created_before is None else min(end, wanted.created_before.timestamp())
    return until - since > (end - begin) / 2


def _seconds(task_id: UUID) -> float:
    return (task_id.int >> 80) / 1000
