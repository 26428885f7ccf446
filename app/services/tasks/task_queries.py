"""Reading one task. Its attempts: task_attempts.py; pages: task_pages.py; numbers: task_counts.py."""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, bindparam, func, select
from sqlalchemy.orm import Session

from app.core.json_text import SMALL_BYTES
from app.db.statements import conditions, task_rows
from app.errors import TaskNotFound
from app.models.task import Task, TaskStatus
from app.schemas.task import TaskRead
from app.services.tasks.waiting_reasons import explain

# The columns that clients see: those of the schema, `error` being two of them.
_ERROR = ("error_type", "error_message")
# Larger tasks are not read together with others, whose answers would wait for them.
MAX_GROUPED_BYTES = SMALL_BYTES
SHOWN = [column.name for column in Task.__table__.c if column.name in {*TaskRead.model_fields, *_ERROR}]


def find(db: Session, task_id: UUID, owner: UUID | None = None) -> Task | None:
    """The task as it is committed now, or None; `owner` limits it to that user's."""
    statement = select(Task).where(Task.id == task_id)
    if owner is not None:
        statement = statement.where(Task.user_id == owner)
    task = db.scalars(_fresh(statement)).one_or_none()
    if task is not None:
        explain(db, [task])
    return task


def read(db: Session, task_id: UUID, owner: UUID | None = None) -> Task:
    """The same where there must be one. Raises TaskNotFound."""
    task = find(db, task_id, owner)
    if task is None:
        raise TaskNotFound
    return task


def find_all(db: Session, ids: Sequence[UUID]) -> list[Task]:
    """Those of the tasks that exist, as they are committed now, in the order of `ids`."""
    found = {task.id: task for task in db.scalars(_fresh(select(Task).where(Task.id.in_(ids))))}
    explain(db, [*found.values()])
    return [found[task_id] for task_id in ids if task_id in found]


_BYTES_OF = select(func.sum(task_rows.TASK_BYTES)).where(conditions.is_one_of(Task.id, "ids"))


def bytes_of(db: Session, ids: Sequence[UUID]) -> int:
    """About how many bytes these tasks take in an answer."""
    return int(db.execute(_BYTES_OF, {"ids": list(ids)}).scalar_one() or 0)


def longest_running(db: Session, limit: int, owner: UUID | None = None) -> list[Task]:
    """The running tasks whose attempt began first. As many run as there are slots, and an index has them."""
    statement = select(Task).where(Task.status == TaskStatus.RUNNING).order_by(Task.started_at, Task.id).limit(limit)
    return list(db.scalars(_fresh(statement if owner is None else statement.where(Task.user_id == owner))))


# Columns rather than objects: what one task costs is a third of it.
_SNAPSHOT = select(*(Task.__table__.c[name] for name in SHOWN), task_rows.WAITS)
_SNAPSHOTS = _SNAPSHOT.where(
    conditions.is_one_of(Task.__table__.c.id, "ids"), task_rows.LARGE_BYTES <= MAX_GROUPED_BYTES
)
_ONE_SNAPSHOT = _SNAPSHOT.where(Task.__table__.c.id == bindparam("one"))
# The owner is part of the statement: whether another user's task is large must not be seen by the time.
_OWN_SNAPSHOT = _ONE_SNAPSHOT.where(Task.__table__.c.user_id == bindparam("owner"))


def snapshots(connection: Connection, ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """The committed rows of these tasks, by their id, each as `TaskRead` takes it. One query for all of them.

    Tasks whose large values have more than MAX_GROUPED_BYTES are left out.
    """
    rows = [dict(row) for row in connection.execute(_SNAPSHOTS, {"ids": list(ids)}).mappings()]
    explain(connection, rows)
    return {row["id"]: as_shown(row) for row in rows}


def snapshot(connection: Connection, task_id: UUID, owner: UUID | None = None) -> dict[str, Any]:
    """The same for one task of any size. Raises TaskNotFound."""
    statement = _ONE_SNAPSHOT if owner is None else _OWN_SNAPSHOT
    row = connection.execute(statement, {"one": task_id, "owner": owner}).mappings().one_or_none()
    if row is None:
        raise TaskNotFound
    shown = dict(row)
    explain(connection, [shown])
    return as_shown(shown)


def as_shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table as `TaskRead` takes it: metadata by its attribute's name, the error as one."""
    row["metadata_"] = row.pop("metadata")
    kind, message = row.pop("error_type"), row.pop("error_message")
    row["error"] = None if kind is None else {"type": kind, "message": message}
    return row


def _fresh(statement: Select[Any]) -> Select[Any]:
    """Overwrite what the session remembers: others write these rows."""
    return statement.execution_options(populate_existing=True)
