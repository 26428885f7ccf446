"""Reading the attempts of a task, oldest first: all of them, or a page."""

from typing import Any

from sqlalchemy import Integer, Select, bindparam, func, literal, select
from sqlalchemy.orm import Session

from app.db.page import Page, bounded_rows
from app.models.task import AttemptOutcome, Task, TaskAttempt, TaskStatus

Attempt = TaskAttempt | dict[str, Any]

# What an attempt takes in an answer besides its texts.
_FIXED_BYTES = 300


def _page() -> Select[TaskAttempt, int]:
    texts = (TaskAttempt.worker, TaskAttempt.error_type, TaskAttempt.error_message, TaskAttempt.traceback)
    size = sum((func.coalesce(func.octet_length(text), 0) for text in texts), start=literal(_FIXED_BYTES, Integer))
    of_task, after = TaskAttempt.task_id == bindparam("task_id"), TaskAttempt.number > bindparam("after")
    return bounded_rows(TaskAttempt, TaskAttempt.number, size, after, within=[of_task], limit=bindparam("most"))


_PAGE = _page()


def attempts(db: Session, task: Task) -> list[Attempt]:
    """Every attempt, the current one included."""
    statement = select(TaskAttempt).where(TaskAttempt.task_id == task.id).order_by(TaskAttempt.number)
    return [*db.scalars(statement), *_of_row(task)]


def page(db: Session, task: Task, limit: int, after: int) -> Page[Attempt, int]:
    """At most `limit` attempts after number `after` and at most MAX_PAGE_BYTES of them, at least one."""
    rows = db.execute(_PAGE, {"task_id": task.id, "after": after, "most": limit + 1}).all()
    past: list[Attempt] = [row[0] for row in rows[:limit]]
    left_out = bool(rows) and rows[0][1] > len(past)
    if left_out or len(past) == limit:
        is_last = not left_out and not _of_row(task)
        return Page(past, None if is_last else rows[len(past) - 1][0].number)
    current = [each for each in _of_row(task) if each["number"] > after]
    return Page([*past, *current], None)


def number_of(attempt: Attempt) -> int:
    """The attempt's number, which is its place in the list."""
    number: int = attempt["number"] if isinstance(attempt, dict) else attempt.number
    return number


def _of_row(task: Task) -> list[dict[str, Any]]:
    """The attempt that runs or has succeeded, which the task's own row tells."""
    if task.status not in {TaskStatus.RUNNING, TaskStatus.SUCCEEDED}:
        return []
    return [
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
    ]
