"""Ends running attempts for a process that cannot: its worker was lost, or its time limit is over.

Used by the worker's parent process for its own children, and by maintenance for silent workers. Each function sends one
statement for each possible end, guarded by itself, so that a task which ends in between matches none of them. Callers
choose the attempts and commit.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.error_keys import error_key
from app.db.clock import STATEMENT_TIME, seconds
from app.db.sql import transitions
from app.db.statements.task_moves import CANCELLED, CANCELLED_REASON, NOT_CANCELLED, AttemptEnd, failure
from app.messaging import hints
from app.models.task import AttemptOutcome, Task, TaskStatus

Executor = Session | Connection
Condition = ColumnElement[bool]
Values = dict[str, Any]
# Where to, under which condition, with which values, and what the history says.
End = tuple[TaskStatus, Condition, Values, AttemptEnd]


def lost(db: Executor, *attempts: Condition) -> int:
    """The worker of the attempts is gone: pending again, failed at the crash cap, revoked where that was requested.

    A task with `rerun_lost` off fails at the first loss. Returns how many attempts were ended.
    """
    again = Task.rerun_lost & (Task.crashes + 1 < get_settings().max_crashes)
    why = case((Task.rerun_lost, "the worker was lost as often as allowed"), else_="the worker was lost")
    ended = AttemptEnd(AttemptOutcome.WORKER_LOST, "worker_lost", "the worker process was lost")
    crashed: Values = {"crashes": Task.crashes + 1}
    failed = {**crashed, **failure("worker_lost", why, why)}
    return _end(
        db,
        attempts,
        (TaskStatus.PENDING, NOT_CANCELLED & again, crashed, ended),
        (TaskStatus.FAILED, NOT_CANCELLED & ~again, failed, ended),
        _revoked(ended),
    )


def handed_back(db: Executor, why: str, *attempts: Condition) -> int:
    """Their own worker has stopped them: pending again with nothing counted, revoked where that was requested.

    `why` is for the history of the attempts. Returns how many attempts were ended.
    """
    return _end(
        db,
        attempts,
        (
            TaskStatus.PENDING,
            NOT_CANCELLED,
            {},
            AttemptEnd(AttemptOutcome.HANDED_BACK, None, why),
        ),
        _revoked(AttemptEnd(AttemptOutcome.REVOKED, None, why)),
    )


def overran(db: Executor, limit: float, *attempts: Condition) -> int:
    """The attempts were killed at their hard time limit of `limit` seconds: a failure. Returns how many were ended."""
    again = Task.failures + 1 < Task.max_attempts
    error = ("TimeLimitExceeded", f"hard time limit ({limit:g} s) exceeded")
    counted: Values = {
        "failures": case((Task.failures < Task.max_attempts, Task.failures + 1), else_=Task.max_attempts)
    }
    failed = {**counted, **failure(*error, error_key(error[1]))}
    due = STATEMENT_TIME + seconds(func.coalesce(Task.retry_backoff_seconds, 1))
    retried = {**counted, "error_type": error[0], "error_message": error[1], "run_at": due, "due_at": due}
    return _end(
        db,
        attempts,
        (
            TaskStatus.PENDING,
            NOT_CANCELLED & again,
            retried,
            AttemptEnd(AttemptOutcome.RETRIED, *error),
        ),
        (
            TaskStatus.FAILED,
            NOT_CANCELLED & ~again,
            failed,
            AttemptEnd(AttemptOutcome.FAILED, *error),
        ),
        _revoked(AttemptEnd(AttemptOutcome.REVOKED, *error)),
    )


def _revoked(ended: AttemptEnd) -> End:
    """A requested cancellation takes effect, however the attempt ended."""
    return TaskStatus.REVOKED, CANCELLED, CANCELLED_REASON, ended


def _end(db: Executor, attempts: tuple[Condition, ...], *ends: End) -> int:
    running = [TaskStatus.RUNNING]
    ids = [
        task_id
        for to, condition, values, ended in ends
        for task_id in transitions.move_tasks(db, to, *attempts, condition, sources=running, values=values, ended=ended)
    ]
    hints.changes(db, *ids)
    return len(ids)
