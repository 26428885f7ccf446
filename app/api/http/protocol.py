"""uvicorn's HTTP protocol, with an end to what it reads before there is a request.

Chosen with `--http app.api.http.protocol:BoundedProtocol`. The stock one on httptools keeps a header line that never
ends, and copies it with each read: 100 MB of it took 18 s of the event loop, for every client, and all of that memory
(docs/adr/0022). No application can help it: it is not asked before the headers are complete. Here they are refused with
431 above MAX_HEADER_BYTES, and with 408 when they are not complete within HEADER_TIMEOUT_SECONDS. What arrives in one
read passes, and is counted exactly by `RequestLimits`.
"""

from asyncio import AbstractEventLoop, TimerHandle, Transport
from typing import Any
from uuid import uuid4

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.api.http.middleware import SECURITY_HEADERS
from app.api.http.problems import http_problem
from app.api.http.sse import ABORT
from app.core.config import get_settings

# So much of what still comes after a refusal is dropped, for so long, that the client gets to read the answer.
DRAIN_BYTES = 32 * 1024 * 1024
DRAIN_SECONDS = 5.0


class JoinedWrites:
    """What an answer is written with: its head goes out with the body that follows at once.

    uvicorn writes each by itself and uvloop sends each at once: two system calls here and two wake-ups of the client,
    a tenth of what a small answer costs. A head whose body takes its time leaves at the loop's next turn.
    """

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: bytes | None = None
        self._is_head = True

    def write(self, data: bytes) -> None:
        if self._is_head:
            self._is_head, self._held = False, data
            self._loop.call_soon(self._flush)
            return
        held, self._held = self._held, None
        self._transport.write(data if held is None else held + data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)


class BoundedProtocol(HttpToolsProtocol):
    """Counts what comes in while the parser has nothing to tell: the head of a request, the trailers of a body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        settings = get_settings()
        self.url = b""
        self._max_bytes = settings.max_header_bytes
        self._max_seconds = settings.header_timeout_seconds
        self._quiet = 0
        self._heard = False
        self._awaits_head = True
        self._timer: TimerHandle | None = None
        self._dropped: int | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._dropped is not None:
            self._drop(data)
            return
        self._heard = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._quiet = 0 if self._heard else self._quiet + len(data)
        if self._quiet > self._max_bytes:
            self._refuse(431, self._too_large())
        elif self._timer is None and (self._awaits_head or not self._is_answering):
            self._start_timer()

    # What the parser tells

    def on_message_begin(self) -> None:
        self._awaits_head = True
        super().on_message_begin()
        # For an event stream whose client takes nothing: nothing else can end it (`app/api/http/sse.py`).
        self.scope["extensions"] = {ABORT: {"call": self.transport.abort}}

    def on_headers_complete(self) -> None:
        self._heard, self._awaits_head = True, False
        self._stop_timer()
        super().on_headers_complete()
        self.cycle.transport = JoinedWrites(self.transport, self.loop)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        self._heard = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._heard = True
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
        self._timer = self.loop.call_later(self._max_seconds, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _too_slow(self) -> None:
        self._timer = None
        if not self._awaits_head:
            self.transport.abort()  # stray bytes after an answer: uvicorn's own timer for idle connections has stopped
            return
        self._refuse(408, f"The header fields were not complete within {self._max_seconds:g} seconds")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer, and go on dropping what comes: closed at once, the client would see a reset and no answer."""
        self._stop_timer()
        if self._is_answering:
            self.transport.abort()  # trailers, or a pipelined request: the connection belongs to the answer before
            return
        self.transport.write(_problem(status, detail))
        self._dropped = 0
        self._timer = self.loop.call_later(DRAIN_SECONDS, self.transport.abort)

    def _too_large(self) -> str:
        return f"The request line and the header fields are larger than {self._max_bytes} bytes"

    def _drop(self, data: bytes) -> None:
        assert self._dropped is not None
        self._dropped += len(data)
        if self._dropped > DRAIN_BYTES:
            self.transport.abort()

    def eof_received(self) -> None:
        if self._dropped is not None:
            self.transport.close()


def _problem(status: int, detail: str) -> bytes:
    """The problem as all others are, but for the path, which is not known yet."""
    identifier = uuid4().hex
    more = {"Connection": "close", "X-Request-ID": identifier, **SECURITY_HEADERS}
    answer = http_problem({"path": "", "state": {"request_id": identifier}}, status, detail, more)
    head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
    return STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body)
