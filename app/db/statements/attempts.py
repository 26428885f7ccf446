"""The statements that each task costs: progress and ends of attempts. Those of one attempt are built once.

The functions take a session or a connection. In a transaction of the caller they commit nothing; else each is one. A
statement is fenced by the number of the attempt; a function that ends an attempt returns False where the attempt no
longer held the task. `begun_after` is how many seconds after the claim the body began.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Insert, Text, Update, bindparam, case, func, select, update

from app.db.clock import STATEMENT_TIME, seconds
from app.db.columns import Double, JSONText
from app.db.rows import changed_rows
from app.db.statements.assigning import assign
from app.db.statements.attempt_values import ERROR_MESSAGE, ERROR_TYPE, TRACEBACK, Cancellation, Error, error_values
from app.db.statements.executing import Executor, Transaction, atomically
from app.db.statements.expressions import greatest, least
from app.db.statements.tables import TASKS
from app.db.statements.task_moves import (
    CANCELLED,
    CANCELLED_REASON,
    NO_ERROR,
    NOT_CANCELLED,
    AttemptEnd,
    failure,
    touched,
)
from app.db.statements.transitions import IDS, change_statement, history_statement, in_state
from app.models.task import AttemptOutcome, TaskStatus

__all__ = ["Cancellation", "Executor"]


_RUNNING = in_state(TaskStatus.RUNNING)
CLAIMED = (
    TASKS.c.id,
    TASKS.c.attempt,
    TASKS.c.args,
    TASKS.c.kwargs,
    TASKS.c.failures,
    TASKS.c.max_attempts,
    TASKS.c.max_attempts_named,
    TASKS.c.retry_backoff_seconds,
)
# A bind parameter named like a column would be taken for a value to SET, hence the `p_`.
_TASK = TASKS.c.id == bindparam("p_task_id", type_=TASKS.c.id.type)
_THIS_ATTEMPT = (_TASK, TASKS.c.attempt == bindparam("p_attempt"), _RUNNING)
# In a batch, a body begins up to 100 ms after the claim.
_BEGUN = {"started_at": TASKS.c.started_at + seconds(bindparam("p_begun_after", type_=Double))}

_PROGRESS = assign(
    update(TASKS).where(*_THIS_ATTEMPT),
    {
        "progress": func.coalesce(bindparam("p_progress"), TASKS.c.progress),
        "progress_detail": func.coalesce(bindparam("p_detail", type_=JSONText), TASKS.c.progress_detail),
        **touched(),
    },
)
_CHECK = select(TASKS.c.cancel_requested_at).where(*_THIS_ATTEMPT)


def write_progress(
    db: Executor, task_id: UUID, attempt: int, progress: int | None, detail: Any | None
) -> Cancellation:  # fmt: skip
    """Write percent and detail; None keeps the stored value."""
    values = {"p_task_id": task_id, "p_attempt": attempt, "p_progress": progress, "p_detail": detail}

    def write(db: Transaction) -> Cancellation:
        db.execute(_PROGRESS, values)
        return db.execute(_CHECK, values).one_or_none()

    return atomically(db, write)


def read_cancellation(db: Executor, task_id: UUID, attempt: int) -> Cancellation:
    """Write nothing, and read whether a cancellation was requested."""
    return atomically(db, lambda db: db.execute(_CHECK, {"p_task_id": task_id, "p_attempt": attempt}).one_or_none())


class _End:
    """A move that ends one attempt: its UPDATE, and the INSERT of its history, built once."""

    def __init__(
        self,
        to: TaskStatus,
        *where: ColumnElement[bool],
        values: dict[str, Any],
        outcome: AttemptOutcome | None = None,
    ) -> None:
        ended = None if outcome is None else AttemptEnd(outcome, ERROR_TYPE, ERROR_MESSAGE, TRACEBACK)
        self._change: Update = change_statement(to, *_THIS_ATTEMPT, *where, values={**values, **_BEGUN}, ended=ended)
        self._history: Insert | None = None if ended is None else history_statement(ended, _TASK)

    def write(self, db: Executor, task_id: UUID, attempt: int, begun_after: float, values: dict[str, Any]) -> bool:
        """Whether the attempt still held the task."""
        given = {"p_task_id": task_id, "p_attempt": attempt, "p_begun_after": begun_after, **values}

        def end(db: Transaction) -> bool:
            if not changed_rows(db.execute(self._change, given)):
                return False
            if self._history is not None:
                db.execute(self._history, given)
            return True

        return atomically(db, end)


_SUCCEED = _End(TaskStatus.SUCCEEDED, values={"result": bindparam("p_result", type_=JSONText), "progress": 100})
_FAIL = _End(
    TaskStatus.FAILED,
    NOT_CANCELLED,
    values={
        **failure(ERROR_TYPE, ERROR_MESSAGE, bindparam("p_error_key", type_=Text)),
        "failures": least(TASKS.c.failures + 1, TASKS.c.max_attempts),
    },
    outcome=AttemptOutcome.FAILED,
)
_DUE = STATEMENT_TIME + seconds(bindparam("p_delay", type_=Double))
_RETRY_LATER = _End(
    TaskStatus.PENDING,
    NOT_CANCELLED,
    values={
        "error_type": ERROR_TYPE,
        "error_message": ERROR_MESSAGE,
        "failures": TASKS.c.failures + 1,
        # `self.retry()` may go on past the default of one attempt: the row then says so.
        "max_attempts": greatest(TASKS.c.max_attempts, TASKS.c.failures + 2),
        "run_at": _DUE,
        "due_at": _DUE,
        # `self.retry(args=…)` changes the arguments of the next attempt.
        "args": func.coalesce(bindparam("p_args", type_=JSONText), TASKS.c.args),
        "kwargs": func.coalesce(bindparam("p_kwargs", type_=JSONText), TASKS.c.kwargs),
    },
    outcome=AttemptOutcome.RETRIED,
)
_HAND_BACK = _End(TaskStatus.PENDING, NOT_CANCELLED, values={}, outcome=AttemptOutcome.HANDED_BACK)
_REVOKE = _End(
    TaskStatus.REVOKED,
    values={"status_reason": bindparam("p_reason", type_=Text), **NO_ERROR},
    outcome=AttemptOutcome.REVOKED,
)
_REVOKE_CANCELLED = _End(TaskStatus.REVOKED, CANCELLED, values=CANCELLED_REASON, outcome=AttemptOutcome.REVOKED)


def succeed(db: Executor, task_id: UUID, attempt: int, result: Any, begun_after: float) -> bool:
    """End the attempt in success. It wins over a requested cancellation."""
    return _SUCCEED.write(db, task_id, attempt, begun_after, {"p_result": result})


def fail(db: Executor, task_id: UUID, attempt: int, error: Error, key: str, begun_after: float) -> bool:
    """End the attempt in failure, unless a cancellation was requested. `key` groups it with others."""
    return _FAIL.write(db, task_id, attempt, begun_after, error_values(error) | {"p_error_key": key})


def retry_later(
    db: Executor,
    task_id: UUID,
    attempt: int,
    error: Error,
    delay: float,
    args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    begun_after: float,
) -> bool:
    """End the attempt; the task is pending and due in `delay` seconds. Not where a cancellation was requested.

    `args` and `kwargs` replace the stored ones; None keeps them.
    """
    later = {"p_delay": delay, "p_args": args, "p_kwargs": kwargs}
    return _RETRY_LATER.write(db, task_id, attempt, begun_after, error_values(error) | later)


def hand_back(db: Executor, task_id: UUID, attempt: int, why: str, begun_after: float) -> bool:
    """End the attempt without a failure; the task is pending and due. Not where a cancellation was requested."""
    return _HAND_BACK.write(db, task_id, attempt, begun_after, error_values((None, why, None)))


def revoke(db: Executor, task_id: UUID, attempt: int, reason: str, begun_after: float) -> bool:
    """End the attempt and the task in `revoked`."""
    return _REVOKE.write(db, task_id, attempt, begun_after, error_values((None, reason, None)) | {"p_reason": reason})


def revoke_cancelled(db: Executor, task_id: UUID, attempt: int, error: Error, begun_after: float) -> bool:
    """End the attempt and the task in `revoked`, where a cancellation was requested."""
    return _REVOKE_CANCELLED.write(db, task_id, attempt, begun_after, error_values(error))


_HOLDING = select(TASKS.c.id, TASKS.c.attempt).where(TASKS.c.id.in_(IDS), _RUNNING).with_for_update(nowait=True)


@lru_cache(maxsize=128)
def _succeed_all(number: int) -> Update:
    """The UPDATE of so many tasks, built once: SQLAlchemy takes longer to build it than the server to run it."""
    task = [bindparam(f"p_task_id{n}", type_=TASKS.c.id.type) for n in range(number)]
    result = [bindparam(f"p_result{n}", type_=Text) for n in range(number)]
    begun_after = [bindparam(f"p_begun_after{n}", type_=Double) for n in range(number)]
    values = {
        "result": case(*zip(task, result, strict=True), value=TASKS.c.id),
        "progress": 100,
        "started_at": TASKS.c.started_at + seconds(case(*zip(task, begun_after, strict=True), value=TASKS.c.id)),
    }
    return change_statement(TaskStatus.SUCCEEDED, TASKS.c.id.in_(task), values=values)


def succeed_together(db: Executor, successes: Sequence[tuple[UUID, int, str | None, float]]) -> set[UUID]:
    """`succeed` for several tasks in one transaction: each is a task's id, its attempt, the JSON text of its result,
    and `begun_after`.

    Returns the ids of the tasks whose attempt still held them. One locked row must not delay the others: the call fails
    at once where another transaction holds one (`is_locked`).
    """
    wanted = {(task_id, attempt): (result, begun) for task_id, attempt, result, begun in successes}

    def write(db: Transaction) -> set[UUID]:
        rows = db.execute(_HOLDING, {"p_ids": sorted({task_id for task_id, _ in wanted})})
        held = [(row.id, row.attempt) for row in rows if (row.id, row.attempt) in wanted]
        if held:
            values: dict[str, Any] = {}
            for n, (task_id, attempt) in enumerate(held):
                result, begun_after = wanted[task_id, attempt]
                values |= {f"p_task_id{n}": task_id, f"p_result{n}": result, f"p_begun_after{n}": begun_after}
            db.execute(_succeed_all(len(held)), values)
        return {task_id for task_id, _ in held}

    return atomically(db, write)


def build_statements() -> None:
    """Nothing: SQLAlchemy compiles each statement at its first use."""
