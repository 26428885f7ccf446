"""The newest changes of many watching users in one statement: LATERAL over a list of them."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from app.db.statements.live import COLUMNS, NEWEST, changed_since
from app.ddl.columns import UTCDateTime
from app.models.task import Task, TaskStatus

__all__ = ["changed_since", "recent"]

_SINCE = sa.bindparam("since", type_=UTCDateTime)
_USERS = sa.bindparam("users", type_=ARRAY(sa.Uuid))
_OF_USERS = Task.user_id == sa.any_(_USERS)
_WATCHING = sa.func.unnest(_USERS).table_valued("id", name="watching").render_derived()
_CREATED = (
    sa.select(*COLUMNS)
    .where(Task.user_id == _WATCHING.c.id, Task.id > sa.bindparam("since_id", type_=sa.Uuid))
    .order_by(Task.user_id, Task.id.desc())
    .limit(NEWEST)
    .lateral()
)
_LATELY = sa.union_all(
    sa.select(*COLUMNS).where(_OF_USERS, Task.finished_at > _SINCE),
    sa.select(*COLUMNS).where(_OF_USERS, Task.status == TaskStatus.RUNNING.value, Task.updated_at > _SINCE),
    sa.select(_CREATED).select_from(_WATCHING).join(_CREATED, sa.true()),
).subquery()
_RECENT = sa.select(_LATELY.c.id, _LATELY.c.user_id, _LATELY.c.version).where(_LATELY.c.updated_at > _SINCE)


def recent(
    db: sa.Connection, users: Sequence[UUID], since: datetime, since_id: UUID
) -> list[tuple[UUID, UUID, int]]:  # fmt: skip
    """Return id, user and version of these users' tasks that ended or were created since, or run.

    By indexes that exist for other statements. One on `updated_at` would make each progress report write all indexes.
    """
    rows = db.execute(_RECENT, {"users": list(users), "since": since, "since_id": since_id})
    return [(row.id, row.user_id, row.version) for row in rows]
