"""Adding failures to their groups, their newest tasks, and which groups are not used."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, case, func, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session

from app.core.engines import MYSQL, POSTGRESQL
from app.db.statements.expressions import greatest, least
from app.db.statements.tables import ERROR_GROUPS
from app.db.statements.writes import Columns, upsert
from app.models.error_group import ErrorGroup, ErrorState, error_times
from app.models.task import Task
from app.models.user import User

Rows = Sequence[dict[str, Any]]


# No parameters: all rows then go in one statement (`upsert`).
_OPEN, _RESOLVED = (literal_column(f"'{state}'", Text) for state in (ErrorState.OPEN, ErrorState.RESOLVED))


def _seen_again(old: Columns, new: Columns) -> dict[str, ColumnElement[Any]]:
    set_after = func.coalesce(old.state_set_at, old.last_seen) < new.last_seen
    reopens = (old.state == _RESOLVED) & set_after
    return {
        "state": case((reopens, _OPEN), else_=old.state),  # before `last_seen`, which it reads
        "count": old["count"] + new["count"],
        "first_seen": least(old.first_seen, new.first_seen),
        "last_seen": greatest(old.last_seen, new.last_seen),
        "message": new.message,
    }


def keep_users(db: Session, users: Sequence[UUID]) -> set[UUID]:
    """Return the users of these that exist. None of them can be deleted until the commit."""
    found = select(User.id).where(User.id.in_(users)).order_by(User.id)
    return set(db.scalars(found.with_for_update(read=True, key_share=True)))


def add_failures(db: Session, rows: Rows) -> None:
    """Make or raise the groups of these failures, and reopen resolved ones. Each row has the group's columns."""
    upsert(db, ERROR_GROUPS, rows, _seen_again)


def add_moves(db: Session, rows: Rows) -> None:
    """Add numbers alone: of tasks that are failed no more. The rows are as for `add_failures`."""
    upsert(db, ERROR_GROUPS, rows, lambda old, new: {"count": old["count"] + new["count"]})


def add_times(db: Session, rows: Rows) -> None:
    """Add failures to their hours: `fingerprint`, `at`, `number`."""
    upsert(db, error_times, rows, lambda old, new: {"number": old.number + new.number})


class _OfGroup(ColumnElement[bool]):
    """Whether a task is in the group."""

    inherit_cache = True


class _NewestFirst(ColumnElement[Any]):
    """The order of the tasks of a group."""

    inherit_cache = True


@compiles(_OfGroup)
def _is_its_error(*_: Any, **__: Any) -> str:
    return "tasks.error_fingerprint = error_groups.fingerprint"


@compiles(_NewestFirst)
def _by_id(*_: Any, **__: Any) -> str:
    return "tasks.id DESC"


# By the id alone PostgreSQL and MySQL would read the newest tasks of all, if some groups have many, to find those of a
# group with few. So the order is that of `ix_tasks_error`; and on PostgreSQL a range, since `=` takes the column out of
# the order.
@compiles(_OfGroup, POSTGRESQL)
def _within_its_error(*_: Any, **__: Any) -> str:
    return "tasks.error_fingerprint BETWEEN error_groups.fingerprint AND error_groups.fingerprint"


@compiles(_NewestFirst, POSTGRESQL)
def _by_error_and_id(*_: Any, **__: Any) -> str:
    return "tasks.error_fingerprint, tasks.id DESC"


@compiles(_NewestFirst, MYSQL)
def _by_error_and_id_backwards(*_: Any, **__: Any) -> str:
    return "tasks.error_fingerprint DESC, tasks.id DESC"


def newest_tasks(db: Session, fingerprints: Sequence[str], each: int) -> dict[str, list[UUID]]:
    """Return the ids of the newest tasks that are failed with each of these, at most `each`."""
    # The first, the second and so on of each: of all the tasks of several groups, no engine stops at the newest ones.
    newest = select(Task.id).where(_OfGroup()).order_by(_NewestFirst()).limit(1)
    ids = [newest.offset(place).scalar_subquery() for place in range(each)]
    rows = db.execute(select(ErrorGroup.fingerprint, *ids).where(ErrorGroup.fingerprint.in_(fingerprints)))
    return {name: [task_id for task_id in found if task_id is not None] for name, *found in rows}


IS_UNUSED = ErrorGroup.number == 0
_PLACED = (
    select(
        ErrorGroup.fingerprint,
        func.row_number().over(partition_by=ErrorGroup.user_id, order_by=ErrorGroup.last_seen.desc()).label("place"),
    )
    .where(IS_UNUSED)
    .subquery()
)


def is_unused_beyond(most: int) -> ColumnElement[bool]:
    """Return the condition that a group has no failed task, as `most` of its user that failed later."""
    return IS_UNUSED & ErrorGroup.fingerprint.in_(select(_PLACED.c.fingerprint).where(_PLACED.c.place > most))
