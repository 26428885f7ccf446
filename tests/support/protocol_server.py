"""The service's HTTP protocol in a thread of this process, around a small application that answers as its path says."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch
from uuid import UUID

import uvloop
from uvicorn.server import ServerState

from app.api.http import protocol
from app.api.http.peers import SET_USER, Limits, Peers
from app.api.http.protocol import HEADER_SECONDS, BoundedProtocol
from app.core.config import get_settings
from app.errors import ServiceError
from tests.support.virtual_time import protocol_config
from tests.support.waiting import wait_for

GREEDY = UUID(int=1)
SECONDS = 20.0


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage() + str(record.exc_info or ""))


class ProtocolServer:
    """`connect()` to it. `log` has what uvicorn and asyncio logged; `release` ends what waits under /wait."""

    def __init__(self) -> None:
        self.state, self.records = ServerState(), Records()
        self._loop = uvloop.new_event_loop()
        self._released = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._begun, self._stop = threading.Event(), asyncio.Event()
        self.errors: list[dict[str, Any]] = []
        self.begun: list[str] = []  # the paths that the application was called with
        self.port = 0

    @property
    def peers(self) -> Peers:
        wait_for(lambda: "peers" in self.state.__dict__, SECONDS, "the first connection to be accepted")
        peers: Peers = self.state.__dict__["peers"]
        return peers

    def connect(self, seconds: float = SECONDS, receive_buffer: int | None = None) -> socket.socket:
        """A connection; with `receive_buffer`, one whose kernel takes no more than about so many bytes."""
        connection = socket.socket()
        connection.settimeout(seconds)
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.connect(("127.0.0.1", self.port))
        return connection

    def ask(self, data: bytes, seconds: float = SECONDS) -> bytes:
        """All that is answered to these bytes until the connection ends."""
        with self.connect(seconds) as connection:
            connection.sendall(data)
            return read_all(connection)

    def release(self) -> None:
        self._loop.call_soon_threadsafe(self._released.set)

    def start(self) -> None:
        self._thread.start()
        assert self._begun.wait(SECONDS)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(SECONDS)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda _, context: self.errors.append(context))
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        config = protocol_config(self._answer)
        loop = asyncio.get_running_loop()

        def protocol_of() -> BoundedProtocol:
            return BoundedProtocol(config=config, server_state=self.state, app_state={}, _loop=loop)

        server = await loop.create_server(protocol_of, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._begun.set()
        await self._stop.wait()
        server.close()
        for each in [*self.state.connections]:
            each.transport.abort()
        while self.state.connections or self.state.tasks:
            for task in self.state.tasks:
                task.cancel()
            await asyncio.sleep(0.01)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        """/length: the body's length. /bytes/N: N bytes. /wait: once released. /user/…: the same as a user's request."""
        path = scope["path"]
        self.begun.append(path)
        status, body = 200, b""
        try:
            if path.startswith("/user"):
                scope["extensions"][SET_USER]["call"](GREEDY)
                path = path.removeprefix("/user")
            body = await self._body_of(path, scope, receive)
        except ServiceError as error:
            status, body = 429, error.code.encode()
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _body_of(self, path: str, scope: Any, receive: Any) -> bytes:
        if path == "/wait":
            await self._released.wait()
        if path.startswith("/bytes/"):
            return b"x" * int(path.rpartition("/")[2])
        if path == "/headers":
            return json.dumps(
                [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
            ).encode()
        length, more = 0, path in {"/length", "/wait"}
        while more:
            message = await receive()
            length += len(message.get("body", b""))
            more = message.get("more_body", False)
        return b"%s %s %d" % (scope["method"].encode(), path.encode(), length)


@contextmanager
def protocol_server(header_seconds: float = HEADER_SECONDS, **limits: Any) -> Iterator[ProtocolServer]:
    """A server with these limits. Its log of warnings and its errors are in it afterwards."""
    server = ProtocolServer()
    own = replace(Limits.of(get_settings()), **limits)
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    with patch.object(protocol, "HEADER_SECONDS", header_seconds), patch.object(Limits, "of", lambda _: own):
        for logger in loggers:
            logger.addHandler(server.records)
        server.start()
        try:
            yield server
        finally:
            server.stop()
            for logger in loggers:
                logger.removeHandler(server.records)


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side ends the connection."""
    answer = b""
    try:
        while chunk := connection.recv(65536):
            answer += chunk
    except ConnectionError:
        pass
    return answer


def statuses(answer: bytes) -> list[int]:
    """The statuses of these responses, whose bodies hold no status line."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
