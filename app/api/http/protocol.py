"""uvicorn's HTTP protocol with bounds for what clients send and do not read.

Selected with `--http app.api.http.protocol:BoundedProtocol`. uvicorn's own protocol buffers a header line without limit
and copies it at each read, which blocks the event loop (docs/adr/0035). It waits for ever for a body and for a client
that does not read, and parses any number of pipelined requests at once. The application runs only after the head is
complete, so it cannot prevent this. Here:

- a head above MAX_HEADER_BYTES is refused with 431, and a head that is not complete within HEADER_SECONDS with
  408. Time in which the server does not read does not count. `RequestLimits` counts exactly what arrives in one read.
- a body or an answer below the minimum rate ends: `app/api/http/peers.py`.
- the next request is parsed once there is at most one before it, and all answers before that were sent.
"""

from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api.http.middleware import MAX_HEADER_BYTES, SECURITY_HEADERS
from app.api.http.peers import BODY_TAKEN, SET_USER, Limits, Peer, Peers, Waiting, bound_kernel_buffer
from app.api.http.problems import http_problem
from app.api.http.sse import ABORT
from app.api.http.standard_http import StandardHttp
from app.core.config import get_settings

# Within which a head must be complete: as long as a transfer may stand still (`Limits.seconds`).
HEADER_SECONDS = 20.0
# Limits of the input that is discarded after a refusal, so that the client receives the response, not a reset.
DRAIN_BYTES = 32 * 1024 * 1024
DRAIN_SECONDS = 5.0
# The parser gets heads and bodies in pieces of so many bytes: one read may hold thousands of requests.
HEAD_PIECE = 2048
BODY_PIECE = 64 * 1024
# Input that waits for earlier requests. Reading is paused meanwhile, so this is one read or two.
MAX_BACKLOG = 1024 * 1024


class BoundedProtocol(StandardHttp):
    """One connection. Counts the bytes that arrive while the parser reports nothing.

    These are the bytes of a request's head and of a body's trailers.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._peers = _peers_of(self.server_state, self)
        self._unparsed_bytes = 0
        self._parsed = False
        self._awaits_head = True
        self._timer: TimerHandle | None = None
        self._backlog = b""
        self._answer_unsent = False  # the next step after a complete response waits until it is sent
        self._refusal: bytes | None = None  # waits for the answers before it
        self._discarded_bytes: int | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self.flow = NotifyingFlow(transport, self._stop_timer, self._reading_resumed)
        transport.set_write_buffer_limits(high=0)  # `pause_writing` tells of each answer that the kernel did not take
        bound_kernel_buffer(transport, self._peers.limits.seconds)
        self.peer = Peer(self._peers, transport, self.client[0] if self.client else "")
        # ABORT lets an event stream close a connection whose client stops reading (`app/api/http/sse.py`).
        self._extensions = {
            ABORT: {"call": transport.abort},
            SET_USER: {"call": self.peer.set_user},
            BODY_TAKEN: {"call": self.peer.body_taken},
        }
        self._start_timer()
        if len(self.connections) > self._peers.limits.connections and not self._peers.make_room(self._idle_peers()):
            transport.write(raw_problem(503, "There are too many connections: try again later"))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.peer.lost()
        self._backlog = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._discarded_bytes is not None:
            self._discard(data)
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        """Parse as far as the requests before allow, and keep the rest."""
        arrived = 0  # of a body
        while data:
            if self._is_behind:
                self._keep(data)
                return
            size = BODY_PIECE if self._receiving else HEAD_PIECE
            piece, data = data[:size], data[size:]
            self._parsed = False
            data = self._parse(piece) + data
            if self._discarded_bytes is not None or self.transport.is_closing():
                return
            self._unparsed_bytes = 0 if self._parsed else self._unparsed_bytes + len(piece)
            if self._unparsed_bytes > MAX_HEADER_BYTES:
                self._refuse(431, self._too_large())
                return
            if self._receiving or size == BODY_PIECE:
                arrived += len(piece)
        if arrived:
            self._count_body(arrived)
        if self._timer is None and (self._awaits_head or not (self._is_responding or self._receiving)):
            self._start_timer()

    def _reading_resumed(self) -> None:
        # A head of which a part arrived before reading was paused: the client gets its time now.
        if self._awaits_head and self._timer is None and self._discarded_bytes is None:
            self._start_timer()

    def _count_body(self, count: int) -> None:
        if self._is_responding:
            self.peer.body_arrived(count)
        if self._receiving:
            self.peer.body_waits(count, self)

    def _refuse_malformed(self) -> None:
        # A target that is too long for the parser arrived in one read.
        if len(self.url) > MAX_HEADER_BYTES:
            self._refuse(431, self._too_large())
        else:
            super()._refuse_malformed()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        self._awaits_head = True
        super().on_message_begin()
        self.scope["extensions"] = self._extensions  # type: ignore[typeddict-item]  # ASGI says dict[str, dict]

    def on_headers_complete(self) -> None:
        self._parsed, self._awaits_head = True, False
        self._stop_timer()
        super().on_headers_complete()
        if self._receiving:
            self.cycle.transport = JoinedWrites(self.transport, self.loop)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        self._parsed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._parsed = True
        super().on_message_complete()
        if self.peer.waits_for_body and not self._receiving:
            self.peer.body_complete()

    # The way out

    def on_response_complete(self) -> None:
        self.peer.response_complete()
        if self.flow.write_paused and (self.pipeline or self._backlog or self._refusal):
            self._answer_unsent = True
        else:
            self._go_on()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.peer.answer_waits()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.peer.answer_sent()
        if self._answer_unsent:
            self._answer_unsent = False
            self._go_on()
        elif not self._is_behind:
            self._feed_backlog()

    def _go_on(self) -> None:
        """Start the next request, send a refusal, or parse what was kept; else wait for a request."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self._awaits_head:
            self._unset_keepalive_if_required()  # a part of the next head is here: its own timer runs
        if self.pipeline:
            self.flow.pause_reading()
        elif self._refusal is not None and not self._is_responding:
            self._send_refusal()
        else:
            self._feed_backlog()

    def _feed_backlog(self) -> None:
        if self._backlog:
            data, self._backlog = self._backlog, b""
            self.flow.resume_reading()
            self._feed(data)

    def _keep(self, data: bytes) -> None:
        self._backlog += data
        self._stop_timer()
        self._unset_keepalive_if_required()
        self.flow.pause_reading()
        if len(self._backlog) > MAX_BACKLOG:
            self.transport.abort()

    @property
    def _is_responding(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    @property
    def _is_behind(self) -> bool:
        """Whether the next input waits: for a request before the last one, or for the client to read an answer."""
        return bool(self.pipeline) or (self.flow.write_paused and not self._is_responding)

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress, and none is being refused."""
        return not (self._is_responding or self._receiving or self.flow.write_paused)

    def _idle_peers(self) -> list[Waiting]:
        """Return the other connections without a request."""
        others = (each for each in self.connections if isinstance(each, BoundedProtocol) and each is not self)
        return [each.peer for each in others if each.is_idle]

    def is_reading(self) -> bool:
        return not (self.flow.read_paused or self.cycle.waiting_for_100_continue)

    # Refusals

    def _start_timer(self) -> None:
        if self.flow.read_paused:
            return  # the time in which the server does not read is not the client's
        self._timer = self.loop.call_later(HEADER_SECONDS, self._on_header_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_header_timeout(self) -> None:
        self._timer = None
        if not self._awaits_head:
            self.transport.abort()  # stray bytes after a response have stopped uvicorn's keep-alive timer
            return
        self._refuse(408, f"The header fields were not complete within {HEADER_SECONDS:g} seconds")

    def refuse_slow_body(self) -> None:
        limits = self._peers.limits
        self._refuse(408, f"The body came slower than {limits.bytes_per_second:g} bytes a second, or not at all for "
                          f"{limits.seconds:g} seconds")  # fmt: skip

    def _refuse(self, status: int, detail: str) -> None:
        """Send the response after those before it, then discard further input.

        Closing at once would reset the connection before the client reads it.
        """
        self._stop_timer()
        if self._receiving and not self._cut_off():
            self.transport.abort()
            return
        self._refusal, self._discarded_bytes, self._backlog = raw_problem(status, detail), 0, b""
        if self.flow.write_paused and not self._is_responding:
            self._answer_unsent = True
        elif not (self.pipeline or self._is_responding):
            self._send_refusal()

    def _cut_off(self) -> bool:
        """End the request whose body is at fault. Returns False if its answer has begun, or others come before it."""
        cycle: RequestResponseCycle = self.cycle
        if cycle.response_started or self.pipeline:
            return False
        cycle.disconnected = cycle.response_complete = True
        cycle.message_event.set()
        self._receiving = False
        self.peer.body_complete()
        self.peer.response_complete()
        return True

    def _send_refusal(self) -> None:
        assert self._refusal is not None
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.transport.write(self._refusal)
        self._refusal = None
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(DRAIN_SECONDS, self.transport.abort)

    def _too_large(self) -> str:
        return f"The request line and the header fields are larger than {MAX_HEADER_BYTES} bytes"

    def _discard(self, data: bytes) -> None:
        assert self._discarded_bytes is not None
        self._discarded_bytes += len(data)
        if self._discarded_bytes > DRAIN_BYTES:
            self.transport.abort()

    def eof_received(self) -> None:
        if self._discarded_bytes is not None:
            self.transport.close()


def _peers_of(server: ServerState, protocol: HttpToolsProtocol) -> Peers:
    """Return what bounds the connections of this server together. uvicorn has no other place for it."""
    peers: Peers | None = server.__dict__.get("peers")
    if peers is None:
        peers = server.__dict__["peers"] = Peers(protocol.loop, Limits.of(get_settings()))
    return peers


# -- uvicorn's flow control of one connection, which tells when the server stops and starts to read --------------------


class NotifyingFlow(FlowControl):
    """Calls `paused` and `resumed` at each change. What is parsed and what is sent both cause changes."""

    def __init__(self, transport: Transport, paused: Callable[[], None], resumed: Callable[[], None]) -> None:
        super().__init__(transport)
        self._paused, self._resumed = paused, resumed

    def pause_reading(self) -> None:
        if not self.read_paused:
            super().pause_reading()
            self._paused()

    def resume_reading(self) -> None:
        if self.read_paused:
            super().resume_reading()
            self._resumed()


# -- A transport that sends the head of a response and the start of its body in one system call ------------------------


class JoinedWrites:
    """Delays the head of a response until its body or the next turn of the event loop, whichever comes first.

    uvicorn writes head and body separately, and uvloop sends each write at once. That costs two system calls here and
    two wake-ups of the client.
    """

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: bytes | None = None
        self._is_head = True

    def write(self, data: bytes) -> None:
        """Hold the first write, and send it together with the second one."""
        if self._is_head:
            self._is_head, self._held = False, data
            self._loop.call_soon(self._flush)
            return
        held, self._held = self._held, None
        self._transport.write(data if held is None else held + data)

    def close(self) -> None:
        """Send what is held, then close the transport."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)


# -- Problems as the bytes of an HTTP/1.1 response, for what is refused before the application runs --------------------


def raw_problem(status: int, detail: str) -> bytes:
    """Return the response, which closes the connection. Its path is empty, because the target is not parsed yet."""
    identifier = uuid4().hex
    more = {"Connection": "close", "X-Request-ID": identifier, **SECURITY_HEADERS}
    answer = http_problem({"path": "", "state": {"request_id": identifier}}, status, detail, more)
    head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
    return STATUS_LINE[status] + head + b"\r\n" + bytes(answer.body)
