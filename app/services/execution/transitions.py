"""The one place that writes `status`.

`transition()` builds one guarded UPDATE … RETURNING: it matches no row unless the task is in a state from which
`TRANSITIONS` allows the change, and whoever speaks for an attempt adds that attempt to the guard. No row matched means
that somebody else was first: the caller drops what it held or raises a named error, and never overwrites.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BinaryExpression,
    Column,
    ColumnElement,
    Select,
    Text,
    Update,
    bindparam,
    cast,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.sql import operators

from app.models.task import TRANSITIONS, AttemptOutcome, Task, TaskAttempt, TaskStatus

NOW = func.clock_timestamp()
# The same moment wherever it stands in one statement: for columns that must agree, and for what an index is to find
# (clock_timestamp() may change from row to row, so no index serves a comparison with it).
STATEMENT_TIME = func.statement_timestamp()
NO_ERROR = {"error_type": None, "error_message": None}
CANCELLED_REASON = {"status_reason": "cancelled", **NO_ERROR}

_state_as_text = cast(Task.status, Text).op("||")(literal_column("''"))

# A bind parameter named like a column would be taken for a value to SET, hence the `p_`.
ERROR_TYPE = bindparam("p_error_type", type_=Text)
ERROR_MESSAGE = bindparam("p_error_message", type_=Text)
TRACEBACK = bindparam("p_traceback", type_=Text)
RETURNED = (
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
    """How the running attempt ended, for `task_attempts`; values are SQL expressions or bind parameters."""

    outcome: AttemptOutcome
    error_type: ColumnElement[Any] = ERROR_TYPE
    error_message: ColumnElement[Any] = ERROR_MESSAGE
    traceback: ColumnElement[Any] = TRACEBACK

    @classmethod
    def without_traceback(cls, outcome: AttemptOutcome, error_type: str, message: str) -> "AttemptEnd":
        return cls(outcome, literal(error_type), literal(message), null())


def transition(
    to: TaskStatus,
    *where: ColumnElement[bool],
    sources: Iterable[TaskStatus],
    values: dict[str, Any] | None = None,
    ended: AttemptEnd | None = None,
    returning: Sequence[Any] = RETURNED,
) -> Update | Select[Any]:
    """One statement that moves the matching tasks to `to`, with their history, and returns their rows.

    `sources` are the states they may come from; `ended` adds the row of the attempt that ends with it, which a success
    does not need (the task's own row tells it). Raises ValueError for a move that `TRANSITIONS` does not know.
    """
    known = frozenset(sources)
    unknown = sorted(source for source in known if to not in TRANSITIONS[source])
    if unknown or not known:
        raise ValueError(f"no transition from {unknown} to {to}")
    comes_from = in_state(*known) if any(map(_names_one, where)) else _comes_from(known)
    statement = (
        update(Task)
        .where(comes_from, *where)
        .values({"status": to.value, **_entering(to), **(values or {}), **touched()})
        .returning(*returning)
        .execution_options(synchronize_session=False)
    )
    return statement if ended is None else _with_history(statement, ended)


def in_state(*states: TaskStatus) -> ColumnElement[bool]:
    """Of a row that is named by its id: said so that no partial index of a state can serve.

    While its statistics know of hardly any pending or running task, PostgreSQL takes such an index to be the shorter
    way to one row, and a claim would go through all that waits (docs/adr/0026).
    """
    if len(states) == 1:
        return _state_as_text == next(iter(states)).value
    return _state_as_text.in_(sorted(states))


def _names_one(condition: ColumnElement[bool]) -> bool:
    return (
        isinstance(condition, BinaryExpression)
        and condition.operator is operators.eq
        and isinstance(condition.left, Column)
        and condition.left.name == "id"
        and condition.left.table is Task.__table__
    )


def _comes_from(sources: frozenset[TaskStatus]) -> ColumnElement[bool]:
    # An IN is rendered anew at each execution, which a statement that is prepared once cannot be.
    if len(sources) == 1:
        return Task.status == next(iter(sources)).value
    return Task.status.in_(sorted(sources))


def touched() -> dict[str, Any]:
    """What every change that a client can see carries."""
    return {"version": Task.version + 1, "updated_at": NOW}


def seconds(number: ColumnElement[Any]) -> ColumnElement[Any]:
    """A number of seconds, fractions included, as an interval."""
    return number * literal_column("interval '1 second'")


def _entering(to: TaskStatus) -> dict[str, Any]:
    """The columns that the state itself decides, as the CHECKs of the table demand."""
    if to is TaskStatus.RUNNING:
        started = {"attempt": Task.attempt + 1, "started_at": NOW, "dispatch_at": None, "dispatched_at": None}
        return {**started, **NO_ERROR}
    left: dict[str, Any] = {"claim_id": None, "worker_pid": None, "dispatched_at": None}
    if to is TaskStatus.PENDING:
        left["status_reason"] = None
        # Progress belongs to an attempt; the next one starts at nothing.
        return {**left, "dispatch_at": NOW, "finished_at": None, "progress": 0, "progress_detail": None}
    return {**left, "dispatch_at": None, "finished_at": NOW}


def _with_history(statement: Update, ended: AttemptEnd) -> Select[Any]:
    """The same statement with the ended attempt's row written by it: one round trip, one commit."""
    moved = statement.cte("moved")
    attempt = select(
        moved.c.id,
        moved.c.attempt,
        moved.c.worker,
        moved.c.started_at,
        moved.c.updated_at,
        literal(ended.outcome.value),
        ended.error_type,
        ended.error_message,
        ended.traceback,
    )
    history = insert(TaskAttempt).from_select(_HISTORY, attempt).cte("history")
    return select(moved).add_cte(history)


# Guards


def this_attempt() -> tuple[ColumnElement[bool], ...]:
    """The fence: this task, and this very attempt of it (`p_task_id`, `p_attempt`)."""
    return Task.id == bindparam("p_task_id"), Task.attempt == bindparam("p_attempt")


NOT_CANCELLED = Task.cancel_requested_at.is_(None)
CANCELLED = Task.cancel_requested_at.is_not(None)
