"""The table of ends: how a task can leave its attempt, or the line that it waits in. It holds for every engine.

Each cause has one end or several, whose guards exclude each other: a task matches one of them at most, and none where
another process was first. The engines' `transitions` and `attempts` make statements of them;
`app/services/execution/ends.py` is what the other code calls.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from app.db.statements.expressions import greatest, least
from app.db.statements.task_moves import CANCELLED, CANCELLED_REASON, NO_ERROR, NOT_CANCELLED, AttemptEnd, failure
from app.ddl.clock import STATEMENT_TIME, seconds
from app.ddl.columns import Double, JSONText
from app.models.task import AttemptOutcome, Task, TaskStatus

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
    """The values of the parameters of an error."""
    kind, message, traceback = error
    return {"p_error_type": kind, "p_error_message": message, "p_traceback": traceback}
