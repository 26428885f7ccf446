"""Deletes ended tasks by age and by bytes, of one user after another: by the index of each user's ended tasks."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, delete, func, literal_column, select, union_all
from sqlalchemy.orm import Session

from app.db.rows import changed_rows
from app.db.statements import dependencies
from app.db.statements.task_counting import OWNERS_OF_ENDED
from app.ddl.clock import STATEMENT_TIME
from app.ddl.sizes import ENDED_TASKS, task_bytes
from app.models.task import Task
from app.models.task_count import stored_bytes, task_count_changes

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


def delete_older(db: Session, age: timedelta, limit: int, most_bytes: int) -> int:
    """Delete tasks that ended longer ago than `age`: at most `limit`, of about `most_bytes`, one at least.

    Returns how many, 0 once none is left.
    """
    owners = list(db.scalars(OWNERS_OF_ENDED))
    found: list[Any] = []
    for first in range(0, len(owners), _USERS):
        of_users = Task.user_id.in_(owners[first : first + _USERS])
        old = select(Task.id, _BYTES).where(of_users, Task.finished_at < STATEMENT_TIME - age, _NOT_NEEDED)
        found += db.execute(old.limit(limit - len(found)).with_for_update(skip_locked=True))
        if len(found) == limit:
            break
    return _delete(db, _within(sorted(map(tuple, found)), most_bytes))[0]


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
    of_user = (Task.user_id == user_id, Task.finished_at < STATEMENT_TIME - spared, _NOT_NEEDED)
    oldest = select(Task.id, _BYTES).where(*of_user)
    oldest = oldest.order_by(Task.finished_at, Task.id).limit(limit)
    found = db.execute(oldest.with_for_update(skip_locked=True)).all()
    return _delete(db, _within(found, wanted))


def _within(rows: Iterable[Any], most_bytes: int) -> list[tuple[UUID, int]]:
    """The first of these ids and sizes: one goes if those before it are fewer bytes than `most_bytes`."""
    taken: list[tuple[UUID, int]] = []
    total = 0
    for task_id, size in rows:
        if total >= most_bytes:
            break
        taken.append((task_id, size))
        total += size
    return taken


def _delete(db: Session, rows: Sequence[tuple[UUID, int]]) -> tuple[int, int]:
    """Delete these tasks, which are locked. Returns how many, and their bytes."""
    if not rows:
        return 0, 0
    statement = delete(Task).where(Task.id.in_([task_id for task_id, _ in rows]))
    number = changed_rows(db.execute(statement.execution_options(synchronize_session=False)))
    return number, sum(size for _, size in rows)
