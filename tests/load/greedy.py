"""The greedy client: a process of its own, at the lowest priority, which behaves as one coroutine says.

`greedy_client` starts this file as a program. It reads one line of JSON that says what to do, answers `begun`, and ends
with a line of what it has counted once its standard input is closed.
"""

import asyncio
import importlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.performance.wire import Connection, Request
from tests.support.loopback import Address
from tests.support.services import ROOT

LOWEST_PRIORITY = 19
END_SECONDS = 20.0
BEGUN = "begun\n"


@dataclass
class Side:
    """What the greedy client has: the server's address, its token, and values of the test's own choice."""

    address: Address
    token: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)

    def count(self, what: str, amount: int = 1) -> None:
        self.taken[what] += amount

    async def repeat(self, request: Request, connections: int = 1) -> None:
        """Send the request again and again on so many connections, and count the answers by their status."""
        await asyncio.gather(*(self._repeat(request) for _ in range(connections)))

    async def hold(self, request: Request, connections: int) -> None:
        """Send the request on so many connections, count the status of each answer, and read nothing else of it."""
        encoded = request.encode(self.address.host)
        writers = []
        for _ in range(connections):
            reader, writer = await asyncio.open_connection(self.address.host, self.address.port, limit=64)
            writers.append(writer)
            writer.write(encoded)
            self.count((await reader.read(len("HTTP/1.1 200"))).decode()[-3:])
        await asyncio.Event().wait()

    async def _repeat(self, request: Request) -> None:
        connection = Connection(self.address)
        while True:
            try:
                answer = await connection.ask(request)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self.count(type(error).__name__)
                await asyncio.sleep(0.01)  # a server that closes connections at once is asked again, not spun on
            else:
                self.count(str(answer.status))


Behaviour = Callable[[Side], Awaitable[None]]


@contextmanager
def greedy_client(behave: Behaviour, side: Side) -> Iterator[Counter[str]]:
    """The client behaves so while the block runs. What it counted is in the yielded counter after the block.

    `behave` stands at the top level of a module, and `side.given` is JSON.
    """
    task = {
        "module": behave.__module__, "name": behave.__name__, "token": side.token, "given": side.given,
        "host": side.address.host, "port": side.address.port,
    }  # fmt: skip
    program = [sys.executable, "-m", "tests.load.greedy"]
    process = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    taken: Counter[str] = Counter()
    try:
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        assert process.stdout.readline() == BEGUN, "the greedy client did not begin: its error is above"
        yield taken
        told, _ = process.communicate(timeout=END_SECONDS)
        assert process.returncode == 0, "the greedy client failed: its error is above"
        taken.update(json.loads(told))
    finally:
        process.kill()
        process.communicate()


def main() -> None:
    os.nice(LOWEST_PRIORITY)
    task = json.loads(sys.stdin.readline())
    behave = getattr(importlib.import_module(task["module"]), task["name"])
    side = Side(Address(task["host"], task["port"]), task["token"], task["given"])
    sys.stdout.write(BEGUN)
    sys.stdout.flush()
    asyncio.run(_until_stdin_closes(behave, side))
    sys.stdout.write(json.dumps(side.taken))
    sys.stdout.flush()


async def _until_stdin_closes(behave: Behaviour, side: Side) -> None:
    """An error of the behaviour ends this process, and with it the test."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, stopped.set)
    work = asyncio.ensure_future(behave(side))
    stop = asyncio.ensure_future(stopped.wait())
    await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        await work
        await stop
    # Again and again: `wait_for` of Python 3.11 swallows a cancellation that arrives together with the answer.
    this = asyncio.current_task()
    while others := [each for each in asyncio.all_tasks() if each is not this]:
        for each in others:
            each.cancel()
        await asyncio.wait(others, timeout=0.1)


if __name__ == "__main__":
    main()
