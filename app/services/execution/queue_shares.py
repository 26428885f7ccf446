"""Shares of the queues in what a process starts, instead of strict order: start-time fair queueing by starts.

Goyal, Vin, Cheng: Start-Time Fair Queueing (SIGCOMM 1996); with one server it is Waldspurger's stride scheduling.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from app.catalogue import known_queues, read_tasks
from app.core.config import ConfigurationError

# Of a queue that the setting does not name.
UNNAMED = 1


def check_queue_shares(shares: Mapping[str, int]) -> None:
    """Raise ConfigurationError if QUEUE_SHARES names a queue to which no task goes.

    Nothing is refused while a module of tasks is left out: the queue may be one of its own.
    """
    unknown = sorted(set(shares) - known_queues())
    if unknown and not read_tasks()[1]:
        known = ", ".join(sorted(known_queues()))
        raise ConfigurationError(f"configuration: QUEUE_SHARES: no queue {unknown[0]} (there are {known})")


class QueueShares:
    """Of one process: which of its queues is served next.

    A queue's tag is when its next start is due, in starts divided by its share. The clock is the tag with which the
    last claim began: an empty queue gives its share away, and has saved nothing up when tasks come in.
    """

    def __init__(self, queues: Sequence[str], shares: Mapping[str, int]) -> None:
        """`queues` are in the order in which those are served whose turns are equal."""
        self._tags = dict.fromkeys(queues, 0.0)
        self._shares = {queue: shares.get(queue, UNNAMED) for queue in self._tags}
        self._clock = 0.0

    def order(self) -> list[str]:
        """The queues, the one whose turn it is first. The next one stands in for each that has nothing ready."""
        return sorted(self._tags, key=lambda queue: max(self._tags[queue], self._clock))

    def started(self, queues: Iterable[str]) -> None:
        """One claim took tasks of these queues, in this order; a queue for each task."""
        for queue, number in Counter(queues).items():
            self._clock = max(self._tags[queue], self._clock)
            self._tags[queue] = self._clock + number / self._shares[queue]
