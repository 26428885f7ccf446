"""An attempt as the processes of a worker know it, its reports of progress, and what its body may say.

The functions that take a session or a connection commit nothing, and are fenced by the attempt's number: the worker
calls them on an autocommit connection (`app/db/postgresql/prepared.py`, one round trip each), `task_service` calls them
in its own transaction.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from math import isfinite
from typing import Any, NamedTuple
from uuid import UUID

from pydantic_core import PydanticSerializationError, to_jsonable_python

from app.core.config import get_settings
from app.core.json_text import dump_json, json_size
from app.db.sql import attempts as statements
from app.db.statements.task_moves import Cancellation
from app.ddl.columns import ShortText
from app.errors import AttemptLost, ResultTooLarge


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
    """Return whether a cancellation was requested. Raises AttemptLost when the attempt no longer holds the task."""
    return _is_requested(statements.read_cancellation(db, task_id, attempt), task_id, attempt)


def _is_requested(cancellation: Cancellation, task_id: UUID, attempt: int) -> bool:
    if cancellation is None:
        raise AttemptLost(f"attempt {attempt} of task {task_id} no longer holds it")
    return cancellation[0] is not None


# -- What a body may say -----------------------------------------------------------------------------------------------
# This is a percentage, a name, and how large its result, detail of progress, chunk of output and arguments of a retry
# may be.

MOST_NAME_CHARACTERS = ShortText.characters
# What pydantic makes of a SecretStr and a SecretBytes.
SHOWN_SECRET = '"**********"'  # noqa: S105


def check_percent(progress: int) -> None:
    """Raise ValueError for a progress outside 0–100."""
    if not 0 <= progress <= 100:  # noqa: PLR2004 (percent)
        raise ValueError(f"progress must be between 0 and 100, not {progress}")


def check_name(name: Any, of_what: str) -> None:
    """Raise TypeError or ValueError for what is not a text of 1 to 200 characters that every engine stores."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a {of_what} is a text, not {type(name).__name__}")
    if not 0 < len(name) <= MOST_NAME_CHARACTERS or "\0" in name:
        raise ValueError(f"the name of a {of_what} has 1 to {MOST_NAME_CHARACTERS} characters, none of them NUL")
    name.encode()


def check_size(value: Any, what: str = "result", *, arguments: bool = False) -> None:
    """Raise ResultTooLarge, and what `dump_json` raises for what is not JSON. Nothing is ever cut."""
    check_bytes(0 if value is None else json_size(value), what, arguments=arguments)


def check_bytes(size: int, what: str, *, arguments: bool = False) -> None:
    """Check JSON of this size in bytes as `check_size` does."""
    settings = get_settings()
    name, limit = "MAX_RESULT_BYTES", settings.max_result_bytes
    if arguments:
        name, limit = "MAX_ARGUMENTS_BYTES", settings.max_arguments_bytes
    if size > limit:
        raise ResultTooLarge(f"the {what} takes {size} bytes of JSON, {name} allows {limit}: keep it elsewhere")


def to_json(value: Any, what: str = "result", *, arguments: bool = False) -> Any:
    """Return a body's return value as plain JSON (dates, UUIDs, dataclasses and pydantic models included).

    Raises TypeError or ValueError where it cannot be JSON, NaN and infinity included; ResultTooLarge. With `arguments`,
    which a body is to get again, also where a secret would be lost.
    """
    try:
        plain = to_jsonable_python(value)
        check_size(plain, what, arguments=arguments)
        if arguments and SHOWN_SECRET in dump_json(plain):
            raise ValueError("pydantic masks the value of a SecretStr or SecretBytes, take it with get_secret_value()")
    except ResultTooLarge:
        raise
    except PydanticSerializationError as error:
        raise TypeError(f"the {what} is not JSON: {error}") from None
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError  # a UnicodeError takes other arguments
        raise kind(f"the {what} is not JSON: {error}") from None
    return plain


# Of a value that is looked at rather than written out: so many members, and no character beyond ASCII, which might be
# a lone surrogate. In JSON no character of it takes more than six bytes, no number more than `_NUMBER`.
_FEW = 16
_NUMBER = 32
_LARGE = 2**63


def is_plainly_small(value: Any, limit: int) -> bool:  # noqa: C901, PLR0911 (a tight loop's: no calls of its own)
    """Return whether a flat dict is JSON of at most `limit` bytes, told without writing it. False may mean anything."""
    if type(value) is not dict or len(value) > _FEW:
        return False
    size = 2
    for name, inner in value.items():
        if type(name) is not str or not name.isascii():
            return False
        kind = type(inner)
        if kind is str:
            if not inner.isascii():
                return False
            size += 6 * len(inner)
        elif kind is int:
            if not -_LARGE < inner < _LARGE:
                return False
        elif kind is float:
            if not isfinite(inner):
                return False
        elif inner is not None and kind is not bool:
            return False
        size += 6 * len(name) + _NUMBER
    return size <= limit
