"""What `performance_test.py` has the service run, loaded with TASK_MODULES: bodies that do nothing but tell the time."""

import time
from collections.abc import Callable
from typing import Any

from app.celery_app import celery_app
from tests.support.ledger import append_line

CHUNK = 2_000
STEPS_AT_ONCE = 100
EMITTED, CHUNK_OF_OUTPUT = 100_000, "x" * 100


@celery_app.task(name="measured.noop")
def noop() -> None:
    """Nothing."""


@celery_app.task(name="measured.stamp")
def stamp(path: str) -> None:
    """Say when the first line of the body ran, by the machine's clock."""
    append_line(path, repr(time.time()))


@celery_app.task(name="measured.nap")
def nap(seconds: float) -> None:
    """Take up a worker's slot for so long."""
    time.sleep(seconds)


@celery_app.task(bind=True, name="measured.tick")
def tick(self: Any, steps: int, pause: float) -> None:
    """Report the time, and wait, again and again: each report is written at once where the pause is long enough."""
    for step in range(steps):
        time.sleep(pause)
        self.update_progress(step * 100 // steps, {"step": step, "time": time.time()})


@celery_app.task(bind=True, name="measured.tight")
def tight(self: Any, seconds: float) -> dict[str, float]:
    """A tight loop with a progress report in it, with one that has a detail, and without any: nanoseconds a turn.

    And EMITTED chunks of 100 bytes of output: of this thread's CPU.
    """
    detail = {"step": 1}
    ways: dict[str, Callable[[], None]] = {
        "without": lambda: None,
        "percent": lambda: self.update_progress(50),
        "detail": lambda: self.update_progress(50, detail),
    }
    turns = {name: _nanoseconds_a_turn(call, seconds) for name, call in ways.items()}
    begun = time.thread_time_ns()
    for _ in range(EMITTED):
        self.emit(CHUNK_OF_OUTPUT)
    turns["emit"] = (time.thread_time_ns() - begun) / EMITTED
    self.update_progress(77, {"last": True})
    return turns


@celery_app.task(bind=True, name="measured.steps")
def steps(self: Any, number: int) -> dict[str, list[float]]:
    """So many steps, and as many reports of progress between them, STEPS_AT_ONCE of each in turn: the seconds of each STEPS_AT_ONCE.

    Where the interval of progress is as good as none, each report is committed alone, as each step is.
    """
    seconds: dict[str, list[float]] = {"progress": [], "step": []}
    for first in range(0, number, STEPS_AT_ONCE):
        begun = time.perf_counter()
        for each in range(STEPS_AT_ONCE):
            self.update_progress(50, {"rows": each})
        between = time.perf_counter()
        for each in range(STEPS_AT_ONCE):
            self.step(f"step {first + each}", dict, rows=each)
        seconds["progress"].append(between - begun)
        seconds["step"].append(time.perf_counter() - between)
    return seconds


def _nanoseconds_a_turn(call: Callable[[], None], seconds: float) -> float:
    turns, begun = 0, time.perf_counter_ns()
    end = begun + int(seconds * 1e9)
    while time.perf_counter_ns() < end:
        for _ in range(CHUNK):
            call()
        turns += CHUNK
    return (time.perf_counter_ns() - begun) / turns
