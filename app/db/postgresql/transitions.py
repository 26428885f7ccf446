"""The one place that writes `status`.

`transition()` builds one guarded UPDATE … RETURNING. It matches no row unless the task is in a state from which
`TRANSITIONS` allows the change; a caller that speaks for an attempt adds that attempt to the guard. No row matched
means that another process was first: the caller drops its result or raises a named error, and never overwrites.

`move_task` and `move_tasks` execute such a statement once. Statements that each task needs are built once, in
`attempts.py`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BinaryExpression,
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    Select,
    Text,
    Update,
    case,
    cast,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.sql import operators

from app.db.clock import NOW
from app.db.postgresql.fingerprints import fingerprint_of
from app.db.postgresql.schema.sizes import ATTEMPT_BYTES
from app.models.task import TRANSITIONS, AttemptOutcome, Held, Task, TaskAttempt, TaskStatus

NO_ERROR = {"error_type": None, "error_message": None}
CANCELLED_REASON = {"status_reason": "cancelled", **NO_ERROR}
NOT_CANCELLED = Task.cancel_requested_at.is_(None)
CANCELLED = Task.cancel_requested_at.is_not(None)
# A task that waits anew needs its places anew: that of its user first, if it needs one.
_HELD_BY_LIMIT = (Task.limit.is_not(None), Held.LIMIT.value)
HELD_BY_LIMIT = case(_HELD_BY_LIMIT)
HELD_ANEW = case((Task.user_limited.is_(True), Held.USER.value), _HELD_BY_LIMIT)

_state_as_text = cast(Task.status, Text).op("||")(literal_column("''"))
_RETURNED = (
    Task.id,
    Task.status,
    Task.version,
    Task.attempt,
    Task.worker,
    Task.started_at,
    Task.updated_at,
)
_HISTORY = (
    "task_id",
    "number",
    "worker",
    "started_at",
    "finished_at",
    "outcome",
    "error_type",
    "error_message",
    "traceback",
)


@dataclass(frozen=True)
class AttemptEnd:
    """How the running attempt ended, for `task_attempts`. Texts are values, SQL expressions or bind parameters."""

    outcome: AttemptOutcome
    error_type: str | ColumnElement[Any] | None = None
    error_message: str | ColumnElement[Any] | None = None
    traceback: str | ColumnElement[Any] | None = None


def transition(
    to: TaskStatus,
    *where: ColumnElement[bool],
    sources: Iterable[TaskStatus],
    values: dict[str, Any] | None = None,
    ended: AttemptEnd | None = None,
    returning: Sequence[Any] = _RETURNED,
) -> Update | Select[Any]:
    """One statement that moves the matching tasks to `to`, writes their history, and returns their rows.

    `sources` are the states that the tasks may come from. `ended` adds the row of the attempt that ends with the move;
    a success needs none: the row of the task tells it. Raises ValueError for a move that TRANSITIONS does not have.
    """
    known = frozenset(sources)
    attempt = {} if ended is None else {"attached_bytes": Task.attached_bytes + _bytes_of(ended)}
    unknown = sorted(source for source in known if to not in TRANSITIONS[source])
    if unknown or not known:
        raise ValueError(f"no transition from {unknown} to {to}")
    comes_from = in_state(*known) if any(map(_names_tasks, where)) else _comes_from(known)
    statement = (
        update(Task)
        .where(comes_from, *where)
        .values({"status": to.value, **_entering(to), **attempt, **(values or {}), **touched()})
        .returning(*returning)
        .execution_options(synchronize_session=False)
    )
    return statement if ended is None else _with_history(statement, ended)


def move_task(
    db: Session,
    to: TaskStatus,
    task_id: UUID,
    *where: ColumnElement[bool],
    sources: Iterable[TaskStatus],
    values: dict[str, Any] | None = None,
    ended: AttemptEnd | None = None,
) -> bool:
    """Move one task, as `transition()` describes. Returns False where it did not match."""
    return bool(move_tasks(db, to, Task.id == task_id, *where, sources=sources, values=values, ended=ended))


def move_tasks(
    db: Session | Connection,
    to: TaskStatus,
    *where: ColumnElement[bool],
    sources: Iterable[TaskStatus],
    values: dict[str, Any] | None = None,
    ended: AttemptEnd | None = None,
) -> list[UUID]:
    """Move the matching tasks in one statement, as `transition()` describes. Returns the ids of the moved ones."""
    statement = transition(to, *where, sources=sources, values=values, ended=ended)
    return [row.id for row in db.execute(statement)]


def failure(
    error_type: str | ColumnElement[Any], message: str | ColumnElement[Any] | None, key: str | ColumnElement[Any]
) -> dict[str, Any]:
    """The columns of a move to `failed`. `key` groups it with failures alike (`app/core/error_keys.py`)."""
    fingerprint = fingerprint_of(Task.user_id, Task.celery_task_name, error_type, key)
    return {"error_type": error_type, "error_message": message, "error_fingerprint": fingerprint}


def in_state(*states: TaskStatus) -> ColumnElement[bool]:
    """A condition on the status of a task that the statement names by its id: no partial index can serve it.

    While PostgreSQL's statistics know of hardly any pending or running task, it takes such an index for the shorter
    way to one row. A claim would then read all waiting tasks (docs/adr/0026).
    """
    if len(states) == 1:
        return _state_as_text == next(iter(states)).value
    return _state_as_text.in_(sorted(states))


def touched() -> dict[str, Any]:
    """The values of every change that a client can see."""
    return {"version": Task.version + 1, "updated_at": NOW}


def _names_tasks(condition: ColumnElement[bool]) -> bool:
    """Whether the condition names tasks by their ids: one, or a list."""
    return (
        isinstance(condition, BinaryExpression)
        and (
            condition.operator is operators.eq
            or (condition.operator is operators.in_op and isinstance(condition.right, BindParameter))
        )
        and isinstance(condition.left, Column)
        and condition.left.name == "id"
        and condition.left.table is Task.__table__
    )


def _comes_from(sources: frozenset[TaskStatus]) -> ColumnElement[bool]:
    # SQLAlchemy renders an IN at each execution; a statement that is prepared once cannot have one.
    if len(sources) == 1:
        return Task.status == next(iter(sources)).value
    return Task.status.in_(sorted(sources))


def _entering(to: TaskStatus) -> dict[str, Any]:
    """The columns that the state itself decides, as the CHECKs of the table demand."""
    if to is TaskStatus.RUNNING:
        return {"attempt": Task.attempt + 1, "started_at": NOW, "due_at": None, "turn": None, **NO_ERROR}
    left: dict[str, Any] = {"claim_id": None, "worker_pid": None, "turn": None}
    if to is TaskStatus.PENDING:
        left |= {"status_reason": None, "active_key": Task.unique_key, "held": HELD_ANEW, "error_fingerprint": None}
        # Progress belongs to an attempt: the next attempt starts at 0.
        return {**left, "due_at": NOW, "finished_at": None, "progress": 0, "progress_detail": None}
    if to is TaskStatus.FAILED:
        left["error_fingerprint"] = fingerprint_of(Task.user_id, Task.celery_task_name, "", "")  # see `failure`
    return {**left, "due_at": None, "finished_at": NOW, "active_key": None, "held": None}


def _with_history(statement: Update, ended: AttemptEnd) -> Select[Any]:
    """The same statement, which also writes the row of the ended attempt: one round trip, one commit."""
    moved = statement.cte("moved")
    attempt = select(
        moved.c.id,
        moved.c.attempt,
        moved.c.worker,
        moved.c.started_at,
        moved.c.updated_at,
        literal(ended.outcome.value),
        *map(_expression, (ended.error_type, ended.error_message, ended.traceback)),
    )
    history = insert(TaskAttempt).from_select(_HISTORY, attempt).cte("history")
    return select(moved).add_cte(history)


def _bytes_of(ended: AttemptEnd) -> ColumnElement[int]:
    """What the row of the ended attempt takes. A quota counts it with its task."""
    total: ColumnElement[int] = literal(ATTEMPT_BYTES)
    for value in (ended.error_message, ended.traceback):
        if value is not None:
            total = total + func.coalesce(func.octet_length(_expression(value)), 0)
    return total


def _expression(value: str | ColumnElement[Any] | None) -> ColumnElement[Any]:
    if value is None:
        return null()
    return value if isinstance(value, ColumnElement) else literal(value)
