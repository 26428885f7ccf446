"""A TCP proxy whose connections can be refused, frozen, cut, dropped in silence, and robbed of one reply.

    with TcpProxy("127.0.0.1", postgres.port) as proxy:
        url = proxy.through(postgres.url)
        proxy.freeze(); …; proxy.heal()

The proxy runs on one event loop in a thread of its own. Its methods may be called from any thread, and return once the
loop has done the work. With `tls`, it ends TLS in front of a server that has none (the embedded Valkey), as stunnel does.
"""

import asyncio
import contextlib
import ctypes
import functools
import re
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Self

LOOPBACK = "127.0.0.1"
# PostgreSQL's ReadyForQuery, outside a transaction: what it ends the reply to a finished COMMIT or autocommit with.
READY = b"Z\0\0\0\5I"
# As a pool process sends its claim; the statement itself was prepared before.
CLAIM_STATEMENT = b"EXECUTE task_service_"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with no seconds: close() sends a reset
_SO_ATTACH_FILTER = 26  # Linux: a BPF program that sees each packet before TCP does
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # BPF_RET, of no bytes of the packet


def unacknowledged(sender: socket.socket) -> int:
    """How many bytes of what was sent the other end's kernel has not acknowledged. Not on Windows."""
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(sender, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


class Reply:
    """The one reply that a rule is about: `seen` once the server has sent it, and so has done what was asked."""

    def __init__(self, pattern: bytes, until: bytes, *, dropped: bool) -> None:
        self.pattern, self.until, self.dropped = pattern, until, dropped
        self.asked, self.seen = threading.Event(), threading.Event()

    def wait(self, seconds: float = 30) -> None:
        """Until the server has replied."""
        assert self.seen.wait(seconds), f"no reply to {self.pattern!r} in {seconds:g} s"


class _Side(asyncio.Protocol):
    """One end of a link: hands on what it hears."""

    def __init__(self, link: "_Link", heard: Callable[[bytes], None]) -> None:
        self._link, self._heard = link, heard
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._link.begin(self)

    def data_received(self, data: bytes) -> None:
        self._heard(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.end(gently=exc is None)

    def hold(self, held: bool) -> None:
        if self.transport is not None and not self.transport.is_closing():
            (self.transport.pause_reading if held else self.transport.resume_reading)()

    def reset(self) -> None:
        if self.transport is not None:
            end = self.transport.get_extra_info("socket")
            if end is not None:  # else TLS has closed it
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()


class _Link:
    """A client's connection and the one to the server that was made for it."""

    def __init__(self, proxy: "TcpProxy") -> None:
        self._proxy = proxy
        self.client = _Side(self, self._from_client)
        self.server = _Side(self, self._from_server)
        self._early = bytearray()  # what the client says before the server is connected
        self._tail = b""
        self._rule: Reply | None = None
        self._kept = bytearray()

    def begin(self, side: _Side) -> None:
        if side is self.client:
            if self._proxy.refuses:  # accepted in the very moment in which the listener was closed
                side.reset()
                return
            self._proxy.links.add(self)
            self._proxy.spawn(self._connect())
        elif self not in self._proxy.links:  # cut before the server had answered the call
            side.reset()
            return
        elif self._early:
            self._to(self.server, bytes(self._early))
        side.hold(self._proxy.frozen)

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, *self._proxy.upstream)
        except OSError:
            self.cut()

    def _from_client(self, data: bytes) -> None:
        if self._rule is None:
            heard = self._tail + data
            self._rule = self._proxy.rule_for(heard)
            self._tail = heard[-64:] if self._rule is None else b""
        if self.server.transport is None:
            self._early += data
        else:
            self._to(self.server, data)

    def _from_server(self, data: bytes) -> None:
        rule = self._rule
        if rule is None:
            self._to(self.client, data)
            return
        self._kept += data
        if rule.until not in self._kept:
            return
        rule.seen.set()
        if rule.dropped:
            self.cut()

    def release(self, rule: Reply) -> None:
        if self._rule is rule:
            self._rule = None
            self._to(self.client, bytes(self._kept))
            self._kept.clear()

    @staticmethod
    def _to(side: _Side, data: bytes) -> None:
        if side.transport is not None and not side.transport.is_closing():
            side.transport.write(data)

    def hold(self, held: bool) -> None:
        self.client.hold(held)
        self.server.hold(held)

    def deafen(self) -> None:
        """Have the kernel drop what the client sends, without an acknowledgement or a reset."""
        assert self.client.transport is not None
        client = self.client.transport.get_extra_info("socket")
        # The kernel would send unacknowledged data again and again, so the client would not notice the loss.
        while unacknowledged(client):
            time.sleep(0.001)
        program = struct.pack("@HP", 1, ctypes.addressof(_DROP_ALL))
        client.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def cut(self) -> None:
        self._proxy.links.discard(self)
        self.client.reset()
        self.server.reset()

    def end(self, *, gently: bool) -> None:
        """Close the other end too."""
        for side in (self.client, self.server):
            if not gently or side.transport is None:
                side.reset()
            elif self._proxy.tls:
                side.transport.abort()  # without TLS's close message, for which a client may not wait
            else:
                side.transport.close()
        # asyncio closes the sockets in its next turn: a test that waits for this finds the client's end closed.
        asyncio.get_running_loop().call_soon(self._proxy.links.discard, self)


def _on_loop(method: Callable[..., None]) -> Callable[..., None]:
    """Run the method on the proxy's loop, and wait for one more turn: asyncio closes aborted transports in that turn."""

    @functools.wraps(method)
    def call(self: "TcpProxy", *args: Any, **options: Any) -> None:
        async def run() -> None:
            method(self, *args, **options)
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(20)

    return call


class TcpProxy:
    """Forwards a random port of this machine to a server, until told otherwise. A context manager."""

    def __init__(self, upstream_host: str, upstream_port: int, tls: ssl.SSLContext | None = None) -> None:
        self.upstream, self.tls = (upstream_host, upstream_port), tls
        self.frozen = False
        self.links: set[_Link] = set()
        self.port = 0
        self._rules: list[Reply] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._listener: socket.socket | None = None
        # Bound and never listening: it reserves the port while the proxy refuses connections.
        self._reserve = socket.socket()
        self._reserve.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._reserve.bind((LOOPBACK, 0))
        self.port = self._reserve.getsockname()[1]
        self._thread.start()
        self.heal()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.refuse()
        asyncio.run_coroutine_threadsafe(self._end_tasks(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._reserve.close()

    def through(self, url: str) -> str:
        """The URL with this proxy's address in the place of the server's."""
        changed, count = re.subn(r"(?<=[@/])[^@/:]+:\d+(?=/|$)", f"{LOOPBACK}:{self.port}", url, count=1)
        assert count == 1, "a URL with host and port is needed"
        return changed

    # -- faults ------------------------------------------------------------------------------------------------------

    @_on_loop
    def refuse(self) -> None:
        """Stop listening: new connections are refused, those there are reset."""
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self._cut()

    @_on_loop
    def freeze(self) -> None:
        """Accept connections and keep them open, and let nothing pass, on old ones either."""
        self._hold(True)

    @_on_loop
    def cut(self) -> None:
        """Reset every connection; new ones are served."""
        self._cut()

    @_on_loop
    def forget(self, *, acknowledged: bool) -> None:
        """Let nothing pass on the present connections any more, and keep them open; new ones are served.

        Acknowledged: as a proxy that has lost its way to the server. Otherwise as a firewall that dropped its state,
        on Linux alone.
        """
        for link in self.links:
            if acknowledged:
                link.hold(True)
            else:
                link.deafen()

    @_on_loop
    def heal(self) -> None:
        """Work as at the start; what froze goes on."""
        self._hold(False)
        if self.refuses:
            self._listen()

    def redirect(self, upstream_host: str, upstream_port: int) -> None:
        """Lead new connections to another server; those there are reset."""
        self.upstream = (upstream_host, upstream_port)
        self.cut()

    def drop_reply(self, pattern: bytes, until: bytes = b"") -> Reply:
        """Once: the reply to what contains `pattern` is swallowed, the connection reset when it has come.

        The server has done what it was asked by then. `until` is what a whole reply ends with (READY); without it the
        first bytes of one count.
        """
        return self._add(Reply(pattern, until, dropped=True))

    def hold_reply(self, pattern: bytes, until: bytes = b"") -> Reply:
        """Once: the reply to what contains `pattern` is kept back until `release`."""
        return self._add(Reply(pattern, until, dropped=False))

    @_on_loop
    def release(self, reply: Reply) -> None:
        """Let a held reply go."""
        for link in self.links:
            link.release(reply)

    @property
    def refuses(self) -> bool:
        return self._listener is None

    # -- on the loop -------------------------------------------------------------------------------------------------

    def rule_for(self, heard: bytes) -> Reply | None:
        rule = next((rule for rule in self._rules if rule.pattern in heard), None)
        if rule is not None:
            self._rules.remove(rule)
            rule.asked.set()
        return rule

    def _add(self, rule: Reply) -> Reply:
        self._rules.append(rule)
        return rule

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _listen(self) -> None:
        """By hand: an asyncio.Server that is closed in the middle of an accept leaves that connection open."""
        listener = self._listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, self.port))
        listener.listen(100)
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept, listener)

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
            connection, _ = listener.accept()
            connection.setblocking(False)
            self.spawn(self._adopt(connection))

    async def _adopt(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):  # a client that does not trust the certificate
            await self._loop.connect_accepted_socket(lambda: _Link(self).client, connection, ssl=self.tls)

    def _hold(self, held: bool) -> None:
        self.frozen = held
        for link in self.links:
            link.hold(held)

    def _cut(self) -> None:
        for link in list(self.links):
            link.cut()

    async def _end_tasks(self) -> None:
        for _ in range(5):  # what was accepted last gets as far as being reset
            await asyncio.sleep(0)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the aborted transports' last callbacks
