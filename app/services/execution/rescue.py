"""Ends running attempts on behalf of a process that no longer can: its worker was lost, or it overran its time limit.

Used by the worker's parent process for its own children, and by the keeper for workers that have gone silent. Each
function sends one statement a possible ending, each guarded on its own, so a task that ends by itself in between
matches none of them. Callers say which attempts they mean and commit.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, literal, null
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.messaging import hints
from app.models.task import AttemptOutcome, Task, TaskStatus
from app.services.execution.transitions import (
    CANCELLED,
    CANCELLED_REASON,
    NOT_CANCELLED,
    STATEMENT_TIME,
    AttemptEnd,
    seconds,
    transition,
)

Executor = Session | Connection
RUNNING = (TaskStatus.RUNNING,)


def lost(db: Executor, *attempts: ColumnElement[bool]) -> int:
    """The attempts' worker is gone: pending again, failed at the crash cap, revoked where that was asked for.

    A task with `rerun_lost` off fails at the first loss. Returns how many attempts were ended.
    """
    again = Task.rerun_lost & (Task.crashes + 1 < get_settings().max_crashes)
    why = case((Task.rerun_lost, "the worker was lost as often as allowed"), else_="the worker was lost")
    ended = AttemptEnd.without_traceback(AttemptOutcome.WORKER_LOST, "worker_lost", "the worker process was lost")
    crashed: dict[str, Any] = {"crashes": Task.crashes + 1}
    failed = {"error_type": literal("worker_lost"), "error_message": why}
    statements = (
        transition(TaskStatus.PENDING, *attempts, NOT_CANCELLED, again, sources=RUNNING, values=crashed, ended=ended),
        transition(
            TaskStatus.FAILED, *attempts, NOT_CANCELLED, ~again, sources=RUNNING, values=crashed | failed, ended=ended
        ),
        _revoked(attempts, ended),
    )
    return _matched(db, statements)


def handed_back(db: Executor, why: str, *attempts: ColumnElement[bool]) -> int:
    """Their own worker has stopped them: pending again with nothing counted, revoked where that was asked for.

    `why` is for the attempts' history. Returns how many attempts were ended.
    """

    def ended(outcome: AttemptOutcome) -> AttemptEnd:
        return AttemptEnd(outcome, null(), literal(why), null())

    statements = (
        transition(
            TaskStatus.PENDING, *attempts, NOT_CANCELLED, sources=RUNNING, ended=ended(AttemptOutcome.HANDED_BACK)
        ),
        _revoked(attempts, ended(AttemptOutcome.REVOKED)),
    )
    return _matched(db, statements)


def overran(db: Executor, limit: float, *attempts: ColumnElement[bool]) -> int:
    """The attempts were killed at their hard time limit: a failure like any other. Returns how many were ended."""
    again = Task.failures + 1 < Task.max_attempts
    message = f"hard time limit ({limit:g} s) exceeded"
    error: dict[str, Any] = {
        "error_type": "TimeLimitExceeded",
        "error_message": message,
        "failures": func.least(Task.failures + 1, Task.max_attempts),
    }
    due = STATEMENT_TIME + seconds(func.coalesce(Task.retry_backoff_seconds, 1))

    def ended(outcome: AttemptOutcome) -> AttemptEnd:
        return AttemptEnd.without_traceback(outcome, "TimeLimitExceeded", message)

    statements = (
        transition(
            TaskStatus.PENDING,
            *attempts,
            NOT_CANCELLED,
            again,
            sources=RUNNING,
            values=error | {"run_at": due, "dispatch_at": due},
            ended=ended(AttemptOutcome.RETRIED),
        ),
        transition(
            TaskStatus.FAILED,
            *attempts,
            NOT_CANCELLED,
            ~again,
            sources=RUNNING,
            values=error,
            ended=ended(AttemptOutcome.FAILED),
        ),
        _revoked(attempts, ended(AttemptOutcome.REVOKED)),
    )
    return _matched(db, statements)


def _revoked(attempts: Sequence[ColumnElement[bool]], ended: AttemptEnd) -> Any:
    """Where a cancellation was asked for, it has come about, however the attempt ended."""
    return transition(TaskStatus.REVOKED, *attempts, CANCELLED, sources=RUNNING, values=CANCELLED_REASON, ended=ended)


def _matched(db: Executor, statements: Sequence[Any]) -> int:
    moved = [row.id for statement in statements for row in db.execute(statement)]
    hints.changes(db, *moved)
    return len(moved)
