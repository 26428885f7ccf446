"""Short tasks without a pause while a fault happens, each created by a client that takes nothing but a 201."""

import itertools
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.support.faults.scene import Scene

# Most are over at once, some are under way whenever something happens.
LENGTHS = (0.0, 0.05, 0.02, 0.2, 0.0, 0.1, 1.0)
PACE_SECONDS = 0.08


@contextmanager
def load(scene: Scene, lengths: Sequence[float] = LENGTHS, **fields: Any) -> Iterator[list[str]]:
    """The ids, growing until the block is left. What goes wrong in the meantime is raised then."""
    ids: list[str] = []
    errors: list[BaseException] = []
    over = threading.Event()

    def create() -> None:
        try:
            for seconds in itertools.cycle(lengths):
                if over.wait(PACE_SECONDS):
                    return
                ids.append(scene.work(seconds=seconds, fields=fields))
        except BaseException as error:  # noqa: BLE001 (raised below, where the test sees it)
            errors.append(error)

    client = threading.Thread(target=create, name="load")
    client.start()
    try:
        yield ids
    finally:
        over.set()
        client.join(60)
    if errors:
        raise errors[0]
