"""An event loop whose time passes at once while nothing happens, and a client's side of a connection in it."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from app.api.http.peers import Peers
from app.api.http.protocol import BoundedProtocol

CLIENT, SERVER = ("10.0.0.1", 40_000), ("10.0.0.2", 80)


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time()` jumps to the next timer. Nothing in it may wait for a socket or a thread."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__()
        self.failures: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        due = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        if due and not self._ready:  # type: ignore[attr-defined]  # asyncio's own
            self._now = max(self._now, min(due))
        super()._run_once()


class ClientSide(asyncio.Transport):
    """The transport of one connection, of which the test is the client: `send`, `read` and `received`.

    It takes what the server writes only if `reads`, else when the test calls `read`.
    """

    def __init__(self, loop: VirtualLoop, protocol: BoundedProtocol, *, reads: bool) -> None:
        super().__init__({"peername": CLIENT, "sockname": SERVER})
        self.loop, self.protocol, self.reads = loop, protocol, reads
        self.received, self._unsent, self._inbox = b"", b"", b""
        self.closed = asyncio.Event()
        self._closing = self._paused = self._writing_paused = False
        protocol.connection_made(self)

    # What the test does

    def send(self, data: bytes) -> None:
        self._inbox += data
        self._deliver()

    def read(self, count: int) -> None:
        taken, self._unsent = self._unsent[:count], self._unsent[count:]
        self.received += taken
        if self._unsent:
            return
        if self._closing:
            self._end()
        elif self._writing_paused:
            self._writing_paused = False
            self.protocol.resume_writing()

    def _deliver(self) -> None:
        while self._inbox and not (self._paused or self._closing):
            data, self._inbox = self._inbox[: 256 * 1024], self._inbox[256 * 1024 :]
            self.protocol.data_received(data)

    # What the protocol calls

    def write(self, data: Any) -> None:
        if self._closing:
            return
        self._unsent += bytes(data)
        if self.reads:
            self.read(len(self._unsent))
        elif self._unsent and not self._writing_paused:
            self._writing_paused = True
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The client goes on sending."""

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self.loop.call_soon(self._deliver)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._unsent:
                self._end()

    def abort(self) -> None:
        self._closing, self._unsent = True, b""
        self._end()

    def _end(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            self.loop.call_soon(self.protocol.connection_lost, None)


def protocol_config(app: Callable[..., Any]) -> Config:
    """uvicorn's configuration of the service's protocol around an ASGI application, loaded."""
    config = Config(
        app, http=BoundedProtocol, ws="none", lifespan="off", log_config=None, interface="asgi3", proxy_headers=False
    )
    config.load()
    return config


class VirtualServer:
    """Connections to the service's protocol around an ASGI application, in virtual time."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.loop = VirtualLoop()
        self.state = ServerState()
        self._config = protocol_config(app)

    @property
    def peers(self) -> Peers:
        peers: Peers = self.state.__dict__["peers"]
        return peers

    def connect(self, *, reads: bool = True) -> ClientSide:
        protocol = BoundedProtocol(config=self._config, server_state=self.state, app_state={}, _loop=self.loop)
        return ClientSide(self.loop, protocol, reads=reads)
