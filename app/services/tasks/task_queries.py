"""Reading one task, and its attempts. Pages: task_pages.py; numbers: task_counts.py."""

from collections.abc import Collection, Sequence
from functools import reduce
from operator import add
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, func, select
from sqlalchemy.orm import Session

from app.db.base import JSONText
from app.db.postgresql.conditions import is_one_of
from app.errors import TaskNotFound
from app.models.task import AttemptOutcome, Task, TaskAttempt, TaskStatus
from app.schemas.task import TaskRead

# The columns that clients see: those of the schema, `error` being two of them.
_ERROR = ("error_type", "error_message")
SHOWN = [column.name for column in Task.__table__.c if column.name in {*TaskRead.model_fields, *_ERROR}]


def find(db: Session, task_id: UUID, owner: UUID | None = None) -> Task | None:
    """The task as it is committed now, or None; `owner` limits it to that user's."""
    statement = select(Task).where(Task.id == task_id)
    if owner is not None:
        statement = statement.where(Task.user_id == owner)
    return db.scalars(_fresh(statement)).one_or_none()


def read(db: Session, task_id: UUID, owner: UUID | None = None) -> Task:
    """The same where there must be one. Raises TaskNotFound."""
    task = find(db, task_id, owner)
    if task is None:
        raise TaskNotFound
    return task


def find_all(db: Session, ids: Sequence[UUID]) -> list[Task]:
    """Those of the tasks that exist, as they are committed now, in the order of `ids`."""
    found = {task.id: task for task in db.scalars(_fresh(select(Task).where(Task.id.in_(ids))))}
    return [found[task_id] for task_id in ids if task_id in found]


# Columns rather than objects: what one task costs is a third of it.
_COLUMNS = Task.__table__.c
# Their text is ASCII, so its length is its size.
_JSON_TEXT = [column for column in _COLUMNS if isinstance(column.type, JSONText) and column.name in SHOWN]
_SNAPSHOTS = select(
    *(_COLUMNS[name] for name in SHOWN),
    reduce(add, (func.coalesce(func.length(column), 0) for column in _JSON_TEXT)).label("json_bytes"),
).where(is_one_of(_COLUMNS.id, "ids"))


def snapshots(connection: Connection, ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """The committed rows of these tasks, by their id, each as `TaskRead` takes it. One query for all of them.

    `json_bytes` is the size of arguments, result and progress detail.
    """
    rows = connection.execute(_SNAPSHOTS, {"ids": list(ids)}).mappings()
    return {row["id"]: as_shown(dict(row)) for row in rows}


def as_shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the table as `TaskRead` takes it: metadata by its attribute's name, the error as one."""
    row["metadata_"] = row.pop("metadata")
    kind, message = row.pop("error_type"), row.pop("error_message")
    row["error"] = None if kind is None else {"type": kind, "message": message}
    return row


def attempts(db: Session, task: Task) -> list[TaskAttempt | dict[str, Any]]:
    """Every attempt, oldest first. One that runs or has succeeded is told by the task's own row."""
    statement = select(TaskAttempt).where(TaskAttempt.task_id == task.id).order_by(TaskAttempt.number)
    past: list[TaskAttempt | dict[str, Any]] = list(db.scalars(statement))
    if task.status in {TaskStatus.RUNNING, TaskStatus.SUCCEEDED}:
        past.append(
            {
                "number": task.attempt,
                "worker": task.worker,
                "started_at": task.started_at,
                "finished_at": task.finished_at,
                "outcome": AttemptOutcome(task.status.value),
                "error_type": None,
                "error_message": None,
                "traceback": None,
            }
        )
    return past


def _fresh(statement: Select[Any]) -> Select[Any]:
    """Overwrite what the session remembers: others write these rows."""
    return statement.execution_options(populate_existing=True)
