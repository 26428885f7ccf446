"""The one place that writes `status`.

`transition()` builds one guarded UPDATE … RETURNING. It matches no row unless the task is in a state from which
`TRANSITIONS` allows the change; a caller that speaks for an attempt adds that attempt to the guard. No row matched
means that another process was first: the caller drops its result or raises a named error, and never overwrites.

`move_tasks` executes such a statement once. Statements that each task needs are built once, in `attempts.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.sql import operators

from app.db.statements.reads import is_one_of
from app.db.statements.task_moves import HISTORY, AttemptEnd, attempt_row, checked_sources, touched, values_of
from app.models.task import Task, TaskAttempt, TaskStatus

_state_as_text = sa.cast(Task.status, sa.Text).op("||")(sa.literal_column("''"))
_RETURNED = (Task.id, Task.status, Task.version, Task.attempt, Task.worker, Task.started_at, Task.updated_at)


def transition(
    to: TaskStatus,
    *where: sa.ColumnElement[bool],
    sources: Iterable[TaskStatus],
    values: dict[str, Any] | None = None,
    ended: AttemptEnd | None = None,
    returning: Sequence[Any] = _RETURNED,
) -> sa.Update | sa.Select[Any]:
    """Return one statement that moves the matching tasks to `to`, writes their history, and returns their rows.

    `sources` are the states that the tasks may come from. `ended` adds the row of the attempt that ends with the move;
    a success needs none: the row of the task tells it. Raises ValueError for a move that TRANSITIONS does not have.
    """
    known = checked_sources(to, sources)
    comes_from = in_state(*known) if any(map(_names_tasks, where)) else _comes_from(known)
    statement = (
        sa.update(Task)
        .where(comes_from, *where)
        .values({**values_of(to, ended), **(values or {}), **touched()})
        .returning(*returning)
        .execution_options(synchronize_session=False)
    )
    return statement if ended is None else _with_history(statement, ended)


def move_tasks(
    db: Session | sa.Connection,
    to: TaskStatus,
    *where: sa.ColumnElement[bool],
    sources: Iterable[TaskStatus],
    values: dict[str, Any] | None = None,
    ended: AttemptEnd | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> list[UUID]:
    """Move the matching tasks in one statement, as `transition()` describes. Returns the ids of the moved ones.

    `parameters` are the values of bind parameters.
    """
    statement = transition(to, *where, sources=sources, values=values, ended=ended)
    return [row.id for row in db.execute(statement, parameters)]


def with_ids(new_ids: Mapping[UUID, UUID]) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[UUID]]:
    """Return a condition for these tasks, by their ids, and what gives each of them the id that stands under its own.

    Both are for one call of `move_tasks`. Two arrays, which cost SQLAlchemy a sixth of a CASE of as many literals.
    """
    given = (sa.literal(list(each), ARRAY(sa.Uuid)) for each in (new_ids, new_ids.values()))
    rows = sa.func.unnest(*given).table_valued(sa.column("id", sa.Uuid), sa.column("new_id", sa.Uuid))
    given_ids = rows.render_derived(name="given")
    return Task.id == given_ids.c.id, given_ids.c.new_id


def in_state(*states: TaskStatus) -> sa.ColumnElement[bool]:
    """Return a condition on the status of a task that the statement names by its id: no partial index can serve it.

    While PostgreSQL's statistics know of hardly any pending or running task, it takes such an index for the shorter
    way to one row. A claim would then read all waiting tasks (docs/adr/0026).
    """
    if len(states) == 1:
        return _state_as_text == next(iter(states)).value
    return _state_as_text.in_(sorted(states))


def _names_tasks(condition: sa.ColumnElement[bool]) -> bool:
    """Return whether the condition names tasks by their ids: one, or a list."""
    if isinstance(condition, is_one_of):
        return condition.column is Task.__table__.c.id
    return (
        isinstance(condition, sa.BinaryExpression)
        and (
            condition.operator is operators.eq
            or (condition.operator is operators.in_op and isinstance(condition.right, sa.BindParameter))
        )
        and isinstance(condition.left, sa.Column)
        and condition.left.name == "id"
        and condition.left.table is Task.__table__
    )


def _comes_from(sources: frozenset[TaskStatus]) -> sa.ColumnElement[bool]:
    # SQLAlchemy renders an IN at each execution; a statement that is prepared once cannot have one.
    if len(sources) == 1:
        return Task.status == next(iter(sources)).value
    return Task.status.in_(sorted(sources))


def _with_history(statement: sa.Update, ended: AttemptEnd) -> sa.Select[Any]:
    """The same statement, which also writes the row of the ended attempt: one round trip, one commit."""
    moved = statement.cte("moved")
    attempt = sa.select(*attempt_row(moved.c, ended))
    history = sa.insert(TaskAttempt).from_select(HISTORY, attempt).cte("history")
    return sa.select(moved).add_cte(history)
