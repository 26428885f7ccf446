"""Measures the modest client without and with the greedy client, by turns."""

import asyncio
import math
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

from tests.load.greedy import Behaviour, Side, greedy_client
from tests.performance.processes import memory
from tests.performance.wire import Connection, Request
from tests.support.accounts import API
from tests.support.loopback import loopback
from tests.support.stack import Stack
from tests.support.tasks import LONG_RUNNING

# A machine that others use disturbs single rounds: only a ratio that stays beyond the bound is believed.
ROUNDS = 2
MOST_ROUNDS = 12
MOST_SECONDS = 70.0
REQUESTS = 100
# The modest client asks fifty times a second, and on a slow machine once in `PACE_ANSWERS` times what an answer takes
# without the greedy client. Else its own requests queue behind each other, and the queue is measured.
PACE_SECONDS = 0.02
PACE_ANSWERS = 8
SAMPLE_SECONDS = 0.05
PERCENTILE = 0.99
# What the modest client feels may be so many times what it feels without the greedy one.
BOUND = 3.0
# Beside a client that keeps the process's one core, or the machine's network, busy without a pause. Such a client takes
# the p99 of another process of the same machine to 1.5 to 2.8 times, too.
BUSY_BOUND = 6.0


@dataclass
class Comparison:
    """Latencies in seconds. `taken` is what the greedy client counted; `peak_mib` the API process's memory beside it."""

    quiet: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    taken: Counter[str] = field(default_factory=Counter)
    base_mib: float = 0.0
    peak_mib: float = 0.0

    @property
    def ratio(self) -> float:
        """The median over the rounds of p99 with over p99 without the greedy client."""
        return statistics.median(with_ / without for with_, without in zip(self.beside, self.quiet, strict=True))

    @property
    def rounds(self) -> int:
        return len(self.quiet)

    def __str__(self) -> str:
        spans = ", ".join(
            f"{1000 * without:.1f} → {1000 * with_:.1f} ms"
            for without, with_ in zip(self.quiet, self.beside, strict=True)
        )
        taken = ", ".join(f"{what}: {number}" for what, number in sorted(self.taken.items()))
        return (
            f"p99 × {self.ratio:.2f} ({spans}); memory {self.base_mib:.0f} → {self.peak_mib:.0f} MiB; greedy: {taken}"
        )


class Duel:
    """One API process and two users of it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.greedy = stack.api(stack.make_user()[1])
        self.modest = stack.api(stack.make_user()[1])
        self.address = loopback(stack.url)
        self.pid = stack.server().pid

    def token(self, *, greedy: bool) -> str:
        client = self.greedy if greedy else self.modest
        return client.headers["Authorization"].removeprefix("Bearer ")

    def modest_get(self) -> Request:
        """A task of the modest user, asked for by its id."""
        body = {"name": "modest", "task_type": "load", "celery_task_name": LONG_RUNNING, "args": [1]}
        answer = self.modest.post(f"{API}/tasks/", json=body)
        assert answer.status_code == 201, answer.text
        return self.modest_request("GET", f"{API}/tasks/{answer.json()['id']}")

    def modest_request(self, method: str, path: str, body: bytes = b"") -> Request:
        return Request(method, path, body, token=self.token(greedy=False))

    def compare(self, behave: Behaviour, request: Request, *, bound: float = BOUND, **given: Any) -> Comparison:
        """Both clients by turns; `given` is handed to the behaviour. Each answer to the modest client must be a 2xx.

        Asks on while the ratio is above `bound`, for MOST_ROUNDS or MOST_SECONDS.
        """
        seen = Comparison(base_mib=memory(self.pid)["rss"])
        pace = max(PACE_SECONDS, PACE_ANSWERS * statistics.median(self._latencies(request, PACE_SECONDS)))
        until = time.monotonic() + MOST_SECONDS
        while seen.rounds < ROUNDS or (seen.ratio > bound and seen.rounds < MOST_ROUNDS and time.monotonic() < until):
            seen.quiet.append(self._percentile(request, pace))
            side = Side(self.address, self.token(greedy=True), given)
            with greedy_client(behave, side) as taken, self._peak(seen):
                self._latencies(request, pace, REQUESTS // 2)  # until the greedy client is at it
                seen.beside.append(self._percentile(request, pace))
            seen.taken += taken
        return seen

    def _percentile(self, request: Request, pace: float) -> float:
        latencies = sorted(self._latencies(request, pace))
        return latencies[math.ceil(PERCENTILE * len(latencies)) - 1]

    def _latencies(self, request: Request, pace: float, number: int = REQUESTS) -> list[float]:
        return asyncio.run(_ask_steadily(self.stack, request, pace, number))

    @contextmanager
    def _peak(self, seen: Comparison) -> Iterator[None]:
        """Follow the API process's memory during the block."""
        over = Event()

        def follow() -> None:
            while not over.wait(SAMPLE_SECONDS):
                seen.peak_mib = max(seen.peak_mib, memory(self.pid)["rss"])

        follower = Thread(target=follow)
        follower.start()
        try:
            yield
        finally:
            over.set()
            follower.join()


async def _ask_steadily(stack: Stack, request: Request, pace: float, number: int) -> list[float]:
    """A request each `pace` seconds, or as soon as the last one is answered; latencies in seconds.

    A request that had to wait for a late answer counts from when it was due, else one long answer would hide many.
    """
    connection = Connection(loopback(stack.url))
    latencies: list[float] = []
    due = time.perf_counter()
    for _ in range(number):
        early = due - time.perf_counter()
        if early > 0:
            await asyncio.sleep(early)
        sent = time.perf_counter() if early > 0 else due
        answer = await connection.ask(request)
        assert answer.status // 100 == 2, answer
        latencies.append(time.perf_counter() - sent)
        due += pace
    await connection.close()
    return latencies
