"""Responses: read piece by piece within the bounds, or whole."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import httpcore

from app.outbound.decoding import decoded
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
        for piece in decoded(self._counted(), self.headers.get("content-encoding", "")):
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
