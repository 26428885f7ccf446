"""What came back: read piece by piece within the bounds, or whole."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import httpcore

from app.outbound.decoding import decoded
from app.outbound.errors import AnswerRefused, Interrupted

FINAL = 200


@dataclass(frozen=True)
class WholeAnswer:
    status: int
    url: str
    headers: Mapping[str, str]
    content: bytes


class Answer:
    """An open answer: status and headers are there, `pieces()` reads the content, once.

    `url` is where it came from after `redirects`. `received` counts the bytes that have come, before decompression;
    `length` says how many will, where the server told.
    """

    def __init__(self, response: httpcore.Response, url: str, redirects: int, max_bytes: int) -> None:
        if response.status < FINAL:
            raise Interrupted("the server did not answer the request")
        self.status, self.url, self.redirects = response.status, url, redirects
        self.headers: Mapping[str, str] = _joined(response.headers)
        told = self.headers.get("content-length", "")
        self.length = int(told) if told.isdecimal() else None
        self.received = 0
        self._response, self._max_bytes = response, max_bytes

    def pieces(self) -> Iterator[bytes]:
        """The content, decompressed, at most 64 KiB at a time. Raises OutboundError."""
        size = 0
        for piece in decoded(self._counted(), self.headers.get("content-encoding", "")):
            size += len(piece)
            self._bound(size)
            yield piece

    def whole(self) -> WholeAnswer:
        return WholeAnswer(self.status, self.url, self.headers, b"".join(self.pieces()))

    def _counted(self) -> Iterator[bytes]:
        for piece in self._response.iter_stream():
            self.received += len(piece)
            self._bound(self.received)
            yield piece

    def _bound(self, size: int) -> None:
        if size > self._max_bytes:
            raise AnswerRefused(f"the answer is larger than {self._max_bytes} bytes")


def _joined(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """By lower-case name; of one that came several times, all values."""
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
