"""Deletes ended tasks by age and by bytes, of one user after another: by the index of each user's ended tasks."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, and_, delete, exists, func, literal_column, or_, select, union_all
from sqlalchemy.orm import Session

from app.db.statements import dependencies, workflows
from app.db.statements.task_numbers import OWNERS_OF_ENDED
from app.db.statements.writes import changed_rows, upsert
from app.ddl.clock import STATEMENT_TIME
from app.ddl.terms import ENDED_TASKS, task_bytes
from app.models.task import Task
from app.models.task_count import stored_bytes, task_count_changes
from app.models.workflow import Workflow

_BYTES: ColumnElement[int] = literal_column(task_bytes("tasks"), BigInteger)
# A task that pending ones depend on stays.
_NOT_NEEDED = ~dependencies.is_needed()
_ROW = (Task.id, _BYTES, Task.workflow_id)
# A task, its size, and its workflow.
_Row = tuple[UUID, int, UUID | None]
_USERS = 1000  # in one statement
_STORED = union_all(
    select(stored_bytes.c.user_id, stored_bytes.c.bytes).where(stored_bytes.c.kind == ENDED_TASKS),
    select(task_count_changes.c.user_id, task_count_changes.c.bytes),
).subquery()


class Stored(NamedTuple):
    """A user, and the bytes that their ended tasks take."""

    user_id: UUID
    bytes: int


def _is_whole(before: Any, left: Collection[UUID] = ()) -> ColumnElement[bool]:
    """The condition that a task is of no workflow, or of one that had ended by then, which is deleted as a whole.

    `left` are workflows that stay.
    """
    ended = exists().where(Workflow.id == Task.workflow_id, Workflow.finished_at < before)
    stays = [Task.workflow_id.not_in(left)] if left else []
    return or_(Task.workflow_id.is_(None), and_(ended, *stays))


def delete_older(db: Session, age: timedelta, limit: int, most_bytes: int) -> int:
    """Delete tasks that ended longer ago than `age`: at most `limit`, of about `most_bytes`, one at least.

    Returns how many, 0 once none is left.
    """
    owners = list(db.scalars(OWNERS_OF_ENDED))
    before = STATEMENT_TIME - age

    def find(left: Collection[UUID]) -> list[_Row]:
        found: list[Any] = []
        for first in range(0, len(owners), _USERS):
            of_users = Task.user_id.in_(owners[first : first + _USERS])
            old = select(*_ROW).where(of_users, Task.finished_at < before, _NOT_NEEDED, _is_whole(before, left))
            found += db.execute(old.limit(limit - len(found)).with_for_update(skip_locked=True))
            if len(found) == limit:
                break
        return _within(sorted(found, key=lambda row: row.id), most_bytes)

    return _delete_found(db, find, limit, most_bytes)[0]


def users_beyond(db: Session, limit: int, users: int) -> Sequence[Stored]:
    """Return the users whose ended tasks take more than `limit` bytes, at most `users` of them, the largest first."""
    total = func.sum(_STORED.c.bytes)
    found = select(_STORED.c.user_id, total).group_by(_STORED.c.user_id).having(total > limit)
    rows = db.execute(found.order_by(total.desc()).limit(users))
    return [Stored(user_id, int(bytes_)) for user_id, bytes_ in rows]


def lock_stored(db: Session, user_id: UUID) -> int | None:
    """Lock the sum of the user's ended tasks until the commit. Returns the bytes that they take.

    None where another process has it locked.
    """
    row = select(stored_bytes.c.bytes).where(stored_bytes.c.user_id == user_id, stored_bytes.c.kind == ENDED_TASKS)
    if db.execute(row.with_for_update(skip_locked=True)).one_or_none() is None:
        if db.execute(row).one_or_none() is not None:
            return None
        upsert(db, stored_bytes, [{"user_id": user_id, "kind": ENDED_TASKS, "bytes": 0}])  # nothing is summed up yet
    return int(db.scalar(select(func.sum(_STORED.c.bytes)).where(_STORED.c.user_id == user_id)) or 0)


def delete_oldest(db: Session, user_id: UUID, wanted: int, spared: timedelta, limit: int) -> tuple[int, int]:
    """Delete the user's tasks that ended first, until `wanted` bytes are free; at most `limit` tasks.

    Spares those that ended within `spared`, and those that another transaction has locked. Returns how many it deleted,
    and their bytes.
    """
    before = STATEMENT_TIME - spared

    def find(left: Collection[UUID]) -> list[_Row]:
        of_user = (Task.user_id == user_id, Task.finished_at < before, _NOT_NEEDED, _is_whole(before, left))
        oldest = select(*_ROW).where(*of_user).order_by(Task.finished_at, Task.id).limit(limit)
        return _within(db.execute(oldest.with_for_update(skip_locked=True)), wanted)

    return _delete_found(db, find, limit, wanted)


def _delete_found(
    db: Session, find: Callable[[Collection[UUID]], list[_Row]], limit: int, most_bytes: int
) -> tuple[int, int]:  # fmt: skip
    """Delete what `find` has found and locked. Returns how many, and their bytes.

    Where that are tasks of workflows alone that stay as a whole, it looks again without these: they must not keep what
    is behind them for ever.
    """
    left = set[UUID]()
    while True:
        rows = find(left)
        deleted = _delete(db, rows, limit, most_bytes)
        stay = {workflow_id for *_, workflow_id in rows if workflow_id is not None}
        if deleted[0] or not stay:
            return deleted
        left |= stay


def _within(rows: Iterable[Any], most_bytes: int) -> list[_Row]:
    """The first of these tasks, with their sizes: one goes if those before it are fewer bytes than `most_bytes`."""
    taken: list[_Row] = []
    total = 0
    for task_id, size, workflow_id in rows:
        if total >= most_bytes:
            break
        taken.append((task_id, size, workflow_id))
        total += size
    return taken


def _delete(db: Session, rows: Sequence[_Row], limit: int, most_bytes: int) -> tuple[int, int]:
    """Delete these tasks, which are locked, and all others of their workflows. Returns how many, and their bytes.

    Of workflows so many as have `limit` tasks and `most_bytes` together, one at least: the rest are left to the next
    batch.
    """
    sizes = {task_id: size for task_id, size, workflow_id in rows if workflow_id is None}
    for workflow_id in dict.fromkeys(workflow_id for *_, workflow_id in rows if workflow_id is not None):
        if sizes and (len(sizes) >= limit or sum(sizes.values()) >= most_bytes):
            break
        sizes |= _whole(db, workflow_id)
    if not sizes:
        return 0, 0
    statement = delete(Task).where(Task.id.in_(sizes))
    number = changed_rows(db.execute(statement.execution_options(synchronize_session=False)))
    return number, sum(sizes.values())


def _whole(db: Session, workflow_id: UUID) -> dict[UUID, int]:
    """Delete this workflow, if it has ended. Returns its tasks, with their sizes.

    One that another transaction has locked stays, as one of whose tasks a pending task needs: so do its tasks.
    """
    free = select(Workflow.id).where(Workflow.id == workflow_id, Workflow.finished_at.is_not(None))
    if db.scalar(free.with_for_update(skip_locked=True)) is None:
        return {}
    theirs = workflows.task_ids(db, [workflow_id])
    if dependencies.needed(db, theirs):
        return {}
    workflows.delete(db, [workflow_id])
    return {row.id: row[1] for row in db.execute(select(Task.id, _BYTES).where(Task.id.in_(theirs)))}
