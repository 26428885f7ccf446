"""Classifies HTTP statuses: success, permanent failure, retryable failure."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NoReturn

from app.core.backoff import backoff_seconds
from app.outbound.answer import read_retry_after

# Request Timeout, Too Early, Too Many Requests: client errors that may be temporary.
RETRYABLE_CLIENT_ERRORS = frozenset({408, 425, 429})
# With these statuses the server did nothing, whatever the method.
NOT_PROCESSED = RETRYABLE_CLIENT_ERRORS | {503}
CLIENT_ERROR, SERVER_ERROR = 400, 500
MAX_RETRY_AFTER_SECONDS = 3600.0


class AnsweredLater(Exception):
    """A status that may be temporary. `retry_after`: the seconds that the server asks to wait, None if it does not."""

    # With a default, because Celery pickles exceptions, and pickle passes only the message.
    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class AnsweredNo(Exception):
    """A permanent status."""


def describe(origin: str, status: int) -> str:
    """Return a text with the origin and the status, for an error message."""
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    return f"{origin} answered {status}{phrase}"


def retryable_error(origin: str, status: int, headers: Mapping[str, str]) -> AnsweredLater:
    """Return the error of a retryable status, with its Retry-After."""
    return AnsweredLater(
        describe(origin, status), read_retry_after(headers.get("retry-after"), MAX_RETRY_AFTER_SECONDS)
    )


def is_retryable(status: int) -> bool:
    """Return whether the status may be temporary."""
    return status >= SERVER_ERROR or status in RETRYABLE_CLIENT_ERRORS


def retry_after_delay(task: Any, error: AnsweredLater) -> NoReturn:
    """Retry after the server's Retry-After (at most an hour), but never before the task's own back-off."""
    if error.retry_after is None:
        raise error  # handled by `autoretry_for`
    backoff = backoff_seconds(
        task.retry_backoff, task.request.retries, maximum=task.retry_backoff_max, jitter=task.retry_jitter
    )
    raise task.retry(exc=error, countdown=max(backoff, error.retry_after))
