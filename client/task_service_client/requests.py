"""What goes into requests, and where a client finds its server."""

import os
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx

from task_service_client import profiles

TASKS, FILES = "/api/v1/tasks/", "/api/v1/files/"
# Of a list, of a batch, and the seconds that a request may wait for the end of a task.
PAGE, BATCH, WAIT_SECONDS = 100, 1000, 60
ENDED = frozenset({"succeeded", "failed", "revoked"})


def url_of(base_url: str | None) -> str:
    """Return the server's URL: this one, that of TASK_SERVICE_URL, or of the profile. Raises ValueError."""
    found = base_url or os.environ.get("TASK_SERVICE_URL")
    if not found:
        profile = profiles.load()
        if profile is None:
            raise ValueError("no server is named: pass base_url, set TASK_SERVICE_URL, or run `task-service login URL`")
        found = profile.url
    return normalised(found)


def normalised(found: str) -> str:
    """Return the URL of a server in the form in which two are compared. Raises ValueError."""
    try:
        url = urlsplit(found)
        is_one = url.scheme in ("http", "https") and bool((url.hostname or "").encode("idna")) and url.port != 0
        is_one = is_one and bool(httpx.URL(found).host)  # which decodes its name
    except (ValueError, httpx.InvalidURL):  # of its port, or its host's name
        is_one = False
    if not is_one or not found.isprintable() or " " in found:
        raise ValueError(f"{found!r} is no URL of a server: it begins with http:// or https://")
    if url.username is not None or url.password is not None or url.query or url.fragment:
        raise ValueError("the URL of a server has no user, no password, no ? and no #")
    return url._replace(netloc=url.netloc.lower()).geturl().rstrip("/")


def as_body(
    celery_task_name: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None, name: str | None,
    task_type: str | None, fields: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Return the body of `POST /tasks/`, with names where none are given."""
    short = celery_task_name.rpartition(".")[2]
    return {
        "name": name or short,
        "task_type": task_type or short,
        "celery_task_name": celery_task_name,
        "args": [*args],
        "kwargs": dict(kwargs or {}),
        **fields,
    }


def next_page(path: str, answer: httpx.Response) -> str:
    """Return the page behind this one (RFC 8288), below the same path of the same server; "" for none."""
    try:
        query = urlsplit(answer.links.get("next", {}).get("url", "")).query
    except ValueError:
        return ""
    return f"{path.partition('?')[0]}?{query}" if query and query.isprintable() else ""


class Deadline:
    """A number of seconds from now; None for ever."""

    def __init__(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, at least 0."""
        return float("inf") if self._at is None else max(0.0, self._at - time.monotonic())
