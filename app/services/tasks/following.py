"""What a reader that follows a task reads of it, piece by piece: its log lines, and its output."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.db.page import Page
from app.errors import TaskNotFound
from app.models.task import TERMINAL, Task

Item = TypeVar("Item")


class SoFar(NamedTuple, Generic[Item]):
    """Items, whether there are more now, whether these are all that there will be, and the task's attempt."""

    items: list[Item]
    more: bool
    ended: bool
    attempt: int


def check_task(db: Session, task_id: UUID, owner: UUID | None) -> None:
    """Raise TaskNotFound unless `owner` may see the task: what it has written alone does not tell."""
    conditions = [Task.id == task_id] if owner is None else [Task.id == task_id, Task.user_id == owner]
    if not db.scalar(select(exists().where(*conditions))):
        raise TaskNotFound


def so_far(
    db: Session, task_id: UUID, owner: UUID | None, next_page: Callable[[Session], Page[Item, int]]
) -> SoFar[Item]:  # fmt: skip
    """The next page for a reader that follows, on a session in autocommit.

    Raises TaskNotFound, also once the task is deleted.
    """
    statement = select(Task.status, Task.attempt).where(Task.id == task_id)
    task = db.execute(statement if owner is None else statement.where(Task.user_id == owner)).one_or_none()
    if task is None:
        raise TaskNotFound
    # After the status: what a task wrote is committed before its end is, and before its next attempt begins.
    found = next_page(db)
    more = found.last is not None
    return SoFar(found.items, more, task.status in TERMINAL and not more, task.attempt)
