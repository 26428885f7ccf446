"""The statements by which live events find changes that no hint has told of."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, Uuid, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.every_engine.live import COLUMNS, NEWEST, changed_of, ended, recent_of, running
from app.db.postgresql.conditions import is_one_of
from app.models.task import Task, TaskStatus

_OF_USERS = is_one_of(Task.user_id, "users")
_MOVED = (ended(_OF_USERS), running(_OF_USERS))

_WATCHING = func.unnest(bindparam("users", type_=ARRAY(Uuid))).table_valued("id", name="watching").render_derived()
_USER = bindparam("user", type_=Uuid)


def _newest(*where: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """A user's newest tasks, in the order of the indexes of the list's pages."""
    return select(*COLUMNS).where(*where).order_by(Task.user_id, Task.id.desc()).limit(NEWEST)


_CREATED = _newest(Task.user_id == _WATCHING.c.id, Task.id > bindparam("since_id", type_=Uuid)).lateral()
_RECENT = recent_of(*_MOVED, select(_CREATED).select_from(_WATCHING).join(_CREATED, true()))

# Of one user and not of an array: with the average of all users, where one of them owns nearly all rows, PostgreSQL
# reads them all by the primary key for a user who has none. A range: the order is then that of `ix_tasks_user` alone.
_NEWEST = _newest(Task.user_id.between(_USER, _USER)).subquery()
_PENDING = _newest(Task.user_id == _USER, Task.status == TaskStatus.PENDING.value).subquery()
_CHANGED_SINCE = changed_of(*_MOVED, select(_NEWEST), select(_PENDING))


def recent(
    db: Connection, users: Sequence[UUID], since: datetime, since_id: UUID
) -> list[tuple[UUID, UUID, int]]:  # fmt: skip
    """Id, user and version of these users' tasks that ended or were created since, or run.

    By indexes that exist for other statements. One on `updated_at` would make each progress report write all indexes.
    """
    rows = db.execute(_RECENT, {"users": users, "since": since, "since_id": since_id})
    return [(row.id, row.user_id, row.version) for row in rows]


def changed_since(db: Connection, user_id: UUID, since: datetime, limit: int) -> list[UUID]:
    """The ids of a user's tasks that changed since, in the order of their changes; at most `limit`.

    Complete for tasks that run or have ended since. Edited and again pending ones are found among the newest.
    """
    values = {"users": [user_id], "user": user_id, "since": since, "limit": limit}
    return list(db.scalars(_CHANGED_SINCE, values))
