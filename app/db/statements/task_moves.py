"""What a move of a task writes, whichever engine executes it, and the table of ends: how it leaves its attempt.

Each engine's `transitions` and `attempts` make statements of them; `app/services/execution/ends.py` is what the other
code calls. Expressions over the row are evaluated with its values from before the move. The fingerprint of a failure is
made in the statement that fails the task, since user and name are those of the row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Text, case, func, literal, null
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.db.statements.expressions import greatest, least
from app.ddl.clock import NOW, STATEMENT_TIME, seconds
from app.ddl.columns import Double, JSONText
from app.ddl.terms import ATTEMPT_BYTES
from app.models.task import TRANSITIONS, AttemptOutcome, Held, Task, TaskStatus

# -- The fingerprint of a failure --------------------------------------------------------------------------------------

FINGERPRINT_CHARACTERS = 32


class _Fingerprint(FunctionElement[str]):
    """The first digits of the SHA-256 digest of an id and texts, with a line break between two. NULL is left out."""

    type = Text()
    inherit_cache = True


def fingerprint_of(
    user_id: Any, name: Any, error_type: str | ColumnElement[Any], key: str | ColumnElement[Any]
) -> ColumnElement[str]:
    """Return 32 hexadecimal digits. `key` is one of `app/core/error_keys.py`."""
    texts = (literal(text, Text) if isinstance(text, str) else text for text in (error_type, key))
    return _Fingerprint(user_id, name, *texts)


def _parts(element: _Fingerprint, compiler: SQLCompiler, options: dict[str, Any]) -> list[str]:
    return [compiler.process(each, **options) for each in element.clauses]


@compiles(_Fingerprint)
def _of_postgresql(element: _Fingerprint, compiler: SQLCompiler, **options: Any) -> str:
    texts = (f"CAST({part} AS TEXT)" for part in _parts(element, compiler, options))
    whole = f"convert_to(concat_ws(chr(10), {', '.join(texts)}), 'UTF8')"
    return f"left(encode(sha256({whole}), 'hex'), {FINGERPRINT_CHARACTERS})"


@compiles(_Fingerprint, "mysql")
def _of_mysql(element: _Fingerprint, compiler: SQLCompiler, **options: Any) -> str:
    user_id, *texts = _parts(element, compiler, options)
    whole = ", ".join([f"lower(hex({user_id}))", *texts])
    return f"substr(sha2(concat_ws(char(10), {whole}), 256), 1, {FINGERPRINT_CHARACTERS})"


@compiles(_Fingerprint, "sqlite")
def _of_sqlite(element: _Fingerprint, compiler: SQLCompiler, **options: Any) -> str:
    """By a function that each connection defines (`app/db/connections/sqlite.py`)."""
    parts = ", ".join(_parts(element, compiler, options))
    return f"substr(sha256_hex(concat_ws(char(10), {parts})), 1, {FINGERPRINT_CHARACTERS})"


# -- What a move of a task writes, whichever engine executes it --------------------------------------------------------

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
    """Return the states to come from. Raises ValueError for a move that TRANSITIONS does not have."""
    known = frozenset(sources)
    unknown = sorted(source for source in known if to not in TRANSITIONS[source])
    if unknown or not known:
        raise ValueError(f"no transition from {unknown} to {to}")
    return known


def values_of(to: TaskStatus, ended: AttemptEnd | None) -> dict[str, Any]:
    """Return the columns that every move to this state writes."""
    attempt = {} if ended is None else {"attached_bytes": Task.attached_bytes + _bytes_of(ended)}
    return {"status": to.value, **_entering(to), **attempt}


def failure(
    error_type: str | ColumnElement[Any], message: str | ColumnElement[Any] | None, key: str | ColumnElement[Any]
) -> dict[str, Any]:
    """Return the columns of a move to `failed`. `key` groups it with failures alike (`app/core/error_keys.py`)."""
    fingerprint = fingerprint_of(Task.user_id, Task.celery_task_name, error_type, key)
    return {"error_type": error_type, "error_message": message, "error_fingerprint": fingerprint}


def touched() -> dict[str, Any]:
    """Return the values of every change that a client can see."""
    return {"version": Task.version + 1, "updated_at": NOW}


def attempt_row(moved: Any, ended: AttemptEnd) -> list[Any]:
    """Return the columns HISTORY of the attempt that has ended, of rows as they are after the move."""
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
    """Return the columns that the state itself decides, as the CHECKs of the table demand."""
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
    """Return what the row of the ended attempt takes. A quota counts it with its task."""
    total: ColumnElement[int] = literal(ATTEMPT_BYTES)
    for value in (ended.error_message, ended.traceback):
        if value is not None:
            total = total + func.coalesce(func.octet_length(_expression(value)), 0)
    return total


def _expression(value: str | ColumnElement[Any] | None) -> ColumnElement[Any]:
    if value is None:
        return null()
    return value if isinstance(value, ColumnElement) else literal(value)


# -- The table of ends: how a task can leave its attempt, or the line that it waits in. It holds for every engine ------
# Each cause has one end or several, whose guards exclude each other: a task matches one of them at most, and none where
# another process was first.

# Type, message and traceback of an error.
Error = tuple[str | None, str | None, str | None]
# When a cancellation was requested, in a tuple; None where the attempt no longer holds the task.
Cancellation = Sequence[datetime | None] | None

# Why an attempt ended that was claimed and given back.
NOT_BEGUN = "claimed, and not begun"

# A bind parameter named like a column would be taken for a value to SET, hence the `p_`.
ERROR_TYPE = sa.bindparam("p_error_type", type_=sa.Text)
ERROR_MESSAGE = sa.bindparam("p_error_message", type_=sa.Text)
TRACEBACK = sa.bindparam("p_traceback", type_=sa.Text)
# Groups the failure with failures alike (`app/core/error_keys.py`).
ERROR_KEY = sa.bindparam("p_error_key", type_=sa.Text)
REASON = sa.bindparam("p_reason", type_=sa.Text)
RESULT = sa.bindparam("p_result", type_=JSONText)
# In seconds from now; and what replaces the arguments, NULL to keep them.
DELAY = sa.bindparam("p_delay", type_=Double)
ARGS, KWARGS = (sa.bindparam(name, type_=JSONText) for name in ("p_args", "p_kwargs"))
MAX_CRASHES = sa.bindparam("p_max_crashes", type_=sa.Integer)


class Cause(StrEnum):
    """What ends an attempt, or a task that waits. The comments name the parameters besides those of each error."""

    SUCCEEDED = "succeeded"  # p_result
    FAILED = "failed"  # p_error_key
    RETRIED = "retried"  # p_delay, p_args, p_kwargs
    STOPPED = "stopped"  # p_reason: the body saw a cancellation, or asked for one
    HANDED_BACK = "handed_back"  # by its own worker, with nothing counted
    NOT_BEGUN = "not_begun"  # claimed, and given back; it names no error
    LOST = "lost"  # p_max_crashes: the worker is gone; the message of the error says how
    OVERRAN = "overran"  # p_error_key: killed at the hard time limit
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"  # p_reason: cancelled or stopped before it has begun
    # From outside of the attempt, which is fenced off: by an administrator, or by other code of the service's users.
    SET_SUCCEEDED = "set_succeeded"  # p_result
    SET_FAILED = "set_failed"  # p_error_key, p_reason
    SET_REVOKED = "set_revoked"  # p_reason


@dataclass(frozen=True, eq=False)
class End:
    """Where to, under which condition, and the columns that are written besides those which the state itself decides.

    `attempt` is the row of `task_attempts`: None where no attempt ends, or where the row of the task tells of it.
    """

    to: TaskStatus
    guard: tuple[sa.ColumnElement[bool], ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    attempt: AttemptEnd | None = None
    sources: tuple[TaskStatus, ...] = (TaskStatus.RUNNING,)


_GIVEN = (ERROR_TYPE, ERROR_MESSAGE, TRACEBACK)
_LOST = AttemptEnd(AttemptOutcome.WORKER_LOST, "worker_lost", ERROR_MESSAGE)
_COUNTED = {"failures": least(Task.failures + 1, Task.max_attempts)}
_CRASHED = {"crashes": Task.crashes + 1}
_FAILED = {**failure(ERROR_TYPE, ERROR_MESSAGE, ERROR_KEY), **_COUNTED}
_ERROR = {"error_type": ERROR_TYPE, "error_message": ERROR_MESSAGE}
_DUE = STATEMENT_TIME + seconds(DELAY)
_BACK_OFF = STATEMENT_TIME + seconds(sa.func.coalesce(Task.retry_backoff_seconds, 1))
_HAS_TRIES = Task.failures + 1 < Task.max_attempts
_MAY_BE_LOST_AGAIN = Task.rerun_lost & (Task.crashes + 1 < MAX_CRASHES)
_WHY_LOST = sa.case((Task.rerun_lost, "the worker was lost as often as allowed"), else_="the worker was lost")
# A requested cancellation takes effect however the attempt ends, except by its success.
_CANCELLED = End(
    TaskStatus.REVOKED, (CANCELLED,), CANCELLED_REASON, AttemptEnd(AttemptOutcome.REVOKED, *_GIVEN)
)  # fmt: skip
_SUCCEEDED = End(TaskStatus.SUCCEEDED, values={"result": RESULT, "progress": 100})
_BACK = End(
    TaskStatus.PENDING, (NOT_CANCELLED,), attempt=AttemptEnd(AttemptOutcome.HANDED_BACK, None, ERROR_MESSAGE)
)  # fmt: skip

ENDS: dict[Cause, tuple[End, ...]] = {
    Cause.SUCCEEDED: (_SUCCEEDED,),
    Cause.FAILED: (
        End(TaskStatus.FAILED, (NOT_CANCELLED,), _FAILED, AttemptEnd(AttemptOutcome.FAILED, *_GIVEN)),
        _CANCELLED,
    ),
    Cause.RETRIED: (
        End(
            TaskStatus.PENDING,
            (NOT_CANCELLED,),
            {
                **_ERROR,
                "failures": Task.failures + 1,
                # `self.retry()` may go on past the default of one attempt: the row then says so.
                "max_attempts": greatest(Task.max_attempts, Task.failures + 2),
                "run_at": _DUE,
                "due_at": _DUE,
                # `self.retry(args=…)` changes the arguments of the next attempt.
                "args": sa.func.coalesce(ARGS, Task.args),
                "kwargs": sa.func.coalesce(KWARGS, Task.kwargs),
            },
            AttemptEnd(AttemptOutcome.RETRIED, *_GIVEN),
        ),
        _CANCELLED,
    ),
    Cause.STOPPED: (
        End(
            TaskStatus.REVOKED,
            values={"status_reason": REASON, **NO_ERROR},
            attempt=AttemptEnd(AttemptOutcome.REVOKED, None, REASON),
        ),
    ),
    Cause.HANDED_BACK: (_BACK, _CANCELLED),
    Cause.NOT_BEGUN: (
        replace(_BACK, attempt=AttemptEnd(AttemptOutcome.HANDED_BACK, None, NOT_BEGUN)),
        replace(_CANCELLED, attempt=AttemptEnd(AttemptOutcome.REVOKED, None, NOT_BEGUN)),
    ),
    Cause.LOST: (
        End(TaskStatus.PENDING, (NOT_CANCELLED, _MAY_BE_LOST_AGAIN), _CRASHED, _LOST),
        End(
            TaskStatus.FAILED,
            (NOT_CANCELLED, ~_MAY_BE_LOST_AGAIN),
            # Its cause, such as the size of the process, makes no other failure of it.
            {**_CRASHED, **failure("worker_lost", _WHY_LOST + ": " + ERROR_MESSAGE, _WHY_LOST)},
            _LOST,
        ),
        replace(_CANCELLED, attempt=_LOST),
    ),
    Cause.OVERRAN: (
        End(
            TaskStatus.PENDING,
            (NOT_CANCELLED, _HAS_TRIES),
            {**_ERROR, **_COUNTED, "run_at": _BACK_OFF, "due_at": _BACK_OFF},
            AttemptEnd(AttemptOutcome.RETRIED, *_GIVEN),
        ),
        End(TaskStatus.FAILED, (NOT_CANCELLED, ~_HAS_TRIES), _FAILED, AttemptEnd(AttemptOutcome.FAILED, *_GIVEN)),
        _CANCELLED,
    ),
    Cause.EXPIRED: (
        End(
            TaskStatus.REVOKED,
            (Task.expires_at <= STATEMENT_TIME,),
            {"status_reason": "expired"},
            sources=(TaskStatus.PENDING,),
        ),
    ),
    Cause.WITHDRAWN: (End(TaskStatus.REVOKED, values={"status_reason": REASON}, sources=(TaskStatus.PENDING,)),),
    Cause.SET_SUCCEEDED: (_SUCCEEDED,),
    Cause.SET_FAILED: (
        End(
            TaskStatus.FAILED,
            (NOT_CANCELLED,),
            failure(ERROR_TYPE, ERROR_MESSAGE, ERROR_KEY),
            AttemptEnd(AttemptOutcome.FAILED, ERROR_TYPE, REASON),
        ),
    ),
    Cause.SET_REVOKED: (
        End(
            TaskStatus.REVOKED,
            # A requested cancellation is the reason; else the task was stopped from outside.
            values={**CANCELLED_REASON, "status_reason": sa.case((CANCELLED, "cancelled"), else_="stopped")},
            attempt=AttemptEnd(AttemptOutcome.REVOKED, None, REASON),
        ),
    ),
}


def error_parameters(error: Error) -> dict[str, Any]:
    """Return the values of the parameters of an error."""
    kind, message, traceback = error
    return {"p_error_type": kind, "p_error_message": message, "p_traceback": traceback}
