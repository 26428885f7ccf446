"""Deletes ended tasks by age and by bytes, of one user after another: by the index of each user's ended tasks."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, delete, exists, func, literal_column, or_, select, union_all
from sqlalchemy.orm import Session

from app.db.rows import changed_rows
from app.db.statements import dependencies, workflows
from app.db.statements.task_counting import OWNERS_OF_ENDED
from app.ddl.clock import STATEMENT_TIME
from app.ddl.sizes import ENDED_TASKS, task_bytes
from app.models.task import Task
from app.models.task_count import stored_bytes, task_count_changes
from app.models.workflow import Workflow, WorkflowNode

_BYTES: ColumnElement[int] = literal_column(task_bytes("tasks"), BigInteger)
# A task that pending ones depend on stays.
_NOT_NEEDED = ~dependencies.is_needed()
_USERS = 1000  # in one statement
_STORED = union_all(
    select(stored_bytes.c.user_id, stored_bytes.c.bytes).where(stored_bytes.c.kind == ENDED_TASKS),
    select(task_count_changes.c.user_id, task_count_changes.c.bytes),
).subquery()


class Stored(NamedTuple):
    """A user, and the bytes that their ended tasks take."""

    user_id: UUID
    bytes: int


def _is_whole(before: Any) -> ColumnElement[bool]:
    """The condition that a task is of no workflow, or of one that had ended by then, which is deleted as a whole."""
    ended = exists().where(Workflow.id == Task.workflow_id, Workflow.finished_at < before)
    return or_(Task.workflow_id.is_(None), ended)


def delete_older(db: Session, age: timedelta, limit: int, most_bytes: int) -> int:
    """Delete tasks that ended longer ago than `age`: at most `limit`, of about `most_bytes`, one at least.

    Returns how many, 0 once none is left.
    """
    owners = list(db.scalars(OWNERS_OF_ENDED))
    found: list[Any] = []
    for first in range(0, len(owners), _USERS):
        of_users = Task.user_id.in_(owners[first : first + _USERS])
        old = select(Task.id, _BYTES, Task.workflow_id).where(
            of_users, Task.finished_at < STATEMENT_TIME - age, _NOT_NEEDED, _is_whole(STATEMENT_TIME - age)
        )
        found += db.execute(old.limit(limit - len(found)).with_for_update(skip_locked=True))
        if len(found) == limit:
            break
    return _delete(db, _within(sorted(found, key=lambda row: row.id), most_bytes))[0]


def users_beyond(db: Session, limit: int, users: int) -> Sequence[Stored]:
    """The users whose ended tasks take more than `limit` bytes, at most `users` of them, the largest first."""
    total = func.sum(_STORED.c.bytes)
    found = select(_STORED.c.user_id, total).group_by(_STORED.c.user_id).having(total > limit)
    rows = db.execute(found.order_by(total.desc()).limit(users))
    return [Stored(user_id, int(bytes_)) for user_id, bytes_ in rows]


def delete_oldest(db: Session, user_id: UUID, wanted: int, spared: timedelta, limit: int) -> tuple[int, int]:
    """Delete the user's tasks that ended first, until `wanted` bytes are free; at most `limit` tasks.

    Spares those that ended within `spared`, and those that another transaction has locked. Returns how many it deleted,
    and their bytes.
    """
    before = STATEMENT_TIME - spared
    of_user = (Task.user_id == user_id, Task.finished_at < before, _NOT_NEEDED, _is_whole(before))
    oldest = select(Task.id, _BYTES, Task.workflow_id).where(*of_user)
    oldest = oldest.order_by(Task.finished_at, Task.id).limit(limit)
    found = db.execute(oldest.with_for_update(skip_locked=True)).all()
    return _delete(db, _within(found, wanted))


def _within(rows: Iterable[Any], most_bytes: int) -> list[tuple[UUID, int, UUID | None]]:
    """The first of these tasks, with their sizes: one goes if those before it are fewer bytes than `most_bytes`."""
    taken: list[tuple[UUID, int, UUID | None]] = []
    total = 0
    for task_id, size, workflow_id in rows:
        if total >= most_bytes:
            break
        taken.append((task_id, size, workflow_id))
        total += size
    return taken


def _delete(db: Session, rows: Sequence[tuple[UUID, int, UUID | None]]) -> tuple[int, int]:
    """Delete these tasks, which are locked, and all others of their workflows. Returns how many, and their bytes."""
    sizes = {task_id: size for task_id, size, workflow_id in rows if workflow_id is None}
    of_workflows = {workflow_id for *_, workflow_id in rows if workflow_id is not None}
    if of_workflows:
        sizes |= _whole(db, of_workflows)
    if not sizes:
        return 0, 0
    statement = delete(Task).where(Task.id.in_(sizes))
    number = changed_rows(db.execute(statement.execution_options(synchronize_session=False)))
    return number, sum(sizes.values())


def _whole(db: Session, ids: set[UUID]) -> dict[UUID, int]:
    """Delete these workflows, which have ended. Returns their tasks, with their sizes.

    One that another transaction has locked stays, as one of whose tasks a pending task needs: so do their tasks.
    """
    locked = select(Workflow.id).where(Workflow.id.in_(ids), Workflow.finished_at.is_not(None)).order_by(Workflow.id)
    free = set(db.scalars(locked.with_for_update(skip_locked=True)))
    nodes = select(WorkflowNode.task_id, WorkflowNode.workflow_id).where(WorkflowNode.workflow_id.in_(free))
    of_task: dict[UUID, UUID] = {task_id: workflow_id for task_id, workflow_id in db.execute(nodes) if task_id}
    free -= {of_task[each] for each in dependencies.needed(db, of_task)}
    workflows.delete(db, free)
    theirs = [task_id for task_id, workflow_id in of_task.items() if workflow_id in free]
    return {row.id: row[1] for row in db.execute(select(Task.id, _BYTES).where(Task.id.in_(theirs)))}
