"""The statements that each task costs: claim, progress, end. Built once, so that each is compiled and prepared once.

The functions take a session or a connection and commit nothing. Each sends one statement, fenced by the number of the
attempt; one that ends an attempt returns False where the attempt no longer held the task. `begun_after` is how many
seconds after the claim the body began.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Select,
    Text,
    Update,
    Uuid,
    bindparam,
    cast,
    column,
    func,
    select,
    update,
)
from sqlalchemy.orm import Session

from app.db.clock import STATEMENT_TIME, seconds
from app.db.columns import JSONText
from app.db.postgresql.prepared import SET_LOCAL, PreparedConnection, build
from app.db.postgresql.transitions import in_state, transition
from app.db.statements.attempt_values import ERROR_MESSAGE, ERROR_TYPE, TRACEBACK, Cancellation, Error, error_values
from app.db.statements.task_moves import (
    CANCELLED,
    CANCELLED_REASON,
    NO_ERROR,
    NOT_CANCELLED,
    AttemptEnd,
    failure,
    touched,
)
from app.models.task import AttemptOutcome, Task, TaskStatus

Executor = Session | Connection | PreparedConnection
Statement = Update | Select[Any]

_RUNNING = (TaskStatus.RUNNING,)
CLAIMED = (
    Task.id,
    Task.attempt,
    Task.args,
    Task.kwargs,
    Task.failures,
    Task.max_attempts,
    Task.max_attempts_named,
    Task.retry_backoff_seconds,
)
# In a batch, a body begins up to 100 ms after the claim.
_BEGUN = {"started_at": Task.started_at + seconds(bindparam("p_begun_after", type_=Float))}


def _this_attempt() -> tuple[ColumnElement[bool], ...]:
    """The condition on the fencing token: this task, and this attempt of it."""
    return Task.id == bindparam("p_task_id"), Task.attempt == bindparam("p_attempt")


def _ended(outcome: AttemptOutcome) -> AttemptEnd:
    return AttemptEnd(outcome, ERROR_TYPE, ERROR_MESSAGE, TRACEBACK)


PROGRESS = (
    update(Task)
    .where(*_this_attempt(), in_state(TaskStatus.RUNNING))
    .values(
        {
            "progress": func.coalesce(bindparam("p_progress"), Task.progress),
            "progress_detail": func.coalesce(bindparam("p_detail", type_=JSONText), Task.progress_detail),
            **touched(),
        }
    )
    .returning(Task.cancel_requested_at)
    .execution_options(synchronize_session=False)
)
_CHECK = select(Task.cancel_requested_at).where(*_this_attempt(), in_state(TaskStatus.RUNNING))


def write_progress(
    db: Executor, task_id: UUID, attempt: int, progress: int | None, detail: Any | None
) -> Cancellation:  # fmt: skip
    """Write percent and detail; None keeps the stored value."""
    values = {"p_task_id": task_id, "p_attempt": attempt, "p_progress": progress, "p_detail": detail}
    return db.execute(PROGRESS, values).one_or_none()


def read_cancellation(db: Executor, task_id: UUID, attempt: int) -> Cancellation:
    """Write nothing, and read whether a cancellation was requested."""
    return db.execute(_CHECK, {"p_task_id": task_id, "p_attempt": attempt}).one_or_none()


SUCCEED = transition(
    TaskStatus.SUCCEEDED,
    *_this_attempt(),
    sources=_RUNNING,
    values={"result": bindparam("p_result", type_=JSONText), "progress": 100, **_BEGUN},
    returning=(Task.id,),
)


def succeed(db: Executor, task_id: UUID, attempt: int, result: Any, begun_after: float) -> bool:
    """End the attempt in success. It wins over a requested cancellation."""
    return _matches(db, SUCCEED, task_id, attempt, begun_after, {"p_result": result})


def build_statements() -> None:
    """Compile the statements that every pool child needs, before the fork, so that the children inherit them."""
    build(SUCCEED)


FAIL = transition(
    TaskStatus.FAILED,
    *_this_attempt(),
    NOT_CANCELLED,
    sources=_RUNNING,
    values={
        **failure(ERROR_TYPE, ERROR_MESSAGE, bindparam("p_error_key", type_=Text)),
        "failures": func.least(Task.failures + 1, Task.max_attempts),
        **_BEGUN,
    },
    ended=_ended(AttemptOutcome.FAILED),
)
RETRY_LATER = transition(
    TaskStatus.PENDING,
    *_this_attempt(),
    NOT_CANCELLED,
    sources=_RUNNING,
    values={
        "error_type": ERROR_TYPE,
        "error_message": ERROR_MESSAGE,
        "failures": Task.failures + 1,
        # `self.retry()` may go on past the default of one attempt: the row then says so.
        "max_attempts": func.greatest(Task.max_attempts, Task.failures + 2),
        "run_at": STATEMENT_TIME + seconds(bindparam("p_delay", type_=Float)),
        "due_at": STATEMENT_TIME + seconds(bindparam("p_delay", type_=Float)),
        # `self.retry(args=…)` changes the arguments of the next attempt.
        "args": func.coalesce(bindparam("p_args", type_=JSONText), Task.args),
        "kwargs": func.coalesce(bindparam("p_kwargs", type_=JSONText), Task.kwargs),
        **_BEGUN,
    },
    ended=_ended(AttemptOutcome.RETRIED),
)
_HAND_BACK = transition(
    TaskStatus.PENDING,
    *_this_attempt(),
    NOT_CANCELLED,
    sources=_RUNNING,
    values=_BEGUN,
    ended=_ended(AttemptOutcome.HANDED_BACK),
)
REVOKE = transition(
    TaskStatus.REVOKED,
    *_this_attempt(),
    sources=_RUNNING,
    values={"status_reason": bindparam("p_reason", type_=Text), **NO_ERROR, **_BEGUN},
    ended=_ended(AttemptOutcome.REVOKED),
)
REVOKE_CANCELLED = transition(
    TaskStatus.REVOKED,
    *_this_attempt(),
    CANCELLED,
    sources=_RUNNING,
    values={**CANCELLED_REASON, **_BEGUN},
    ended=_ended(AttemptOutcome.REVOKED),
)


def fail(db: Executor, task_id: UUID, attempt: int, error: Error, key: str, begun_after: float) -> bool:
    """End the attempt in failure, unless a cancellation was requested. `key` groups it with others."""
    return _matches(db, FAIL, task_id, attempt, begun_after, error_values(error) | {"p_error_key": key})


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
    return _matches(db, RETRY_LATER, task_id, attempt, begun_after, error_values(error) | later)


def hand_back(db: Executor, task_id: UUID, attempt: int, why: str, begun_after: float) -> bool:
    """End the attempt without a failure; the task is pending and due. Not where a cancellation was requested."""
    return _matches(db, _HAND_BACK, task_id, attempt, begun_after, error_values((None, why, None)))


def revoke(db: Executor, task_id: UUID, attempt: int, reason: str, begun_after: float) -> bool:
    """End the attempt and the task in `revoked`."""
    values = error_values((None, reason, None)) | {"p_reason": reason}
    return _matches(db, REVOKE, task_id, attempt, begun_after, values)


def revoke_cancelled(db: Executor, task_id: UUID, attempt: int, error: Error, begun_after: float) -> bool:
    """End the attempt and the task in `revoked`, where a cancellation was requested."""
    return _matches(db, REVOKE_CANCELLED, task_id, attempt, begun_after, error_values(error))


def _matches(
    db: Executor, statement: Statement, task_id: UUID, attempt: int, begun_after: float, values: dict[str, Any]
) -> bool:
    this = {"p_task_id": task_id, "p_attempt": attempt, "p_begun_after": begun_after}
    return db.execute(statement, this | values).one_or_none() is not None


_ENDED = (
    func.json_to_recordset(cast(bindparam("p_successes", type_=Text), JSON))
    .table_valued(
        column("task_id", Uuid), column("attempt", Integer), column("result", Text), column("begun_after", Float)
    )
    .render_derived(name="ended", with_types=True)
)
# The plan finds each row by its key, however small the table was when PostgreSQL made the plan. And one locked row must
# not delay the others: the statement fails in less time than PostgreSQL takes to look for a deadlock.
_BY_KEY = {
    **dict.fromkeys(("enable_seqscan", "enable_hashjoin", "enable_mergejoin"), "off"),
    "lock_timeout": "200ms",
}
SUCCEED_TOGETHER = transition(
    TaskStatus.SUCCEEDED,
    Task.id == _ENDED.c.task_id,
    Task.attempt == _ENDED.c.attempt,
    sources=_RUNNING,
    values={"result": _ENDED.c.result, "progress": 100, "started_at": Task.started_at + seconds(_ENDED.c.begun_after)},
    returning=(Task.id,),
).execution_options(**{SET_LOCAL: _BY_KEY})


def succeed_together(db: Executor, successes: Sequence[tuple[UUID, int, str | None, float]]) -> set[UUID]:
    """`succeed` for several tasks in one statement: each is a task's id, its attempt, the JSON text of its result, and
    `begun_after`.

    Returns the ids of the tasks whose attempt still held them. Only a PreparedConnection sends the settings of the
    statement; a session waits for locked rows instead.
    """
    rows = [
        {"task_id": str(task_id), "attempt": attempt, "result": result, "begun_after": begun_after}
        for task_id, attempt, result, begun_after in successes
    ]
    return {task_id for (task_id,) in db.execute(SUCCEED_TOGETHER, {"p_successes": json.dumps(rows)}).all()}
