"""Rows of tasks that are locked by their ids, and changed then; and the clock of their line."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, FromClause, func, select, update

from app.db.statements.executing import Transaction
from app.db.statements.tables import CLAIMED_TURNS, TASKS


def clock_of(row: FromClause) -> ColumnElement[float]:
    """The highest turn that was claimed from the line of this row, which has queue and priority; 0 before any was."""
    return clock_of_line(row.c.queue, row.c.priority)


def clock_of_line(queue: ColumnElement[str], priority: ColumnElement[str]) -> ColumnElement[float]:
    of_line = (CLAIMED_TURNS.c.queue == queue, CLAIMED_TURNS.c.priority == priority)
    # As max(), MySQL would read all turns of the line.
    top = select(CLAIMED_TURNS.c.turn).where(*of_line).order_by(CLAIMED_TURNS.c.turn.desc()).limit(1)
    return func.coalesce(top.scalar_subquery(), 0.0)


def lock_tasks(
    db: Transaction, columns: Sequence[Any], ids: Sequence[UUID], *which: ColumnElement[bool]
) -> Sequence[Any]:
    """Lock those of these tasks that match and that no other transaction has locked. Returns these columns of them.

    By the primary key alone: a read through another index locks its entries of the rows that it then leaves out, and
    who has locked such a row waits to change it.
    """
    found = select(*columns).where(TASKS.c.id.in_(ids), *which).order_by(TASKS.c.id)
    rows = found.with_hint(TASKS, "FORCE INDEX (PRIMARY)", "mysql").with_for_update(skip_locked=True)
    return db.execute(rows).all()


def change_tasks(db: Transaction, ids: Sequence[UUID], values: Mapping[str, Any], **options: Any) -> None:
    """Give these tasks, which this transaction has locked, these values by column. `options` are those of `execute`."""
    # Of few rows MySQL would read all, and wait for those that others have locked.
    these = update(TASKS).with_hint("FORCE INDEX (PRIMARY)", dialect_name="mysql").where(TASKS.c.id.in_(ids))
    db.execute(these.values(**values), **options)
