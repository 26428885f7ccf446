"""What a worker says of the attempt it runs: claim, progress, end. Every statement is fenced by the attempt's number.

The functions take a session or a connection and commit nothing: the worker calls them on an autocommit connection
(`app/db/direct.py`, one round trip each), `task_service` inside its own transaction. A function that ends an attempt
returns False where the attempt no longer held the task: nothing was written then.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Float, Result, Text, bindparam, func, select, update
from sqlalchemy.orm import Session

from app.db.base import JSONText
from app.db.direct import Answer, Direct, build
from app.errors import AttemptLost
from app.models.task import AttemptOutcome, Task, TaskStatus
from app.services.execution.transitions import (
    CANCELLED,
    CANCELLED_REASON,
    ERROR_MESSAGE,
    ERROR_TYPE,
    NO_ERROR,
    NOT_CANCELLED,
    NOW,
    STATEMENT_TIME,
    AttemptEnd,
    in_state,
    seconds,
    this_attempt,
    touched,
    transition,
)

Executor = Session | Connection | Direct
RUNNING = (TaskStatus.RUNNING,)

_CLAIMED = (
    Task.id,
    Task.attempt,
    Task.args,
    Task.kwargs,
    Task.failures,
    Task.max_attempts,
    Task.max_attempts_named,
    Task.retry_backoff_seconds,
)


@dataclass(frozen=True)
class Claim:
    """A claimed attempt: what to run, and the number that fences it."""

    id: UUID
    attempt: int
    args: list[Any]
    kwargs: dict[str, Any]
    failures: int
    max_attempts: int
    max_attempts_named: bool
    retry_backoff_seconds: float | None


@dataclass
class CurrentAttempt:
    """The attempt whose body runs in this context; `settled` once the body has ended it by itself."""

    task_id: UUID
    attempt: int
    on_settle: Callable[[], None] = lambda: None
    settled: bool = False

    def settle(self) -> None:
        self.settled = True
        self.on_settle()


current_attempt: ContextVar[CurrentAttempt | None] = ContextVar("current_attempt", default=None)


@dataclass(frozen=True)
class WorkerIdentity:
    """Who claims: the Celery node's name, its incarnation's id, and the pool child's process id."""

    name: str
    id: UUID
    pid: int


@dataclass(frozen=True)
class AttemptError:
    """Why an attempt ended, as `attempts` will show it."""

    type: str | None
    message: str | None
    traceback: str | None = None

    def parameters(self) -> dict[str, Any]:
        return {"p_error_type": self.type, "p_error_message": self.message, "p_traceback": self.traceback}


_CLAIM = transition(
    TaskStatus.RUNNING,
    Task.id == bindparam("p_task_id"),
    Task.generation == bindparam("p_generation"),
    Task.celery_task_name == bindparam("p_name"),
    func.coalesce(Task.run_at, NOW) <= NOW,
    func.coalesce(Task.expires_at, "infinity") > NOW,
    sources=[TaskStatus.PENDING],
    values={
        "claim_id": bindparam("p_claim_id"),
        "worker": bindparam("p_worker"),
        "worker_id": bindparam("p_worker_id"),
        "worker_pid": bindparam("p_worker_pid"),
    },
    returning=_CLAIMED,
)
_FIND_CLAIM = select(*_CLAIMED).where(Task.claim_id == bindparam("p_claim_id"), Task.id == bindparam("p_task_id"))


@dataclass(frozen=True)
class Ticket:
    """What a message says: look at this row. The rest comes with the claim."""

    task_id: UUID
    generation: int
    celery_task_name: str


def claim(db: Executor, ticket: Ticket, claim_id: UUID, worker: WorkerIdentity) -> Claim | None:
    """Take the task, or None: it is not pending, not due, expired, or of another generation. One UPDATE."""
    parameters = {
        "p_task_id": ticket.task_id,
        "p_generation": ticket.generation,
        "p_name": ticket.celery_task_name,
        "p_claim_id": claim_id,
        "p_worker": worker.name,
        "p_worker_id": worker.id,
        "p_worker_pid": worker.pid,
    }
    row = db.execute(_CLAIM, parameters).one_or_none()
    return None if row is None else Claim(*row)


def find_claim(db: Executor, task_id: UUID, claim_id: UUID) -> Claim | None:
    """The claim made earlier under this id, when the reply to its COMMIT was lost on the way."""
    row = db.execute(_FIND_CLAIM, {"p_task_id": task_id, "p_claim_id": claim_id}).one_or_none()
    return None if row is None else Claim(*row)


_PROGRESS = (
    update(Task)
    .where(*this_attempt(), in_state(TaskStatus.RUNNING))
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


def report_progress(db: Executor, task_id: UUID, attempt: int, progress: int | None, detail: Any | None) -> bool:
    """Write progress (percent) and detail (None keeps what stands); True when a cancellation was asked for.

    Raises AttemptLost when the attempt no longer holds the task.
    """
    parameters = {"p_task_id": task_id, "p_attempt": attempt, "p_progress": progress, "p_detail": detail}
    return _asked_to_stop(db.execute(_PROGRESS, parameters), task_id, attempt)


_CHECK = select(Task.cancel_requested_at).where(*this_attempt(), in_state(TaskStatus.RUNNING))


def is_cancelled(db: Executor, task_id: UUID, attempt: int) -> bool:
    """Whether a cancellation was asked for. Raises AttemptLost when the attempt no longer holds the task."""
    return _asked_to_stop(db.execute(_CHECK, {"p_task_id": task_id, "p_attempt": attempt}), task_id, attempt)


def _asked_to_stop(answer: Result[Any] | Answer, task_id: UUID, attempt: int) -> bool:
    row = answer.one_or_none()
    if row is None:
        raise AttemptLost(f"attempt {attempt} of task {task_id} no longer holds it")
    return row[0] is not None


_SUCCEED = transition(
    TaskStatus.SUCCEEDED,
    *this_attempt(),
    sources=RUNNING,
    values={"result": bindparam("p_result", type_=JSONText), "progress": 100},
    returning=(Task.id,),
)


def succeed(db: Executor, task_id: UUID, attempt: int, result: Any) -> bool:
    """End the attempt in success: it wins over a cancellation that was asked for meanwhile."""
    parameters = {"p_task_id": task_id, "p_attempt": attempt, "p_result": result}
    return db.execute(_SUCCEED, parameters).one_or_none() is not None


def build_statements() -> None:
    """Those that every child will need, for it to inherit them."""
    build(_CLAIM, _SUCCEED)


_FAIL = transition(
    TaskStatus.FAILED,
    *this_attempt(),
    NOT_CANCELLED,
    sources=RUNNING,
    values={
        "error_type": ERROR_TYPE,
        "error_message": ERROR_MESSAGE,
        "failures": func.least(Task.failures + 1, Task.max_attempts),
    },
    ended=AttemptEnd(AttemptOutcome.FAILED),
)
_RETRY_LATER = transition(
    TaskStatus.PENDING,
    *this_attempt(),
    NOT_CANCELLED,
    sources=RUNNING,
    values={
        "error_type": ERROR_TYPE,
        "error_message": ERROR_MESSAGE,
        "failures": Task.failures + 1,
        # `self.retry()` may go on past the default of one attempt: the row then says so.
        "max_attempts": func.greatest(Task.max_attempts, Task.failures + 2),
        "run_at": STATEMENT_TIME + seconds(bindparam("p_delay", type_=Float)),
        "dispatch_at": STATEMENT_TIME + seconds(bindparam("p_delay", type_=Float)),
        # `self.retry(args=…)` changes what the next attempt runs with.
        "args": func.coalesce(bindparam("p_args", type_=JSONText), Task.args),
        "kwargs": func.coalesce(bindparam("p_kwargs", type_=JSONText), Task.kwargs),
    },
    ended=AttemptEnd(AttemptOutcome.RETRIED),
)
_REVOKE = transition(
    TaskStatus.REVOKED,
    *this_attempt(),
    sources=RUNNING,
    values={"status_reason": bindparam("p_reason", type_=Text), **NO_ERROR},
    ended=AttemptEnd(AttemptOutcome.REVOKED),
)
_REVOKE_CANCELLED = transition(
    TaskStatus.REVOKED,
    *this_attempt(),
    CANCELLED,
    sources=RUNNING,
    values=CANCELLED_REASON,
    ended=AttemptEnd(AttemptOutcome.REVOKED),
)


def fail(db: Executor, task_id: UUID, attempt: int, error: AttemptError) -> bool:
    """End the attempt in failure; in `revoked` where a cancellation was asked for."""
    parameters = {"p_task_id": task_id, "p_attempt": attempt, **error.parameters()}
    # The request to cancel is never taken back, so what the first statement misses the second one sees.
    return _matches(db, _FAIL, parameters) or _matches(db, _REVOKE_CANCELLED, parameters)


@dataclass(frozen=True)
class NextTry:
    """When the next attempt is due (seconds from now) and, where they change, its arguments."""

    delay: float
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None


def retry_later(db: Executor, task_id: UUID, attempt: int, error: AttemptError, following: NextTry) -> bool:
    """Give the task back as pending until it is due again; `revoked` where a cancellation was asked for."""
    parameters = {"p_task_id": task_id, "p_attempt": attempt, **error.parameters()}
    later = {"p_delay": following.delay, "p_args": following.args, "p_kwargs": following.kwargs}
    return _matches(db, _RETRY_LATER, parameters | later) or _matches(db, _REVOKE_CANCELLED, parameters)


def revoke(db: Executor, task_id: UUID, attempt: int, reason: str) -> bool:
    """End the attempt in `revoked`: it saw its cancellation, or the body asked for it."""
    parameters = {"p_task_id": task_id, "p_attempt": attempt, "p_reason": reason}
    return _matches(db, _REVOKE, parameters | AttemptError(None, reason).parameters())


_HAND_BACK = transition(
    TaskStatus.PENDING,
    *this_attempt(),
    NOT_CANCELLED,
    sources=RUNNING,
    ended=AttemptEnd(AttemptOutcome.HANDED_BACK),
)


def hand_back(db: Executor, task_id: UUID, attempt: int, why: str) -> bool:
    """Give the task back as pending, due now; `revoked` where a cancellation was asked for.

    Neither a failure nor a crash; `why` is for the attempt's history.
    """
    parameters = {"p_task_id": task_id, "p_attempt": attempt, **AttemptError(None, why).parameters()}
    return _matches(db, _HAND_BACK, parameters) or _matches(db, _REVOKE_CANCELLED, parameters)


def _matches(db: Executor, statement: Any, parameters: dict[str, Any]) -> bool:
    return db.execute(statement, parameters).one_or_none() is not None
