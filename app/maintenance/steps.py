"""Works off what requests have accepted to be done later: in each round, a step for each user who has any of it."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.outage import first_line, is_outage, is_passing

logger = logging.getLogger(__name__)

# After each batch, for this share of the time that it took, the database works for others alone.
REST = 0.5


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
                stopping.wait(REST * (time.monotonic() - begun))
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
