"""Leaders of the maintenance that die one after the other, where they are told to."""

import random
import time
from collections import defaultdict
from collections.abc import Sequence
from itertools import cycle

from tests.support.faults.failpoints import failpoints
from tests.support.faults.scene import Scene
from tests.support.waiting import wait_for

# A lease of the maintenance, the start of a worker, on a busy machine.
DEATH_SECONDS = 60.0


class Leaders:
    """One worker that is whole, and one that dies where it is told to, once it leads. `deaths` counts by point."""

    def __init__(self, scene: Scene, points: Sequence[dict[str, str]]) -> None:
        self._scene, self._points = scene, cycle(points)
        self.deaths: dict[str, int] = defaultdict(int)
        self.whole = scene.stack.worker(concurrency=2)

    def round(self) -> None:
        """The whole one is killed wherever it is; the other leads, and dies at the next point; a whole one follows."""
        point = next(self._points)
        once = self._scene.stack.directory / f"died-{sum(self.deaths.values())}"
        deadly = failpoints({**point, "do": "kill", "once_file": str(once)})
        # Not until it is ready: it may lead, and die, before that.
        doomed = self._scene.stack.worker(concurrency=1, env=deadly, until="[tasks]")
        time.sleep(random.uniform(0, 1))
        self.whole.kill()
        wait_for(once.exists, DEATH_SECONDS, f"a death {point['when']} {point['at']}")
        wait_for(lambda: not doomed.running, DEATH_SECONDS, "it to be dead")
        self.deaths[f"{point['when']} {point['at'].rpartition(':')[2]}"] += 1
        self.whole = self._scene.stack.worker(concurrency=2)
