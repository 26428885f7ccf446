"""A retry with changes: a new task that repeats an ended one, with some of its fields replaced. The old one stays."""

from typing import Any

from sqlalchemy.orm import Session

from app.errors import InvalidTransition
from app.models.audit import AuditEvent
from app.models.task import TERMINAL, Task
from app.schemas.task import TaskCreate
from app.services.audit import recording as audit
from app.services.tasks import new_rows, task_creation
from app.services.tasks.task_requests import repeated


def request_of(task: Task, changes: dict[str, Any]) -> TaskCreate:
    """Return the request for the new task. Raises InvalidTransition unless the old one has ended, InvalidTask."""
    if task.status not in TERMINAL:
        raise InvalidTransition(f"Cannot retry a task that is {task.status}")
    return repeated(task, changes)


def create(db: Session, old: Task, wanted: TaskCreate, *, commit: bool, within_quota: bool) -> tuple[Task, bool]:
    """Create the task of its user that `wanted` says, and record it.

    Returns it, and whether it is new: with a `unique_key`, it may be one that was there. Raises as
    `task_service.create_tasks` does.
    """
    rows = new_rows.rows_of([wanted], old.user_id, retry_of=old.id)
    with task_creation.creating(db, rows, commit=commit, within_quota=within_quota) as created:
        (task,) = task_creation.as_tasks(db, created)
        audit.record_task(db, AuditEvent.TASK_RETRIED, old, new_task=str(task.id))
    return task, created[0].is_new
