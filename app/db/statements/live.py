"""The statements by which live events find changes that no hint has told of."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select, union_all

from app.db.statements.expressions import by_index
from app.ddl.columns import Id, UTCDateTime
from app.models.task import Task, TaskStatus

# Of each of a user's lists at most so many rows are read.
NEWEST = 2000
COLUMNS = (Task.id, Task.user_id, Task.version, Task.updated_at)

_SINCE = bindparam("since", type_=UTCDateTime)
_USER = bindparam("user", type_=Id)
_OF_USER = Task.user_id == _USER
_MOVED = (
    select(*COLUMNS).where(_OF_USER, Task.finished_at > _SINCE),
    select(*COLUMNS).where(_OF_USER, Task.status == TaskStatus.RUNNING.value, Task.updated_at > _SINCE),
)


def _newest(index: str, *where: ColumnElement[bool]) -> Select[Any]:
    """Return a user's newest tasks, in the order of the indexes of the list's pages."""
    newest = select(*COLUMNS).where(*where).order_by(Task.user_id, Task.id.desc()).limit(NEWEST)
    return select(by_index(newest, index).subquery())


_LATELY = union_all(*_MOVED, _newest("ix_tasks_user", _OF_USER, Task.id > bindparam("since_id", type_=Id))).subquery()
_RECENT = select(_LATELY.c.id, _LATELY.c.user_id, _LATELY.c.version).where(_LATELY.c.updated_at > _SINCE)

_MISSED = union_all(
    *_MOVED,
    # A range: the order is then that of `ix_tasks_user` alone. Else, where one user owns nearly all rows, PostgreSQL
    # reads them all by the primary key for a user who has none.
    _newest("ix_tasks_user", Task.user_id.between(_USER, _USER)),
    _newest("ix_tasks_user_status", _OF_USER, Task.status == TaskStatus.PENDING.value),
).subquery()
_CHANGED_SINCE = (
    select(_MISSED.c.id)
    .where(_MISSED.c.updated_at > _SINCE)
    .group_by(_MISSED.c.id)
    .order_by(func.max(_MISSED.c.updated_at))
    .limit(bindparam("limit"))
)


def recent(
    db: Connection, users: Sequence[UUID], since: datetime, since_id: UUID
) -> list[tuple[UUID, UUID, int]]:  # fmt: skip
    """Return id, user and version of these users' tasks that ended or were created since, or run.

    By indexes that exist for other statements. One on `updated_at` would make each progress report write all indexes.
    A statement for each user: for a list of them no engine stops at the newest rows of each.
    """
    return [
        (row.id, row.user_id, row.version)
        for user in users
        for row in db.execute(_RECENT, {"user": user, "since": since, "since_id": since_id})
    ]


def changed_since(db: Connection, user_id: UUID, since: datetime, limit: int) -> list[UUID]:
    """Return the ids of a user's tasks that changed since, in the order of their changes; at most `limit`.

    Complete for tasks that run or have ended since. Edited and again pending ones are found among the newest.
    """
    return list(db.scalars(_CHANGED_SINCE, {"user": user_id, "since": since, "limit": limit}))
