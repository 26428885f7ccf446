"""Which tasks the live workers can run: a picture that each process keeps, at most a second old where it is used.

`app/services/operations/worker_service.py` reads it from the database.
"""

import time
from collections.abc import Iterable, Mapping, Set as AbstractSet
from typing import NamedTuple

from app.core.fork import PerProcess

READ_EVERY_SECONDS = 1.0

# The names of tasks, or None for all: a worker that does not tell what it knows.
Names = AbstractSet[str] | None


class Served(NamedTuple):
    """Queues that the same tasks can run on."""

    queues: list[str]
    names: Names


class ServedTasks:
    """By queue, the names of the tasks that a live worker of this queue can run. Everything, until it is known."""

    def __init__(self) -> None:
        self._by_queue: Mapping[str, Names] | None = None
        self._read_again_at = 0.0

    def is_due(self) -> bool:
        """Return whether it is time to read the workers again. Then the caller does, and no other for a second."""
        now = time.monotonic()
        if now < self._read_again_at:
            return False
        self._read_again_at = now + READ_EVERY_SECONDS
        return True

    def learn(self, workers: Iterable[tuple[Iterable[str], Iterable[str] | None]]) -> None:
        """Take these for all live workers, each with its queues and the tasks that it knows."""
        found: dict[str, Names] = {}
        for queues, names in workers:
            known = None if names is None else frozenset(names)
            for queue in queues:
                before = found.get(queue, frozenset())
                found[queue] = None if known is None or before is None else before | known
        self._by_queue = found

    def names(self, queue: str) -> Names:
        """Return the tasks that can run there, none where no worker serves the queue; None for all."""
        return None if self._by_queue is None else self._by_queue.get(queue, frozenset())

    def can_run(self, queue: str, name: str) -> bool:
        """Return whether a live worker serves the queue and knows the task."""
        names = self.names(queue)
        return names is None or name in names

    def is_served(self, queue: str) -> bool:
        """Return whether a live worker serves the queue."""
        return self._by_queue is None or queue in self._by_queue

    def served(self) -> list[Served] | None:
        """Return the queues with the tasks served there, for a condition on many; None where nothing is known yet."""
        if self._by_queue is None:
            return None
        groups: dict[Names, list[str]] = {}
        for queue, names in self._by_queue.items():
            groups.setdefault(names, []).append(queue)
        return [Served(queues, names) for names, queues in groups.items()]


served_tasks: PerProcess[ServedTasks] = PerProcess(ServedTasks)
