"""The statements by which live events find changes that no hint has told of."""

from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, func, select, union_all

from app.db.columns import UTCDateTime
from app.models.task import Task, TaskStatus

# Of each of a user's lists at most so many rows are read.
NEWEST = 2000
COLUMNS = (Task.id, Task.user_id, Task.version, Task.updated_at)

_SINCE = bindparam("since", type_=UTCDateTime)


def ended(of_users: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """The tasks of these users that ended since."""
    return select(*COLUMNS).where(of_users, Task.finished_at > _SINCE)


def running(of_users: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """The running tasks of these users that changed since."""
    return select(*COLUMNS).where(of_users, Task.status == TaskStatus.RUNNING.value, Task.updated_at > _SINCE)


def recent_of(*lists: Select[*tuple[Any, ...]]) -> Select[Any]:
    """Those of the rows of these lists that changed since: id, user and version."""
    rows = union_all(*lists).subquery()
    return select(rows.c.id, rows.c.user_id, rows.c.version).where(rows.c.updated_at > _SINCE)


def changed_of(*lists: Select[*tuple[Any, ...]]) -> Select[Any]:
    """The ids of those of the rows of these lists that changed since, in the order of their changes, to a `limit`."""
    rows = union_all(*lists).subquery()
    changed = select(rows.c.id).where(rows.c.updated_at > _SINCE).group_by(rows.c.id)
    return changed.order_by(func.max(rows.c.updated_at)).limit(bindparam("limit"))
