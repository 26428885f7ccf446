"""General tasks."""

import time
from typing import Annotated, Any, Literal

from pydantic import Field

from app.celery_app import celery_app
from app.core.config import get_settings
from app.outbound import Refused
from app.outbound.fields import PublicURL, RequestHeaders
from app.services.retention import forget
from app.tasks.files import folder_of
from app.tasks.http_requests import (
    REQUEST_OPTIONS,
    AnsweredLater,
    AnsweredNo,
    Download,
    FileName,
    NotRepeated,
    make_fetch,
    retry_after_delay,
)

# The longest sleep of a waiting body, so that it notices a cancellation within a second.
MAX_SLEEP_SECONDS = 0.5


@celery_app.task(bind=True, name="app.tasks.common_tasks.long_running_task")
def long_running_task(self: Any, duration: float, steps: int = 100, **kwargs: Any) -> dict[str, Any]:
    """Wait a given time in equal steps: a task to try the service with.

    Waits `duration` seconds in `steps` steps and reports progress. Returns the time that it took, in seconds. Any other
    keyword argument is returned in the result.
    """
    if duration < 0 or steps < 1:
        raise ValueError("duration must not be negative, and steps must be at least 1")
    started = time.monotonic()
    for step in self.track(range(steps)):
        _wait_until(self, started + duration * (step + 1) / steps)
    return {"duration": duration, "steps": steps, "elapsed": round(time.monotonic() - started, 3), "parameters": kwargs}


def _wait_until(task: Any, moment: float) -> None:
    while (left := moment - time.monotonic()) > 0:
        time.sleep(min(left, MAX_SLEEP_SECONDS))
        if left > MAX_SLEEP_SECONDS:
            task.update_progress(None)  # only to notice a cancellation


@celery_app.task(
    bind=True,
    name="app.tasks.common_tasks.fetch_url",
    **REQUEST_OPTIONS,
    dont_autoretry_for=(Refused, AnsweredNo, NotRepeated, ValueError),
    retry_backoff=5,
    retry_backoff_max=600,
    max_retries=3,
)
def fetch_url(
    self: Any,
    url: PublicURL,
    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = "GET",
    headers: RequestHeaders | None = None,
    body: Annotated[str, Field(max_length=1024 * 1024)] | None = None,
    json: dict[str, Any] | list[Any] | None = None,
    timeout: Annotated[float, Field(gt=0, le=600)] = 60,
    max_bytes: Annotated[int, Field(ge=0)] = 10 * 1024 * 1024,
    keep_bytes: Annotated[int, Field(ge=0, le=256 * 1024)] = 64 * 1024,
    raise_for_status: bool = True,
) -> dict[str, Any]:
    """Fetch a URL: status, headers, size, SHA-256 and the beginning of the content.

    Connects to public addresses, and to those that the service's OUTBOUND_ALLOW names. Loopback, private and link-local
    addresses are refused, also behind a name or redirect. Follows up to five redirects, never from https to http; a
    redirect to another host keeps only harmless headers. `timeout` is in seconds, for the whole request.

    The result has `status`, `url` (after redirects), `redirects`, some `headers`, `content_type`, `size` in bytes and
    `sha256` of the whole content. The first `keep_bytes` are in `text` or, if they are not text, in `base64`;
    `truncated` is true if there was more. A response larger than `max_bytes` (or the service's own limit) fails the
    task.

    A status of 400 and above fails the task. Connection failures, incomplete responses, 408, 425, 429 and 5xx are
    retried three times, after 5, 10 and 20 seconds or after `Retry-After`. With `raise_for_status` false, any status is
    a result. POST and PATCH are retried only if nothing was done: without a connection, and after 408, 425, 429, 503.
    """
    fetch = make_fetch(
        method,
        url,
        headers,
        body,
        json,
        timeout=timeout,
        max_bytes=min(max_bytes, get_settings().outbound_max_bytes),
        keep_bytes=keep_bytes,
        raise_for_status=raise_for_status,
    )
    try:
        return fetch.run(self.update_progress)
    except AnsweredLater as error:
        retry_after_delay(self, error)


@celery_app.task(
    bind=True,
    name="app.tasks.common_tasks.fetch_to_file",
    **REQUEST_OPTIONS,
    dont_autoretry_for=(Refused, AnsweredNo, ValueError),
    retry_backoff=5,
    retry_backoff_max=600,
    max_retries=3,
)
def fetch_to_file(
    self: Any, url: PublicURL, name: FileName | None = None, max_bytes: Annotated[int, Field(ge=0)] | None = None
) -> dict[str, Any]:
    """Fetch a URL and save its content as an artifact, for other tasks to read.

    The same addresses are allowed, and the same failures are retried, as for `fetch_url`. The content may have
    MAX_FILE_BYTES, or `max_bytes` if that is less. The artifact is called `name`, else as the last part of the URL. The
    result has `url` (after redirects), `name`, `size`, `sha256`, `content_type` and `artifact`, its id.
    """
    most = get_settings().max_file_bytes
    download = Download(url, name, most if max_bytes is None else min(max_bytes, most))
    try:
        with folder_of(self) as folder:
            return download.run(folder / "content", self.update_progress, self.save_artifact)
    except AnsweredLater as error:
        retry_after_delay(self, error)


# -- What maintenance deletes within the hour, deleted now: for whoever has called these by their names ----------------


@celery_app.task(bind=True, name="app.tasks.common_tasks.purge_finished_tasks", catalogue=False)
def purge_finished_tasks(self: Any) -> dict[str, int]:
    """Delete the tasks that ended more than RETENTION_DAYS ago, expired idempotency keys and counts of past days."""
    gone = forget(self.db, get_settings(), "tasks", "idempotency_keys", "daily_counts")
    return {"deleted": gone["tasks"], "idempotency_keys": gone["idempotency_keys"]}


@celery_app.task(bind=True, name="app.tasks.common_tasks.purge_expired_logins", catalogue=False)
def purge_expired_logins(self: Any) -> dict[str, int]:
    """Delete the logins, API keys and address blocks that are older than LOGIN_RETENTION_DAYS, and old counts."""
    tables = {
        "sessions": "login_sessions",
        "counts": "login_failures",
        "blocks": "login_blocks",
        "api_keys": "api_keys",
    }
    gone = forget(self.db, get_settings(), *tables.values())
    return {name: gone[table] for name, table in tables.items()}
