"""Draining a queue that was filled before: how fast, and with how much CPU."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis

from tests.performance.bench import Bench
from tests.support.running import messages
from tests.support.stack import Part, Stack

SETTLED = 0.9  # what a worker does first, when its children are still young, is left out
POLL_SECONDS = 0.02
LIMIT_SECONDS = 1800.0
ENDED = "SELECT count(*) FROM tasks WHERE status IN ('pending', 'running')"


@dataclass
class Drained:
    """`cpu` is seconds of CPU by part, over the same tasks as `seconds`."""

    tasks: int
    seconds: float
    cpu: dict[str, float]
    moments: list[tuple[float, int]]  # when how many still waited

    @property
    def per_second(self) -> float:
        return self.tasks / self.seconds

    def microseconds(self) -> dict[str, float]:
        return {name: 1e6 * value / self.tasks for name, value in self.cpu.items()}


def drain(
    bench: Bench, broker: "Redis", queue: str, count: int, worker: Part, ended: Callable[[], bool] = lambda: True,
    look: Callable[[], None] = lambda: None,
) -> Drained:  # fmt: skip
    """From the moment when a tenth is gone until nothing waits and what `ended` looks at is over too.

    `look` is called at both ends.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while (waiting := messages(broker, queue)) > count * SETTLED:
        assert waiting <= count, f"{waiting} messages wait for {count} tasks: some were sent twice"
        _nap(deadline, worker)
    look()
    begun, first = time.perf_counter(), messages(broker, queue)
    meter = bench.meter(worker=worker.pid, parent=(worker.pid, False))
    moments = [(begun, first)]
    while moments[-1][1] or not ended():
        _nap(deadline, worker)
        moments.append((time.perf_counter(), messages(broker, queue)))
    seconds, cpu = time.perf_counter() - begun, meter.read()
    look()
    cpu["children"] = cpu.pop("worker") - cpu["parent"]
    return Drained(first, seconds, cpu, moments)


def all_ended(stack: Stack) -> Callable[[], bool]:
    """Whether no row is pending or running any more."""
    return lambda: stack.sql(ENDED)[0][0] == 0


def _nap(deadline: float, worker: Part) -> None:
    assert worker.running, f"{worker.name} ended:\n{worker.tail()}"
    assert time.monotonic() < deadline, f"{worker.name} still has a queue after {LIMIT_SECONDS:g} s:\n{worker.tail()}"
    time.sleep(POLL_SECONDS)
