"""Failed tasks, and the groups that they are in."""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.models.task import Task
from app.services.execution import ends
from app.services.execution.attempts import AttemptError
from app.services.operations.error_group_service import ErrorFilter, ErrorGroupState
from app.services.task_service import task_service
from app.services.tasks import task_counts
from tests.support.spelling import spelled
from tests.support.tasks import ERROR, claim, new_task

NOWHERE = "0" * 32


def failed(db: Session, user: UUID, error: AttemptError = ERROR, **options: Any) -> Task:
    task = new_task(db, user, **options)
    ends.end_attempt(db, task.id, claim(db, task).attempt, ends.failed(error))
    db.commit()
    return task_service.get_task(db, task.id)


def groups(db: Session, user: UUID | None = None, *, folded: bool = True) -> dict[str, ErrorGroupState]:
    if folded:
        task_counts.fold(db)
    return {each.fingerprint: each for each in task_service.list_error_groups(db, ErrorFilter(user_id=user)).items}


def agrees(db: Session, user: UUID) -> bool:
    """Each group's number is what lists and counts find, and what the rows tell; no failed task is in none."""
    rows = "SELECT error_fingerprint, count(*) FROM tasks WHERE user_id = :user AND status = 'failed' GROUP BY 1"
    scanned = dict(map(tuple, db.execute(spelled(rows, {"user": user}))))
    shown = groups(db, user, folded=False)
    return all(
        group.count
        == scanned.get(fingerprint, 0)
        == task_service.get_task_count(db, error=fingerprint)
        == task_service.get_task_count(db, user, error=fingerprint, task_type="test")
        == len(task_service.get_tasks(db, user, error=fingerprint, limit=1000))
        == task_service.get_task_count(db, user, error=fingerprint)
        and task_service.get_task_count(db, new_id(), error=fingerprint) == 0
        for fingerprint, group in shown.items()
    ) and set(scanned) <= set(shown)
