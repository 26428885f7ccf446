"""The implementation of `fetch_url`: its request, the result, and which errors are retried."""

import base64
import codecs
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from app.core.json_text import dump_json
from app.outbound import Answer, Bounds, Client
from app.outbound.errors import Interrupted
from app.outbound.targets import parse_url
from app.tasks.http_status import CLIENT_ERROR, NOT_PROCESSED, AnsweredNo, describe, is_retryable, retryable_error

# Headers about the content, its location and its freshness. Never Set-Cookie.
RESULT_HEADERS = frozenset(
    {
        "age",
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-length",
        "content-range",
        "content-type",
        "date",
        "etag",
        "expires",
        "last-modified",
        "link",
        "location",
        "retry-after",
        "vary",
        "x-request-id",
    }
)
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
                    self._check_status(answer)
                return self._result(answer, report)
        except Interrupted as error:
            if self.method in NOT_REPEATABLE:
                raise NotRepeated(
                    f"{error}; the server may have processed the request, so it is not repeated"
                ) from None
            raise

    def _check_status(self, answer: Answer) -> None:
        origin = parse_url(answer.url).origin
        repeatable = self.method not in NOT_REPEATABLE or answer.status in NOT_PROCESSED
        if is_retryable(answer.status) and repeatable:
            raise retryable_error(origin, answer.status, answer.headers)
        if answer.status >= CLIENT_ERROR:
            raise AnsweredNo(describe(origin, answer.status))

    def _result(self, answer: Answer, report: Report) -> dict[str, Any]:
        start, size, digest = bytearray(), 0, hashlib.sha256()
        for piece in answer.pieces():
            start += piece[: max(0, self.keep_bytes - size)]
            size += len(piece)
            digest.update(piece)
            report(_percent(answer), {"bytes": answer.received, "total": answer.length})
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


def _percent(answer: Answer) -> int | None:
    return min(100, answer.received * 100 // answer.length) if answer.length else None


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
