"""Tasks for everybody, and the periodic housekeeping that beat starts."""

import time
from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import Field

from app.celery_app import celery_app
from app.core.config import get_settings
from app.outbound import Failed, Refused
from app.outbound.fields import PublicURL, RequestHeaders
from app.services.task_service import task_service
from app.services.tasks import idempotency
from app.tasks.fetching import NotRepeated, fetch_of
from app.tasks.http_status import AnsweredLater, AnsweredNo, retry_as_asked

# How often a waiting body looks up, so that a cancellation is seen within a second whatever the step.
LONGEST_NAP_SECONDS = 0.5


@celery_app.task(bind=True, name="app.tasks.common_tasks.long_running_task")
def long_running_task(self: Any, duration: float, steps: int = 100, **kwargs: Any) -> dict[str, Any]:
    """Take a given time, in equal steps: the task to try the service with.

    Waits `duration` seconds in `steps` steps, reporting progress, and answers how long it really took. Any other
    keyword argument is handed back in the result.
    """
    if duration < 0 or steps < 1:
        raise ValueError("duration must not be negative, and there is at least one step")
    started = time.monotonic()
    for step in self.track(range(steps)):
        _wait_until(self, started + duration * (step + 1) / steps)
    return {"duration": duration, "steps": steps, "elapsed": round(time.monotonic() - started, 3), "parameters": kwargs}


def _wait_until(task: Any, moment: float) -> None:
    while (left := moment - time.monotonic()) > 0:
        time.sleep(min(left, LONGEST_NAP_SECONDS))
        if left > LONGEST_NAP_SECONDS:
            task.update_progress(None)  # only to hear of a cancellation


@celery_app.task(
    bind=True,
    name="app.tasks.common_tasks.fetch_url",
    autoretry_for=(Failed, AnsweredLater),
    dont_autoretry_for=(Refused, AnsweredNo, NotRepeated, ValueError),
    retry_backoff=5,
    retry_backoff_max=600,
    retry_jitter=False,
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
    """Fetch a URL of the internet: status, headers, size, SHA-256 and the beginning of the content.

    Goes to public addresses alone, and to those that the service's OUTBOUND_ALLOW names; loopback, private and
    link-local ones are refused whatever name or redirect leads there. Up to five redirects are followed, never from
    https to http; to another host no header goes along but harmless ones. `timeout` is for the whole of it.

    The result has `status`, `url` (after redirects), `redirects`, some `headers`, `content_type`, `size` and `sha256`
    of the whole content, and its first `keep_bytes` as `text` or, where it is no text, as `base64`; `truncated` says
    that there was more. An answer of more than `max_bytes` (or the service's own limit) fails the task.

    A status of 400 and above fails the task; no connection, no whole answer, 408, 425, 429 and 5xx are tried three
    times more, after 5, 10 and 20 seconds or when `Retry-After` says. With `raise_for_status` false any status is a
    result.
    POST and PATCH are tried again only where nothing was done: no connection, 408, 425, 429, 503.
    """
    fetch = fetch_of(
        method,
        url,
        headers,
        body,
        json,
        timeout=timeout,
        max_bytes=max_bytes,
        keep_bytes=keep_bytes,
        raise_for_status=raise_for_status,
    )
    try:
        return fetch.run(self.update_progress)
    except AnsweredLater as error:
        retry_as_asked(self, error)


@celery_app.task(bind=True, name="app.tasks.common_tasks.purge_finished_tasks", catalogue=False)
def purge_finished_tasks(self: Any) -> dict[str, int]:
    """Delete the tasks that ended longer ago than RETENTION_DAYS, and expired idempotency keys.

    Started by beat; safe to run twice.
    """
    deleted = task_service.purge_finished(self.db, get_settings().retention_days)
    return {"deleted": deleted, "idempotency_keys": idempotency.prune(self.db)}


@celery_app.task(bind=True, name="app.tasks.common_tasks.purge_expired_logins", catalogue=False)
def purge_expired_logins(self: Any) -> dict[str, int]:
    """Delete logins and API keys that ended a while ago. Started by beat; safe to run twice."""
    total: Counter[str] = Counter()
    # What signs tokens and checks passwords is 10 MB that no other task needs.
    from app.services.accounts.auth_service import auth_service

    while any((removed := asdict(auth_service.purge_expired_logins(self.db))).values()):
        total.update(removed)
    return dict(total)
