"""The one place that writes `status`.

A move locks the rows that it may change, changes them by their ids, and writes the history of the attempts that end
with it, in one transaction. No row matched means that another process was first: the caller drops its result or raises
a named error, and never overwrites.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Insert, Update, bindparam, insert, literal, select, update

from app.db.statements.tables import TASKS
from app.db.statements.task_moves import HISTORY, AttemptEnd, attempt_row, checked_sources, touched, values_of
from app.db.statements.writes import assign, value_by
from app.db.transactions import Executor, Transaction, atomically
from app.ddl.columns import Base
from app.models.task import TaskAttempt, TaskStatus

_ATTEMPTS = Base.metadata.tables[TaskAttempt.__tablename__]


def change_statement(
    to: TaskStatus, *where: ColumnElement[bool], values: dict[str, Any] | None = None, ended: AttemptEnd | None = None
) -> Update:
    """Return an UPDATE that moves the matching tasks to `to`; the caller has locked them, or `where` guards the move.

    `where` names their ids. Of few rows MySQL would otherwise read all, and wait for those that others have locked.
    """
    written = {**values_of(to, ended), **(values or {}), **touched()}
    by_id = update(TASKS).with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql")
    return assign(by_id.where(*where), written)


def history_statement(ended: AttemptEnd, *where: ColumnElement[bool]) -> Insert:
    """Return an INSERT of the attempts that have ended with the move of these tasks, which has been made."""
    return insert(_ATTEMPTS).from_select(HISTORY, select(*attempt_row(TASKS.c, ended)).where(*where))


def move_tasks(
    db: Executor,
    to: TaskStatus,
    *where: ColumnElement[bool],
    sources: Iterable[TaskStatus],
    values: dict[str, Any] | None = None,
    ended: AttemptEnd | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> list[UUID]:
    """Move the matching tasks. Returns the ids of the moved ones.

    `sources` are the states that the tasks may come from. `ended` adds the row of the attempt that ends with the move;
    a success needs none: the row of the task tells it. `parameters` are the values of bind parameters. Raises
    ValueError for a move that TRANSITIONS does not have.
    """
    known = checked_sources(to, sources)

    def move(db: Transaction) -> list[UUID]:
        found = select(TASKS.c.id).where(in_state(*known), *where).order_by(TASKS.c.id)
        ids: Sequence[UUID] = db.execute(found.with_for_update(of=TASKS), parameters).scalars().all()
        if ids:
            these = TASKS.c.id.in_(ids)
            db.execute(change_statement(to, these, values=values, ended=ended), parameters)
            if ended is not None:
                db.execute(history_statement(ended, these), parameters)
        return list(ids)

    return atomically(db, move)


def with_ids(new_ids: Mapping[UUID, UUID]) -> tuple[ColumnElement[bool], ColumnElement[UUID]]:
    """Return a condition for these tasks, by their ids, and what gives each of them the id that stands under its own.

    Both are for one call of `move_tasks`.
    """
    kind = TASKS.c.id.type
    return TASKS.c.id.in_(new_ids), value_by(TASKS.c.id, {each: literal(new, kind) for each, new in new_ids.items()})


def in_state(*states: TaskStatus) -> ColumnElement[bool]:
    """Return a condition on the status of a task."""
    if len(states) == 1:
        return TASKS.c.status == next(iter(states)).value
    return TASKS.c.status.in_(sorted(states))


IDS = bindparam("p_ids", expanding=True, type_=TASKS.c.id.type)
"""The ids of locked rows, for statements that are built once."""
