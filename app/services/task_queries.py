"""Reading one task, and its attempts. Pages: task_pages.py; numbers: task_counts.py."""

from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.errors import TaskNotFound
from app.models.task import AttemptOutcome, Task, TaskAttempt, TaskStatus


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
