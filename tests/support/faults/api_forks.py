"""API processes at the price of a fork: a program that imports the application once, and then forks a uvicorn an order.

An order is a line of JSON on a connection to the port that it prints: `{port, fatal, arm, log}`, as in `boundaries.py`.
The answers are lines too: the process's id, and its exit status when it has ended.
"""

import gc
import importlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import uvicorn

from app.launcher.ports import free_loopback_port
from tests.support.faults.boundaries import Boundaries
from tests.support.stack import Stack
from tests.support.waiting import wait_for


class ForkedApi:
    """One forked uvicorn: counts from `arm()` on, and may be dead at any moment after it."""

    def __init__(self, talk: IO[str], order: dict[str, Any]) -> None:
        self._talk, self._order = talk, order
        self.url = f"http://127.0.0.1:{order['port']}"
        talk.write(json.dumps(order) + "\n")
        talk.flush()
        self.pid = int(talk.readline())
        wait_for(self._answers, 30, "the forked API to answer")

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._order["port"]), timeout=2) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return b" 200 " in connection.recv(64)
        return False

    def arm(self) -> None:
        Path(self._order["arm"]).touch()

    def end(self) -> str | None:
        """End it, if it lives; the boundary at which it had died, None where it had not."""
        Path(self._order["arm"]).unlink(missing_ok=True)
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        self._talk.readline()
        log = Path(self._order["log"])
        return log.read_text(encoding="utf-8") if log.exists() else None

    @property
    def has_died(self) -> bool:
        return Path(self._order["log"]).exists()


class Forks:
    """The program of this module, as a part of a stack."""

    def __init__(self, stack: Stack) -> None:
        self._directory = stack.directory
        part = stack._start("forks", ["tests.support.faults.api_forks"], None)
        part.await_line("forks at ")
        self._port = int(part.output().rpartition("forks at ")[2].split()[0])

    @contextmanager
    def api(self, fatal: int) -> Iterator[ForkedApi]:
        """A uvicorn that dies at boundary `fatal`, once armed."""
        order = {
            "port": free_loopback_port(),
            "fatal": fatal,
            "arm": str(self._directory / f"arm-{fatal}"),
            "log": str(self._directory / f"death-{fatal}"),
        }
        with socket.create_connection(("127.0.0.1", self._port)) as connection, connection.makefile("rw") as talk:
            api = ForkedApi(talk, order)
            try:
                yield api
            finally:
                api.end()


def serve(order: dict[str, Any]) -> None:
    """In the forked process: a uvicorn that dies at its boundary."""
    boundaries = Boundaries(Path(order["log"]))
    boundaries.install()
    boundaries.arm(Path(order["arm"]), order["fatal"])
    # Their Python ways: what is written in C would pass by the boundaries.
    uvicorn.run("app.main:app", host="127.0.0.1", port=order["port"], loop="asyncio", http="h11", log_level="warning")


def main() -> None:
    from app.catalogue import catalogue

    # What a uvicorn imports when it starts: paid once.
    for module in ("app.main", "uvicorn.protocols.http.h11_impl", "uvicorn.lifespan.on", "uvicorn.loops.asyncio"):
        importlib.import_module(module)
    catalogue()
    gc.freeze()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"forks at {listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            with connection, connection.makefile("rw") as talk:
                order = json.loads(talk.readline())
                child = os.fork()
                if child == 0:
                    listener.close()
                    connection.close()
                    serve(order)
                    os._exit(0)
                talk.write(f"{child}\n")
                talk.flush()
                _, status = os.waitpid(child, 0)
                talk.write(f"{os.waitstatus_to_exitcode(status)}\n")


if __name__ == "__main__":
    main()
