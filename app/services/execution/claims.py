"""The next tasks that a worker may run, and the shares that queues have in them (QUEUE_SHARES)."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.catalogue import known_queues, read_tasks
from app.core.config import ConfigurationError
from app.db.sql import attempts, claims as statements
from app.db.statements.pending_rows import LinesToServe, TaskNames, find_claim
from app.models.outbox import ConsumerNumber
from app.services.execution.attempts import Claim, WorkerIdentity

# A floor is the turn that was claimed so long ago, or up to twice as long: of a submit, between its look at the clock
# and its commit, pass milliseconds. In turns there is no such bound: one turn of 10,000 users is 10,000 claims.
SLACK_SECONDS = 0.1
# A row may come in below: it was committed later, or its worker gave it back. A look without floors finds it.
FULL_LOOK_SECONDS = 1.0
NO_FLOOR = (float("-inf"), UUID(int=0))


@dataclass(frozen=True)
class ReadyClaim(Claim):
    """A claimed attempt, and what a message of its own would have said. `turn` is the place that it had in its line."""

    celery_task_name: str
    celery_id: UUID
    queue: str
    priority: str
    timeout_seconds: float | None
    limit: str | None
    user_limited: bool | None
    followers: int | None
    turn: float | None = None

    @property
    def is_limited(self) -> bool:
        """Whether it has places to free: of a limit, of its user."""
        return self.limit is not None or bool(self.user_limited)

    @property
    def has_children(self) -> bool:
        """Whether others wait for it."""
        return ConsumerNumber.CHILDREN.is_in(self.followers)


class Claims:
    """Of one process: where it looks for the next rows. `lines` are queues and priorities in the order of service.

    Claims leave dead entries in the index until it is vacuumed. So each look begins a little below the
    last claim.

    `shares` are those of QUEUE_SHARES. Without any the order of the queues is strict.
    """

    def __init__(self, lines: Sequence[tuple[str, str]], shares: Mapping[str, int] | None = None) -> None:
        self._queues = [queue for queue, _ in lines]
        self._priorities = [priority for _, priority in lines]
        self._shares = QueueShares(self._queues, shares) if shares else None
        self._no_floors = [NO_FLOOR] * len(lines)
        # The last claimed turn of each line, with its row: now, when the floors were raised last, and the time before.
        self._last, self._passed, self._floors = (list(self._no_floors) for _ in range(3))
        self._full_look_at = self._raise_at = 0.0
        self._last_name = ""

    def next(
        self, db: attempts.Executor, names: TaskNames, claim_id: UUID, worker: WorkerIdentity, *, is_woken: bool = True
    ) -> list[ReadyClaim]:
        """Claim the first ready row, and as many behind it as are short; none if there is none.

        A process that was not woken for this, and goes on after its last row, looks below the floors once a second.
        """
        if self._shares:
            self._arrange(self._shares.order())
        now = time.monotonic()
        if now >= self._raise_at:
            self._raise_at = now + SLACK_SECONDS
            self._floors, self._passed = self._passed, list(self._last)
        if now < self._full_look_at and self._floors != self._no_floors:
            found = self._claim(db, names, claim_id, worker, self._floors)
            if found or not is_woken:
                return found
        self._full_look_at = now + FULL_LOOK_SECONDS
        return self._claim(db, names, claim_id, worker, self._no_floors)

    def find(self, db: attempts.Executor, claim_id: UUID, worker: WorkerIdentity) -> list[ReadyClaim]:
        """Return the claims made earlier under this id: for a caller that did not receive the reply to the COMMIT."""
        return [ReadyClaim(*row) for row in find_claim(db, claim_id, worker.id)]

    def _claim(
        self,
        db: attempts.Executor,
        names: TaskNames,
        claim_id: UUID,
        worker: WorkerIdentity,
        floors: Sequence[tuple[float, UUID]],
    ) -> list[ReadyClaim]:
        lines = LinesToServe(self._queues, self._priorities, floors)
        found = []
        # A claim locks as many rows as it may take, and one beside it takes those behind them. Of long tasks it takes
        # one, and the others must not be passed over.
        limit = names.most if self._last_name in names.short else 1
        for *values, place, turn in statements.claim_next(db, limit, lines, names, claim_id, worker):
            self._last[place - 1] = (turn, values[0])
            claim: tuple[Any, ...] = (*values, turn)
            found.append(ReadyClaim(*claim))
        if found:
            self._last_name = found[-1].celery_task_name
        if self._shares:
            self._shares.started(claim.queue for claim in found)
        return found

    def _arrange(self, queues: Sequence[str]) -> None:
        """Put the lines of these queues in this order; those of one queue stay in theirs."""
        at = sorted(range(len(self._queues)), key=lambda number: queues.index(self._queues[number]))
        self._queues = [self._queues[number] for number in at]
        self._priorities = [self._priorities[number] for number in at]
        of_lines = (self._last, self._passed, self._floors)
        self._last, self._passed, self._floors = ([each[number] for number in at] for each in of_lines)


def give_back(db: attempts.Executor, claims: Sequence[ReadyClaim]) -> None:
    """Make claimed tasks pending again whose bodies were not begun. Neither a failure nor a crash is counted."""
    # Found again after a lost reply, a claim has lost its turn: it goes to the front.
    statements.give_back(db, [(claim.id, claim.attempt, claim.turn or 0.0) for claim in claims])


# -- Shares of the queues in what a process starts, instead of strict order: start-time fair queueing by starts --------
# Goyal, Vin, Cheng: Start-Time Fair Queueing (SIGCOMM 1996); with one server it is Waldspurger's stride scheduling.

# Of a queue that the setting does not name.
UNNAMED_SHARE = 1


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
        self._shares = {queue: shares.get(queue, UNNAMED_SHARE) for queue in self._tags}
        self._clock = 0.0

    def order(self) -> list[str]:
        """Return the queues, the one whose turn it is first. The next one stands in for each that has nothing ready."""
        return sorted(self._tags, key=lambda queue: max(self._tags[queue], self._clock))

    def started(self, queues: Iterable[str]) -> None:
        """One claim took tasks of these queues, in this order; a queue for each task."""
        for queue, number in Counter(queues).items():
            self._clock = max(self._tags[queue], self._clock)
            self._tags[queue] = self._clock + number / self._shares[queue]
