"""What a status says to a task: fine, never, or not now."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NoReturn

from app.tasks.retries import backoff_seconds

# Request Timeout, Too Early, Too Many Requests: the client errors that pass.
RETRYABLE_CLIENT_ERRORS = frozenset({408, 425, 429})
# These say that nothing was done, whatever the method.
NOT_PROCESSED = RETRYABLE_CLIENT_ERRORS | {503}
CLIENT_ERROR, SERVER_ERROR = 400, 500
MAX_RETRY_AFTER_SECONDS = 3600.0


class AnsweredLater(Exception):
    """A status that may pass. `retry_after`: seconds that the server asked for, if it did."""

    # With a default, so that pickle, which knows the message alone, can make it again: Celery asks for that.
    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AnsweredNo(Exception):
    """A status that stays."""


def describe(origin: str, status: int) -> str:
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    return f"{origin} answered {status}{phrase}"


def retryable_error(origin: str, status: int, headers: Mapping[str, str]) -> AnsweredLater:
    return AnsweredLater(describe(origin, status), _retry_after(headers.get("retry-after")))


def is_retryable(status: int) -> bool:
    return status >= SERVER_ERROR or status in RETRYABLE_CLIENT_ERRORS


def retry_after_delay(task: Any, error: AnsweredLater) -> NoReturn:
    """Try again when the server says (within an hour), and never sooner than the task's own back-off."""
    if error.retry_after is None:
        raise error  # `autoretry_for` takes it up
    own = backoff_seconds(
        task.retry_backoff, task.request.retries, maximum=task.retry_backoff_max, jitter=task.retry_jitter
    )
    raise task.retry(exc=error, countdown=max(own, error.retry_after))


def _retry_after(value: str | None) -> float | None:
    """Seconds or a date, as RFC 9110 has them."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - datetime.now(UTC)).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)
