"""uvicorn's HTTP protocol, with an end to what it reads before there is a request.

Chosen with `--http app.api.http.protocol:BoundedProtocol`. The stock one on httptools keeps a header line that never
ends, and copies it with each read: 100 MB of it took 18 s of the event loop, for every client, and all of that memory
(docs/adr/0022). No application can help it: it is not asked before the headers are complete. Here they are refused with
431 above MAX_HEADER_BYTES, and with 408 when they are not complete within HEADER_TIMEOUT_SECONDS. What arrives in one
read passes, and is counted exactly by `RequestLimits`.
"""

from asyncio import TimerHandle, Transport
from typing import Any
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.api.http.joined_writes import JoinedWrites
from app.api.http.middleware import SECURITY_HEADERS
from app.api.http.problems import http_problem
from app.api.http.sse import ABORT
from app.core.config import get_settings

# So much of what still comes after a refusal is dropped, for so long, that the client gets to read the answer.
DRAIN_BYTES = 32 * 1024 * 1024
DRAIN_SECONDS = 5.0


class BoundedProtocol(HttpToolsProtocol):
    """Counts what comes in while the parser has nothing to tell: the head of a request, the trailers of a body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = get_settings()
        self.url = b""
        self._max_bytes = settings.max_header_bytes
        self._max_seconds = settings.header_timeout_seconds
        self._unparsed_bytes = 0
        self._parsed = False
        self._awaits_head = True
        self._timer: TimerHandle | None = None
        self._discarded_bytes: int | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._discarded_bytes is not None:
            self._discard(data)
            return
        self._parsed = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._unparsed_bytes = 0 if self._parsed else self._unparsed_bytes + len(data)
        if self._unparsed_bytes > self._max_bytes:
            self._refuse(431, self._too_large())
        elif self._timer is None and (self._awaits_head or not self._is_responding):
            self._start_timer()

    # What the parser tells

    def on_message_begin(self) -> None:
        self._awaits_head = True
        super().on_message_begin()
        # For an event stream whose client takes nothing: nothing else can end it (`app/api/http/sse.py`).
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}

    def on_headers_complete(self) -> None:
        self._parsed, self._awaits_head = True, False
        self._stop_timer()
        super().on_headers_complete()
        self.cycle.transport = JoinedWrites(self.transport, self.loop)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        self._parsed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._parsed = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What the parser refuses; a path that is too long for it has arrived in one read."""
        if len(self.url) > self._max_bytes:
            self.transport.write(_problem(431, self._too_large()))
        else:
            self.transport.write(_problem(400, msg))
        self.transport.close()

    # Inside

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(self._max_seconds, self._on_header_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _is_responding(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _on_header_timeout(self) -> None:
        self._timer = None
        if not self._awaits_head:
            self.transport.abort()  # stray bytes after an answer: uvicorn's own timer for idle connections has stopped
            return
        self._refuse(408, f"The header fields were not complete within {self._max_seconds:g} seconds")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer, and go on dropping what comes: closed at once, the client would see a reset and no answer."""
        self._stop_timer()
        if self._is_responding:
            self.transport.abort()  # trailers, or a pipelined request: the connection belongs to the answer before
            return
        self.transport.write(_problem(status, detail))
        self._discarded_bytes = 0
        self._timer = self.loop.call_later(DRAIN_SECONDS, self.transport.abort)

    def _too_large(self) -> str:
        return f"The request line and the header fields are larger than {self._max_bytes} bytes"

    def _discard(self, data: bytes) -> None:
        assert self._discarded_bytes is not None
        self._discarded_bytes += len(data)
        if self._discarded_bytes > DRAIN_BYTES:
            self.transport.abort()

    def eof_received(self) -> None:
        if self._discarded_bytes is not None:
            self.transport.close()


def _problem(status: int, detail: str) -> bytes:
    """The problem as all others are, but for the path, which is not known yet."""
    identifier = uuid4().hex
    more = {"Connection": "close", "X-Request-ID": identifier, **SECURITY_HEADERS}
    answer = http_problem({"path": "", "state": {"request_id": identifier}}, status, detail, more)
    head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
    return STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body)
