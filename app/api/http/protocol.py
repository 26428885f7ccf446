"""uvicorn's HTTP protocol with limits for the request head.

Selected with `--http app.api.http.protocol:BoundedProtocol`. uvicorn's own protocol buffers a header line without limit
and copies it at each read, which blocks the event loop (docs/adr/0022). The application runs only after the head is
complete, so it cannot prevent this. Here a head above MAX_HEADER_BYTES is refused with 431, and a head that is not
complete within HEADER_TIMEOUT_SECONDS with 408. `RequestLimits` counts exactly what arrives in one read.
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

# Limits of the input that is discarded after a refusal, so that the client receives the response, not a reset.
DRAIN_BYTES = 32 * 1024 * 1024
DRAIN_SECONDS = 5.0


class BoundedProtocol(HttpToolsProtocol):
    """Counts the bytes that arrive while the parser reports nothing.

    These are the bytes of a request's head and of a body's trailers.
    """

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

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn
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

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        self._awaits_head = True
        super().on_message_begin()
        # Lets an event stream close a connection whose client stops reading (`app/api/http/sse.py`).
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
        """Answer what the parser refuses. A target that is too long for the parser arrived in one read and gets 431."""
        if len(self.url) > self._max_bytes:
            self.transport.write(_problem(431, self._too_large()))
        else:
            self.transport.write(_problem(400, msg))
        self.transport.close()

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
            self.transport.abort()  # stray bytes after a response have stopped uvicorn's keep-alive timer
            return
        self._refuse(408, f"The header fields were not complete within {self._max_seconds:g} seconds")

    def _refuse(self, status: int, detail: str) -> None:
        """Send the response, then discard further input.

        Closing at once would reset the connection before the client reads it.
        """
        self._stop_timer()
        if self._is_responding:
            self.transport.abort()  # a response is in progress: this input is its trailers or a pipelined request
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
    """Return the raw problem response. Its path is empty, because the target is not parsed yet."""
    identifier = uuid4().hex
    more = {"Connection": "close", "X-Request-ID": identifier, **SECURITY_HEADERS}
    answer = http_problem({"path": "", "state": {"request_id": identifier}}, status, detail, more)
    head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
    return STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body)
