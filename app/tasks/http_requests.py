"""The HTTP requests that tasks send: those of `fetch_url`, `fetch_to_file` and `send_webhook`.

First comes which status is a success, a permanent failure or a retryable one. It is the same for all of them.
"""

import base64
import codecs
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NoReturn
from urllib.parse import unquote, urlsplit
from uuid import UUID

from pydantic import AfterValidator, Field

from app.core.backoff import backoff_seconds
from app.core.ids import new_id, time_of
from app.core.json_text import dump_json
from app.core.signatures import signed_headers
from app.outbound import Answer, Bounds, Client, Failed
from app.outbound.answer import read_retry_after
from app.outbound.errors import Interrupted
from app.outbound.targets import parse_url
from app.services.execution.daily_limits import OUTBOUND_REQUESTS
from app.services.files.contents import Measure, media_type, name_fault

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


# Of each task that sends a request, among the options of its decorator.
REQUEST_OPTIONS: dict[str, Any] = {
    "autoretry_for": (Failed, AnsweredLater),
    "users_setting": "outbound_users",
    "daily_limit": OUTBOUND_REQUESTS,
    "retry_jitter": False,
}


def describe_status(origin: str, status: int) -> str:
    """Return a text with the origin and the status, for an error message."""
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    return f"{origin} answered {status}{phrase}"


def retryable_error(origin: str, status: int, headers: Mapping[str, str]) -> AnsweredLater:
    """Return the error of a retryable status, with its Retry-After."""
    return AnsweredLater(
        describe_status(origin, status), read_retry_after(headers.get("retry-after"), MAX_RETRY_AFTER_SECONDS)
    )


def is_retryable(status: int) -> bool:
    """Return whether the status may be temporary."""
    return status >= SERVER_ERROR or status in RETRYABLE_CLIENT_ERRORS


def check_status(answer: Answer, *, is_repeatable: bool = True) -> None:
    """Raise AnsweredLater for a retryable status where the request may be repeated, AnsweredNo for any other error."""
    origin = parse_url(answer.url).origin
    if is_repeatable and is_retryable(answer.status):
        raise retryable_error(origin, answer.status, answer.headers)
    if answer.status >= CLIENT_ERROR:
        raise AnsweredNo(describe_status(origin, answer.status))


def retry_after_delay(task: Any, error: AnsweredLater) -> NoReturn:
    """Retry after the server's Retry-After (at most an hour), but never before the task's own back-off."""
    if error.retry_after is None:
        raise error  # handled by `autoretry_for`
    backoff = backoff_seconds(
        task.retry_backoff, task.request.retries, maximum=task.retry_backoff_max, jitter=task.retry_jitter
    )
    raise task.retry(exc=error, countdown=max(backoff, error.retry_after))


# -- The implementation of `fetch_url`: its request, the result, and which errors are retried --------------------------

# Headers about the content, its location and its freshness. Never Set-Cookie.
RESULT_HEADERS = frozenset({
    "age", "cache-control", "content-disposition", "content-encoding", "content-language", "content-length",
    "content-range", "content-type", "date", "etag", "expires", "last-modified", "link", "location",
    "retry-after", "vary", "x-request-id",
})  # fmt: skip
HEADER_LIMIT = 1000
# Repeating these methods may repeat their effect.
NOT_REPEATABLE = frozenset({"POST", "PATCH"})

CHARSET = re.compile(r";\s*charset\s*=\s*\"?([\w.:-]{1,40})", re.IGNORECASE)
# Only real charsets: some of Python's codecs take time that grows with the square of the size (punycode, idna).
TEXT_CHARSET = re.compile(
    r"ascii|utf-(8|16|32)(-[bl]e)?|iso8859-\d+|cp\d+|gb\w*|big5\w*|euc_\w+|shift_jis\w*|iso2022_\w+|koi8-\w|mac-\w+"
)

Report = Callable[[float | None, Any], None]


class NotRepeated(Exception):
    """The request failed after it was sent, and its method must not be repeated."""


@dataclass(frozen=True)
class Fetch:
    """One request of `fetch_url`."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | None
    bounds: Bounds
    keep_bytes: int
    raise_for_status: bool

    def run(self, report: Report) -> dict[str, Any]:
        """Send the request and return the task's result. `report` is called with the percent done and a detail.

        Raises OutboundError, AnsweredLater, AnsweredNo, NotRepeated.
        """
        try:
            with Client(bounds=self.bounds).stream(
                self.method, self.url, headers=self.headers, content=self.content
            ) as answer:
                if self.raise_for_status:
                    is_repeatable = self.method not in NOT_REPEATABLE or answer.status in NOT_PROCESSED
                    check_status(answer, is_repeatable=is_repeatable)
                return self._result(answer, report)
        except Interrupted as error:
            if self.method in NOT_REPEATABLE:
                raise NotRepeated(
                    f"{error}; the server may have processed the request, so it is not repeated"
                ) from None
            raise

    def _result(self, answer: Answer, report: Report) -> dict[str, Any]:
        start, size, digest = bytearray(), 0, hashlib.sha256()
        for piece in answer.pieces():
            start += piece[: max(0, self.keep_bytes - size)]
            size += len(piece)
            digest.update(piece)
            report(_percent_of(answer), {"bytes": answer.received, "total": answer.length})
        content_type = answer.headers.get("content-type")
        return {
            "status": answer.status,
            "url": answer.url,
            "redirects": answer.redirects,
            "headers": {n: v[:HEADER_LIMIT] for n, v in sorted(answer.headers.items()) if n in RESULT_HEADERS},
            "content_type": content_type,
            "size": size,
            "sha256": digest.hexdigest(),
            "truncated": size > len(start),
            **_content_fields(bytes(start), content_type, whole=size == len(start)),
        }


def make_fetch(
    method: str, url: str, headers: Mapping[str, str] | None, body: str | None, json: Any, **more: Any
) -> Fetch:
    """Return the Fetch for the task's arguments. Raises ValueError if they contradict each other."""
    named = dict(headers or {})
    if body is not None and json is not None:
        raise ValueError("body and json exclude each other: give only one")
    content = None if body is None else body.encode()
    if json is not None:
        content = dump_json(json).encode()
        if not any(name.lower() == "content-type" for name in named):
            named["content-type"] = "application/json"
    bounds = Bounds(seconds=more["timeout"], max_bytes=more["max_bytes"])
    return Fetch(method, url, named, content, bounds, more["keep_bytes"], more["raise_for_status"])


def _percent_of(answer: Answer, most: int = 100) -> int | None:
    return min(most, answer.received * most // answer.length) if answer.length else None


def _content_fields(content: bytes, content_type: str | None, *, whole: bool) -> dict[str, str | None]:
    """Return the content as text in its charset (by default UTF-8), or as base64 if it is not text."""
    named = CHARSET.search(content_type or "")
    try:
        charset = codecs.lookup(named[1] if named else "utf-8").name
        if TEXT_CHARSET.fullmatch(charset):
            # Not final if the content was cut, because its last character may be cut too.
            text = codecs.getincrementaldecoder(charset)("strict").decode(content, final=whole)
            return {"text": text, "base64": None}
    except (LookupError, UnicodeError):
        pass
    return {"text": None, "base64": base64.b64encode(content).decode()}


# -- The implementation of `fetch_to_file`: a request whose content goes to a file -------------------------------------


def _checked_name(name: str) -> str:
    if fault := name_fault(name):
        raise ValueError(fault)
    return name


FileName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_checked_name)]
# For the whole content: the worker's own time limit ends a slower one.
DOWNLOAD_SECONDS = 6 * 3600


@dataclass(frozen=True)
class Download:
    """One request. `name`: of the artifact; None for the last part of the URL."""

    url: str
    name: str | None
    max_bytes: int

    def run(self, path: Path, report: Report, save: Callable[..., str | None]) -> dict[str, Any]:
        """Fetch the content to `path`, save it, and return the task's result.

        Raises OutboundError, AnsweredLater, AnsweredNo.
        """
        bounds = Bounds(seconds=DOWNLOAD_SECONDS, max_bytes=self.max_bytes)
        with Client(bounds=bounds).stream("GET", self.url) as answer:
            check_status(answer)
            content = Measure(self.max_bytes)
            with path.open("wb") as file:
                for piece in answer.pieces():
                    file.write(content.add(piece))
                    report(_percent_of(answer, 99), {"bytes": answer.received, "total": answer.length})
            kind = media_type(answer.headers.get("content-type"))
            name = self.name or name_of_url(answer.url)
            known = {"url": answer.url, "name": name, "size": content.size, "sha256": content.sha256}
        return {**known, "content_type": kind, "artifact": save(name, path, kind)}


def name_of_url(url: str) -> str:
    """Return the last part of the URL's path as the name of a file, `download` where that is none."""
    last = unquote(PurePosixPath(urlsplit(url).path).name)[:200]
    return "download" if name_fault(last) else last


# -- The implementation of `send_webhook`: one signed POST, classified by its status (Standard Webhooks 1.0) -----------

# The specification recommends 15 to 30 seconds, and no redirects.
WEBHOOK_BOUNDS = Bounds(seconds=30, connect_seconds=10, read_seconds=30, max_bytes=1024 * 1024, max_redirects=0)
WEBHOOK_SUCCESSES = range(200, 300)


@dataclass(frozen=True)
class Webhook:
    """A webhook. Its id and body are the same in each attempt; each attempt has its own signature time."""

    id: str
    body: bytes

    def deliver(self, url: str, keys: Sequence[bytes]) -> dict[str, Any]:
        """Send the webhook and return the task's result. Raises OutboundError, AnsweredLater, AnsweredNo.

        Only the status of the response is read.
        """
        headers = signed_headers(keys, self.id, int(datetime.now(UTC).timestamp()), self.body)
        headers["content-type"] = "application/json"
        with Client(bounds=WEBHOOK_BOUNDS).stream("POST", url, headers=headers, content=self.body) as answer:
            if answer.status in WEBHOOK_SUCCESSES:
                return {"webhook_id": self.id, "status": answer.status}
            if is_retryable(answer.status):
                raise retryable_error(parse_url(url).origin, answer.status, answer.headers)
            raise AnsweredNo(describe_status(parse_url(url).origin, answer.status))


def make_webhook(event: str, payload: Any, task_id: str | None) -> Webhook:
    """Return the webhook of an event. Its id is the task's id, its timestamp the creation time in that id."""
    identity = UUID(task_id) if task_id else new_id()
    created_at = datetime.fromtimestamp(time_of(identity), UTC)
    timestamp = created_at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Webhook(str(identity), dump_json({"type": event, "timestamp": timestamp, "data": payload}).encode())
