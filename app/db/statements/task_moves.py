"""What a move of a task writes, whichever engine executes it. Each engine's `transitions` builds its statements of it.

Expressions over the row are evaluated with its values from before the move.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, literal, null

from app.db.fingerprints import fingerprint_of
from app.ddl.clock import NOW
from app.ddl.sizes import ATTEMPT_BYTES
from app.models.task import TRANSITIONS, AttemptOutcome, Held, Task, TaskStatus

NO_ERROR = {"error_type": None, "error_message": None}
CANCELLED_REASON = {"status_reason": "cancelled", **NO_ERROR}
NOT_CANCELLED = Task.cancel_requested_at.is_(None)
CANCELLED = Task.cancel_requested_at.is_not(None)
# A task that waits anew needs its places anew: that of its user first, if it needs one.
_HELD_BY_LIMIT = (Task.limit.is_not(None), Held.LIMIT.value)
HELD_BY_LIMIT = case(_HELD_BY_LIMIT)
HELD_ANEW = case((Task.user_limited.is_(True), Held.USER.value), _HELD_BY_LIMIT)

# The group of a failure without an error; see `failure`.
_UNKNOWN_FAILURE = fingerprint_of(Task.user_id, Task.celery_task_name, "", "")

# The columns of `task_attempts`, in the order of `attempt_row`.
HISTORY = (
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


def checked_sources(to: TaskStatus, sources: Iterable[TaskStatus]) -> frozenset[TaskStatus]:
    """The states to come from. Raises ValueError for a move that TRANSITIONS does not have."""
    known = frozenset(sources)
    unknown = sorted(source for source in known if to not in TRANSITIONS[source])
    if unknown or not known:
        raise ValueError(f"no transition from {unknown} to {to}")
    return known


def values_of(to: TaskStatus, ended: AttemptEnd | None) -> dict[str, Any]:
    """The columns that every move to this state writes."""
    attempt = {} if ended is None else {"attached_bytes": Task.attached_bytes + _bytes_of(ended)}
    return {"status": to.value, **_entering(to), **attempt}


def failure(
    error_type: str | ColumnElement[Any], message: str | ColumnElement[Any] | None, key: str | ColumnElement[Any]
) -> dict[str, Any]:
    """The columns of a move to `failed`. `key` groups it with failures alike (`app/core/error_keys.py`)."""
    fingerprint = fingerprint_of(Task.user_id, Task.celery_task_name, error_type, key)
    return {"error_type": error_type, "error_message": message, "error_fingerprint": fingerprint}


def touched() -> dict[str, Any]:
    """The values of every change that a client can see."""
    return {"version": Task.version + 1, "updated_at": NOW}


def attempt_row(moved: Any, ended: AttemptEnd) -> list[Any]:
    """The columns HISTORY of the attempt that has ended, of rows as they are after the move."""
    return [
        moved.id,
        moved.attempt,
        moved.worker,
        moved.started_at,
        moved.updated_at,
        literal(ended.outcome.value),
        *map(_expression, (ended.error_type, ended.error_message, ended.traceback)),
    ]


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
        left["error_fingerprint"] = _UNKNOWN_FAILURE
    return {**left, "due_at": None, "finished_at": NOW, "active_key": None, "held": None}


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
