"""Reading tasks: pages by keyset, exact counts, attempts."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, Select, Uuid, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.errors import TaskNotFound
from app.models.task import AttemptOutcome, Task, TaskAttempt, TaskPriority, TaskStatus

# What clients see of a task's row.
SHOWN = (
    "id", "celery_id", "user_id", "name", "task_type", "celery_task_name", "args", "kwargs", "priority", "queue",
    "status", "status_reason", "progress", "progress_detail", "result", "error_type", "error_message", "run_at",
    "delay_seconds", "expires_at", "timeout_seconds", "max_attempts", "retry_backoff_seconds", "tags", "metadata",
    "attempt", "worker", "version", "created_at", "updated_at", "started_at", "finished_at", "cancel_requested_at",
)  # fmt: skip


@dataclass(frozen=True)
class TaskFilter:
    """What to list or count; None and empty mean «any»."""

    user_id: UUID | None = None
    status: Sequence[TaskStatus] = ()
    task_type: str | None = None
    celery_task_name: str | None = None
    priority: TaskPriority | None = None
    queue: str | None = None
    tag: Sequence[str] = ()
    name: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        found: list[ColumnElement[bool]] = [
            column == value
            for column, value in (
                (Task.user_id, self.user_id),
                (Task.task_type, self.task_type),
                (Task.celery_task_name, self.celery_task_name),
                (Task.priority, self.priority),
                (Task.queue, self.queue),
            )
            if value is not None
        ]
        if self.status:
            found.append(Task.status.in_(sorted(set(self.status))))
        if self.tag:
            found.append(Task.tags.contains(list(self.tag)))
        if self.name:
            found.append(Task.name.icontains(self.name, autoescape=True))
        if self.created_after is not None:
            found.append(Task.created_at > self.created_after)
        if self.created_before is not None:
            found.append(Task.created_at < self.created_before)
        return found


def page(db: Session, wanted: TaskFilter, limit: int, *, before: UUID | None = None, skip: int = 0) -> list[Task]:
    """Newest first, at most `limit`; `before` is the last id of the page before (a keyset: no row is walked twice)."""
    statement = select(Task).where(*wanted.conditions()).order_by(Task.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Task.id < before)
    if skip:
        statement = statement.offset(skip)
    return list(db.scalars(_fresh(statement)))


def count(db: Session, wanted: TaskFilter) -> dict[str, int]:
    """How many there are, in all and by status. Exact."""
    statement = select(Task.status, func.count()).where(*wanted.conditions()).group_by(Task.status)
    by_status = {str(status): number for status, number in db.execute(statement)}
    return {"total": sum(by_status.values()), **{str(status): by_status.get(status, 0) for status in TaskStatus}}


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


# Columns rather than objects: what one task costs is a third of it.
_SNAPSHOTS = select(*(Task.__table__.c[name] for name in SHOWN)).where(
    Task.__table__.c.id == any_(bindparam("ids", type_=ARRAY(Uuid)))
)


def snapshots(connection: Connection, ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """The committed rows of these tasks, by their id, each as `TaskRead` takes it. One query for all of them."""
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
