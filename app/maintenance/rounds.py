"""What a pass of maintenance is, what a round gives to it, and how it takes steps of what was accepted for later."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from threading import Event
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.catalogue import known_queues
from app.core.config import Settings
from app.core.served_tasks import served_tasks
from app.db.outage import first_line, is_outage, is_passing
from app.messaging.broker import BrokerLink

logger = logging.getLogger(__name__)

EACH_ROUND: Final = 0.0
EACH_MINUTE: Final = 60.0
AT_NEXT_ROUND: Final = 0.0
# For the batches of one pass within one round, at most, and at least one batch.
BATCHES_SECONDS = 0.2


def queues() -> frozenset[str]:
    """Return the names of the queues that this process knows, and of those that live workers serve."""
    served = served_tasks().served() or []
    return frozenset(known_queues()).union(*(each.queues for each in served))


class Needs(Enum):
    """What a pass needs beside the lease."""

    DATABASE = "the database alone"
    BROKER = "the broker too: while that is away, the pass costs one line and no other waits for it"
    THREAD = "the database, for as long as it takes: it has a thread of its own, and no other pass waits for it"


@dataclass(frozen=True)
class Round:
    """One round of the process that leads."""

    settings: Settings
    silent_for: timedelta | None
    """After so long without a heartbeat a worker is lost; None while none counts as lost for its silence."""
    stopping: threading.Event
    broker: BrokerLink | None = None
    """For passes that need it."""
    leads: Callable[[], bool] = lambda: True
    """Whether this process leads still: for a pass that takes long."""

    def producer(self) -> Any:
        """kombu's producer, connected now where it is not. Raises the broker's error."""
        assert self.broker is not None, "the pass does not say that it needs the broker"
        return self.broker.producer()

    def run_batches(self, db: Session, run: Callable[[Session], int], size: int) -> float | None:
        """Run one batch after another until one is not full, for BATCHES_SECONDS. Says what a pass returns."""
        until = time.monotonic() + BATCHES_SECONDS
        while run(db) >= size:
            if time.monotonic() >= until or self.stopping.is_set():
                return AT_NEXT_ROUND
        return None


@dataclass(frozen=True)
class Pass:
    """A duty of maintenance: short transactions that may run twice, and in two processes at once."""

    name: str
    every: float
    """Seconds from one run to the next, at least."""
    needs: Needs
    run: Callable[[Session, Round], float | None]
    """Returns in how many seconds it wants to run again, where `every` is too late: AT_NEXT_ROUND if more is left."""
    has_work: Callable[[], ColumnElement[bool]] | None = None
    """The condition that there is anything to do. One statement asks for those of all passes; without one, the pass
    runs whenever its time has come. It may hold where nothing is to be done, and not the other way round."""
    between_rounds: bool = False
    """Whether it runs at the very time that it has asked for, and not at the next round only."""
    let_go: Callable[[Session], bool] = lambda _: False
    """Of a pass with a thread: ends what it has under way, as another process leads. Returns whether anything is left,
    and is then called again."""
    followed_by: "tuple[Pass, ...]" = ()
    """Of a pass with a thread: those like it for which it makes work. They need not wait for the next look."""


# -- Works off what requests have accepted to be done later: in each round, a step for each user who has any of it -----

# After each batch, for this share of the time that it took, the database works for others alone.
REST_SHARE = 0.5


@dataclass(frozen=True)
class Steps:
    """What is worked off in steps. `running`: what is left of each user; `step` returns whether anything has moved.

    `what` names a step in the log, before the id.
    """

    what: str
    running: Callable[[Session], dict[UUID, list[UUID]]]
    step: Callable[[Session, UUID], bool]
    to_stop: str
    """What its user can do, should a step fail each time."""


def take_steps(db: Session, steps: Steps, stopping: Event) -> bool:
    """Take one step for each user. Returns whether any has moved."""
    moved = False
    for ids in steps.running(db).values():
        for each in ids:
            if stopping.is_set():
                return False
            begun = time.monotonic()
            if _take_step(db, steps, each):
                moved = True
                stopping.wait(REST_SHARE * (time.monotonic() - begun))
                break  # the user's next one has its turn once this one has ended, or can do nothing
    return moved


def _take_step(db: Session, steps: Steps, this: UUID) -> bool:
    try:
        return steps.step(db, this)
    except Exception as error:
        if is_outage(error):
            raise
        if is_passing(error):
            logger.warning("%s %s is tried again: %s", steps.what, this, first_line(error))
        else:
            logger.exception("%s %s failed, and is tried again; %s", steps.what, this, steps.to_stop)
        return False
