"""The statements by which live events find changes that no hint has told of."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, bindparam, select

from app.db.columns import Id
from app.db.every_engine.live import COLUMNS, NEWEST, changed_of, ended, recent_of, running
from app.db.statements.expressions import by_index
from app.models.task import Task, TaskStatus

_OF_USER = Task.user_id == bindparam("user", type_=Id)
_MOVED = (ended(_OF_USER), running(_OF_USER))


def _newest(index: str, *where: ColumnElement[bool]) -> Select[Any]:
    """A user's newest tasks, from the indexes of the list's pages."""
    newest = select(*COLUMNS).where(_OF_USER, *where).order_by(Task.id.desc()).limit(NEWEST)
    return select(by_index(newest, index).subquery())


_RECENT = recent_of(*_MOVED, _newest("ix_tasks_user", Task.id > bindparam("since_id", type_=Id)))
_PENDING = _newest("ix_tasks_user_status", Task.status == TaskStatus.PENDING.value)
_CHANGED_SINCE = changed_of(*_MOVED, _newest("ix_tasks_user"), _PENDING)


def recent(
    db: Connection, users: Sequence[UUID], since: datetime, since_id: UUID
) -> list[tuple[UUID, UUID, int]]:  # fmt: skip
    """Id, user and version of these users' tasks that ended or were created since, or run.

    By indexes that exist for other statements. One on `updated_at` would make each progress report write all indexes.
    A statement for each user: for a list of them no engine stops at the newest rows of each.
    """
    return [
        (row.id, row.user_id, row.version)
        for user in users
        for row in db.execute(_RECENT, {"user": user, "since": since, "since_id": since_id})
    ]


def changed_since(db: Connection, user_id: UUID, since: datetime, limit: int) -> list[UUID]:
    """The ids of a user's tasks that changed since, in the order of their changes; at most `limit`.

    Complete for tasks that run or have ended since. Edited and again pending ones are found among the newest.
    """
    return list(db.scalars(_CHANGED_SINCE, {"user": user_id, "since": since, "limit": limit}))
