"""Draining a queue that was filled before: how fast, and with how much CPU."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from redis import Redis

from tests.performance.bench import Bench
from tests.support.running import messages
from tests.support.stack import Part, Stack

# What a worker does first, when its children are still young, is left out: a tenth, or so many of a long backlog.
SETTLED, SETTLED_TASKS = 0.9, 1_000
POLL_SECONDS = 0.02
# Of the time: to count a long backlog takes milliseconds of the server that is measured. A short one ends too soon.
POLL_SHARE, LONG = 0.02, 10_000
LIMIT_SECONDS = 1800.0
# Marked, so that `counts.py` leaves these looks out.
LOOK = "/* a look of the measurement */"
ENDED = f"SELECT {LOOK} count(*) FROM tasks WHERE status IN ('pending', 'running')"
PENDING = f"SELECT {LOOK} count(*) FROM tasks WHERE status = 'pending'"


@dataclass
class Drained:
    """`cpu` is seconds of CPU by part, over the same tasks as `seconds`."""

    tasks: int
    seconds: float
    cpu: dict[str, float]

    @property
    def per_second(self) -> float:
        return self.tasks / self.seconds

    def microseconds(self) -> dict[str, float]:
        return {name: 1e6 * value / self.tasks for name, value in self.cpu.items()}

    @property
    def cost(self) -> float:
        """CPU microseconds of a task in the workers and both servers."""
        each = self.microseconds()
        return sum(each[part] for part in ("parent", "children", "PostgreSQL", "broker"))


def drain(
    bench: Bench, waiting: Callable[[], int], count: int, workers: Sequence[Part],
    ended: Callable[[], bool] = lambda: True, look: Callable[[], None] = lambda: None, seconds: float = LIMIT_SECONDS,
) -> Drained:  # fmt: skip
    """From the moment when a tenth is gone, or SETTLED_TASKS, until nothing waits and what `ended` looks at is over too.

    Ends after `seconds` at the latest, and then counts what is gone. `look` is called at both ends.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while (left := waiting()) > max(count * SETTLED, count - SETTLED_TASKS):
        assert left <= count, f"{left} wait of {count}"
        _nap(deadline, workers)
    look()
    begun, first = time.perf_counter(), waiting()
    parts = {f"{name} {at}": who for at, each in enumerate(workers) for name, who in _parts(each).items()}
    meter = bench.meter(**parts)
    looked, left, took = begun, first, 0.0
    while looked < begun + seconds and (left or not ended()):
        _nap(deadline, workers, took / POLL_SHARE if left > LONG else 0.0)
        looked = time.perf_counter()
        left = waiting()
        took = time.perf_counter() - looked
    spent, cpu = looked - begun, meter.read()
    look()
    cpu["parent"] = sum(cpu.pop(f"parent {at}") for at in range(len(workers)))
    cpu["children"] = sum(cpu.pop(f"worker {at}") for at in range(len(workers))) - cpu["parent"]
    return Drained(first - left, spent, cpu)


def _parts(worker: Part) -> dict[str, int | tuple[int, bool]]:
    return {"worker": worker.pid, "parent": (worker.pid, False)}


def in_broker(broker: "Redis", queue: str) -> Callable[[], int]:
    """How many messages wait in the queue."""
    return lambda: messages(broker, queue)


def pending(stack: Stack) -> Callable[[], int]:
    """How many rows are pending."""
    return lambda: int(stack.sql(PENDING)[0][0])


def all_ended(stack: Stack) -> Callable[[], bool]:
    """Whether no row is pending or running any more."""
    return lambda: stack.sql(ENDED)[0][0] == 0


def _nap(deadline: float, workers: Sequence[Part], seconds: float = 0.0) -> None:
    for worker in workers:
        assert worker.running, f"{worker.name} ended:\n{worker.tail()}"
        late = f"{worker.name} still has a queue after {LIMIT_SECONDS:g} s:\n{worker.tail()}"
        assert time.monotonic() < deadline, late
    time.sleep(max(POLL_SECONDS, seconds))
