"""Tasks that a client creates without a pause while a fault happens."""

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from tests.support.faults.scene import Scene

# Most are over at once, some are under way whenever something happens.
LENGTHS = (0.0, 0.05, 0.02, 0.2, 0.0, 0.1, 1.0)
PACE_SECONDS = 0.08


@contextmanager
def repeated(act: Callable[[], object], pause: Callable[[], float]) -> Iterator[None]:
    """Call `act` in a thread again and again until the block is left, which raises what went wrong in it."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(pause()):
            act()

    with ThreadPoolExecutor(1, "load") as thread:
        running = thread.submit(run)
        try:
            yield
        finally:
            over.set()
            running.result()


@contextmanager
def load(scene: Scene, lengths: Sequence[float] = LENGTHS, **fields: Any) -> Iterator[list[str]]:
    """The ids, growing until the block is left. Every answer has to be a 201."""
    ids: list[str] = []
    seconds = itertools.cycle(lengths)
    with repeated(lambda: ids.append(scene.work(seconds=next(seconds), fields=fields)), lambda: PACE_SECONDS):
        yield ids
