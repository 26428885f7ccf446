"""Responses: read piece by piece within the bounds, or whole; their decompression, and their header `Retry-After`."""

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore

from app.outbound.errors import AnswerRefused, Interrupted

FINAL = 200


@dataclass(frozen=True)
class WholeAnswer:
    """A response with its content in memory."""

    status: int
    url: str
    headers: Mapping[str, str]
    content: bytes


class Answer:
    """An open response. Status and headers are present; `pieces()` reads the content once.

    `url` is the final URL after `redirects`. `received` counts the bytes received, before decompression. `length` is
    Content-Length, None if the server sent none.
    """

    def __init__(self, response: httpcore.Response, url: str, redirects: int, max_bytes: int) -> None:
        if response.status < FINAL:
            raise Interrupted("the server sent no final response")
        self.status, self.url, self.redirects = response.status, url, redirects
        self.headers: Mapping[str, str] = _joined(response.headers)
        length = self.headers.get("content-length", "")
        self.length = int(length) if length.isdecimal() else None
        self.received = 0
        self._response, self._max_bytes = response, max_bytes

    def pieces(self) -> Iterator[bytes]:
        """Yield the decompressed content, at most 64 KiB at a time. Raises OutboundError."""
        size = 0
        for piece in decoded_pieces(self._counted(), self.headers.get("content-encoding", "")):
            size += len(piece)
            self._bound(size)
            yield piece

    def whole(self) -> WholeAnswer:
        """Return the response with all of its content in memory. Raises OutboundError."""
        return WholeAnswer(self.status, self.url, self.headers, b"".join(self.pieces()))

    def _counted(self) -> Iterator[bytes]:
        for piece in self._response.iter_stream():
            self.received += len(piece)
            self._bound(self.received)
            yield piece

    def _bound(self, size: int) -> None:
        if size > self._max_bytes:
            raise AnswerRefused(f"the response is larger than {self._max_bytes} bytes")


def _joined(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by lower-case name. The values of a repeated header are joined with commas."""
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("ascii").lower(), _text(value)
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


# -- Decompresses a response piece by piece: compressed bytes never expand to more than one piece at a time ------------

PIECE = 64 * 1024
GZIP = zlib.MAX_WBITS | 16


def decoded_pieces(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Return the pieces decompressed as `encoding` (Content-Encoding) says. Raises AnswerRefused, Interrupted.

    Only gzip, applied once, is accepted: `gzip, gzip` may be a nested decompression bomb.
    """
    named = encoding.strip().lower()
    if named in {"", "identity"}:
        return (piece for piece in pieces if piece)
    if named in {"gzip", "x-gzip"}:
        return _gunzipped(pieces)
    raise AnswerRefused("the response has a Content-Encoding that was not requested")


def _gunzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    unzip, begun = zlib.decompressobj(GZIP), False
    for piece in pieces:
        rest = piece
        while rest:
            if unzip.eof:  # the next member of a gzip file with several members
                unzip = zlib.decompressobj(GZIP)
            begun = True
            try:
                content = unzip.decompress(rest, PIECE)
            except zlib.error:
                raise Interrupted("the response is not valid gzip") from None
            rest = unzip.unconsumed_tail or unzip.unused_data
            if content:
                yield content
    while begun and not unzip.eof:
        # zlib may hold back content: a piece may have been full exactly at the end of the input.
        content = unzip.decompress(b"", PIECE)
        if not content:
            raise Interrupted("the response ended in the middle of its gzip data")
        yield content


# -- The header `Retry-After` of answers (RFC 9110, section 10.2.3) ----------------------------------------------------


def read_retry_after(value: str | None, at_most: float) -> float | None:
    """Return the header's seconds or date as seconds from now, 0 to `at_most`. None if it is missing or invalid."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return min(float(value), at_most)
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):  # no date, or a year or an offset that is too large for one
        return None
    return min(max(seconds, 0.0), at_most)
