"""The steps that a task has done: pages of them, in the order in which they ended, and clearing them."""

from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.db.page import Page, bounded_page, bounded_rows
from app.models.task_step import TaskStep


def page(db: Session, task_id: UUID, limit: int, after: int) -> Page[TaskStep, int]:
    """At most `limit` steps after number `after` and about MAX_PAGE_BYTES of them, at least one."""
    of_task, behind = TaskStep.task_id == task_id, TaskStep.seq > after
    found = bounded_rows(TaskStep, TaskStep.seq, TaskStep.bytes, behind, within=[of_task], limit=limit + 1)
    return bounded_page(db.execute(found).all(), limit, lambda step: step.seq)


def clear(db: Session, task_id: UUID) -> None:
    """Delete the steps of a task, so that its next attempt does all again. The caller holds the lock on its row."""
    db.execute(delete(TaskStep).where(TaskStep.task_id == task_id).execution_options(synchronize_session=False))
