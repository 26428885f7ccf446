"""Death at the n-th system call on the way of a request: sockets, and every send and receive of libpq.

Only what Python can see is counted, hence psycopg2's wait callback (libpq then comes back to Python before each time it
would block, so between the sending of COMMIT and the reading of its reply as well) and uvicorn on asyncio's own loop,
whose sends and receives go through `socket.socket`, as do PyMySQL's. SQLite has statements and commits in their place. The moment after a call is, to everybody else, the moment before the
thread's next one, so each call counts once, when it is done, and number one is the first call's beginning.
"""

import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from psycopg2 import extensions
from sqlalchemy import Engine, event

from app.core.config import get_settings
from app.core.engines import SQLITE

SOCKET_CALLS = ("accept", "connect", "recv", "recv_into", "send", "sendall", "sendmsg", "close", "shutdown")


class Boundaries:
    """`install()`, then `arm(n)`: the n-th boundary from then on is where this process dies by SIGKILL."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._lock = threading.Lock()
        self._count = 0
        self._armed: Path | None = None
        self._fatal = 0

    def arm(self, by: Path, fatal: int) -> None:
        """Count once the file exists, and die at this number."""
        self._armed, self._fatal = by, fatal

    def passed(self, what: str) -> None:
        if self._armed is None or not self._armed.exists():
            return
        with self._lock:
            self._count += 1
            if self._count == self._fatal:
                self._log.write_text(what, encoding="utf-8")
                os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        for name in SOCKET_CALLS:
            setattr(socket.socket, name, self._around(name, getattr(socket.socket, name)))
        extensions.set_wait_callback(self._wait)
        if get_settings().database_engine == SQLITE:
            for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
                event.listen(Engine, name, partial(self._statement, name))

    def _statement(self, name: str, *_: Any) -> None:
        self.passed(name)

    def _around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            if self._count == 0:
                self.passed(f"before {name}")
            try:
                return call(*args, **kwargs)
            finally:
                self.passed(f"after {name}")

        return counted

    def _wait(self, connection: Any) -> None:
        """What psycopg2 calls where libpq would block: the query is sent, or its reply is read, in `poll`."""
        while True:
            state = connection.poll()
            self.passed(f"after libpq's step {state}")
            if state == extensions.POLL_OK:
                return
            reading = [connection.fileno()] if state == extensions.POLL_READ else []
            writing = [connection.fileno()] if state == extensions.POLL_WRITE else []
            select.select(reading, writing, [], 10)
