"""One attempt in a pool child: claim the row, run the body, write how it ended.

Nothing here knows Celery's tracer; `app/tasks/base.py` connects the two.
"""

import logging
import traceback
from collections.abc import Callable
from contextvars import Token
from typing import Any, Self
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from pydantic_core import PydanticSerializationError, to_jsonable_python
from sqlalchemy import Connection
from sqlalchemy.exc import StatementError

from app.core.config import get_settings
from app.db.base import dump_json
from app.models.ids import new_id
from app.services import attempts
from app.services.attempts import AttemptError, Claim, CurrentAttempt, NextTry, Ticket, WorkerIdentity, current_attempt
from app.worker.delivery import Undeliverable, deliver
from app.worker.progress import ProgressReporter

logger = logging.getLogger(__name__)

MESSAGE_LIMIT = 2_000
TRACEBACK_LIMIT = 20_000

# How much longer than the lease a finished attempt goes on trying to say so. After an outage of the database nobody
# is rescued until one lease has passed, so the result is welcome well after the lease itself.
DELIVERY_LEASES = 10


class AttemptRun:
    """A claimed attempt. `finish_*` and `progress` are fenced: once the attempt is lost they write nothing."""

    def __init__(self, claim: Claim) -> None:
        settings = get_settings()
        self.claim = claim
        self.current = CurrentAttempt(claim.id, claim.attempt)
        self.started = False
        self._seconds = settings.worker_lease_seconds * DELIVERY_LEASES
        self._progress = ProgressReporter(self._write_progress, settings.progress_interval_seconds)
        self._token: Token[CurrentAttempt | None] | None = None

    @classmethod
    def claim_for(cls, ticket: Ticket, worker: WorkerIdentity) -> "AttemptRun | None":
        """Claim the ticket's task; None when there is nothing to claim. Raises Undeliverable without a database."""
        claim_id, tried = new_id(), False

        def take(db: Connection) -> Claim | None:
            nonlocal tried
            again, tried = tried, True
            claimed = attempts.claim(db, ticket, claim_id, worker)
            if claimed is None and again:
                # The first time round it may have been committed, and only the reply lost.
                return attempts.find_claim(db, ticket.task_id, claim_id)
            return claimed

        claim = deliver(take, get_settings().worker_lease_seconds)
        return None if claim is None else cls(claim)

    def __enter__(self) -> Self:
        self.started = True
        self._token = current_attempt.set(self.current)
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._token is not None
        current_attempt.reset(self._token)

    @property
    def task_id(self) -> UUID:
        return self.claim.id

    def report(self, percent: int | None, detail: Any | None = None) -> None:
        """Report progress. Raises TaskCancelled or AttemptLost when the body should stop."""
        self._progress.report(percent, detail)

    def _write_progress(self, percent: int | None, detail: Any | None) -> bool:
        task_id, attempt = self.claim.id, self.claim.attempt

        def write(db: Connection) -> bool:
            if percent is None and detail is None:
                return attempts.is_cancelled(db, task_id, attempt)
            return attempts.report_progress(db, task_id, attempt, percent, detail)

        try:
            return deliver(write, seconds=0)
        except Undeliverable:
            logger.warning("progress of task %s not written: the database is away", task_id)
            return False
        except StatementError as error:
            if isinstance(error.orig, TypeError | ValueError):  # the detail is not JSON
                raise error.orig from None
            raise

    def succeed(self, result: Any) -> None:
        self._end(lambda db: attempts.succeed(db, *self._fence, result))

    def fail(self, error: BaseException) -> None:
        self._end(lambda db: attempts.fail(db, *self._fence, describe(error)))

    def retry_later(self, error: BaseException | None, following: NextTry) -> None:
        why = AttemptError(None, None) if error is None else describe(error)
        self._end(lambda db: attempts.retry_later(db, *self._fence, why, following))

    def revoke(self, reason: str) -> None:
        logger.info("task %s: attempt %d %s", self.task_id, self.claim.attempt, reason)
        self._end(lambda db: attempts.revoke(db, *self._fence, reason))

    @property
    def _fence(self) -> tuple[UUID, int]:
        return self.claim.id, self.claim.attempt

    def _end(self, write: Callable[[Connection], bool]) -> None:
        """Write the end, unless the body has written one itself. The reporter's last value lands first."""
        self._progress.close()
        if self.current.settled:
            return
        try:
            held = deliver(write, self._seconds)
        except SoftTimeLimitExceeded:
            held = deliver(write, self._seconds)  # the signal came after the body: it has nothing to stop any more
        except Undeliverable:
            # The row says running, and a beating parent would keep it so for good. Without this process the parent
            # reports the attempt lost as soon as the database is back.
            logger.exception("the end of task %s could not be written", self.task_id)
            raise SystemExit(1) from None
        if not held:
            logger.warning("attempt %d of task %s no longer held it: nothing written", self.claim.attempt, self.task_id)


def describe(error: BaseException) -> AttemptError:
    """The error as `attempts` shows it: cut to a size that a row can carry."""
    text = "".join(traceback.format_exception(error))
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return AttemptError(name, clean(_message(error))[:MESSAGE_LIMIT], clean(text)[-TRACEBACK_LIMIT:])


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 (somebody's `__str__` may raise anything)
        return "(its message cannot be shown)"


def clean(text: str) -> str:
    """What PostgreSQL can store as text: no NUL, no lone surrogate."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def to_json(value: Any, what: str = "result") -> Any:
    """A body's return value as plain JSON (dates, UUIDs, dataclasses and pydantic models included).

    Raises TypeError or ValueError where it cannot be JSON, NaN and infinity included.
    """
    try:
        plain = to_jsonable_python(value)
        dump_json(plain)
    except PydanticSerializationError as error:
        raise TypeError(f"the {what} is not JSON: {error}") from None
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError  # a UnicodeError takes other arguments
        raise kind(f"the {what} is not JSON: {error}") from None
    return plain
