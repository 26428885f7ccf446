"""An attempt as the processes of a worker know it, and its reports of progress. Each is fenced by the attempt's number.

The functions take a session or a connection and commit nothing: the worker calls them on an autocommit connection
(`app/db/postgresql/prepared.py`, one round trip each), `task_service` calls them in its own transaction.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from app.db.sql import attempts as statements
from app.db.statements.ends import Cancellation
from app.errors import AttemptLost


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
    """The attempt whose body runs in this context.

    Once the body has ended it by itself, it is `settled`, and `failure` is what the body gave as the error.
    `before_end` is called before the body does so; from then on it `ends_itself`,
    perhaps in a transaction that goes on.
    """

    task_id: UUID
    attempt: int
    on_settle: Callable[[], None] = lambda: None
    before_end: Callable[[], object] = lambda: None
    settled: bool = False
    ends_itself: bool = False
    failure: str | None = None
    begun_after: float = 0.0

    def begin_end(self) -> None:
        """The body is about to end it."""
        self.ends_itself = True
        self.before_end()

    def settle(self, failure: str | None = None) -> None:
        self.settled, self.failure = True, failure
        self.on_settle()


current_attempt: ContextVar[CurrentAttempt | None] = ContextVar("current_attempt", default=None)


class WorkerIdentity(NamedTuple):
    """The claiming worker: the Celery node's name, the id of its incarnation, and the pool child's process id."""

    name: str
    id: UUID
    pid: int


class AttemptError(NamedTuple):
    """Why an attempt ended, as `attempts` will show it.

    `key` groups it with failures alike (`app/core/error_keys.py`); without one the message does.
    """

    type: str | None
    message: str | None
    traceback: str | None = None
    key: str | None = None


@dataclass(frozen=True)
class NextTry:
    """When the next attempt is due (seconds from now) and, where they change, its arguments."""

    delay: float
    args: list[Any] | None = None
    kwargs: dict[str, Any] | None = None


def report_progress(
    db: statements.Executor, task_id: UUID, attempt: int, progress: int | None, detail: Any | None
) -> bool:
    """Write progress (percent) and detail (None keeps the stored one); True when a cancellation was requested.

    Raises AttemptLost when the attempt no longer holds the task.
    """
    return _is_requested(statements.write_progress(db, task_id, attempt, progress, detail), task_id, attempt)


def is_cancelled(db: statements.Executor, task_id: UUID, attempt: int) -> bool:
    """Whether a cancellation was requested. Raises AttemptLost when the attempt no longer holds the task."""
    return _is_requested(statements.read_cancellation(db, task_id, attempt), task_id, attempt)


def _is_requested(cancellation: Cancellation, task_id: UUID, attempt: int) -> bool:
    if cancellation is None:
        raise AttemptLost(f"attempt {attempt} of task {task_id} no longer holds it")
    return cancellation[0] is not None
