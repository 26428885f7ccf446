"""Statements that must reach the database even if it is away for a while."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, TimeoutError as PoolTimeout

from app.db.outage import first_line, is_locked, is_of_broken_process, is_passing
from app.db.sql import prepared

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0

# For how many leases a finished attempt goes on trying to write its end. After an outage of the database nothing is
# rescued until one lease has passed, so a result is accepted well after the lease itself.
DELIVERY_LEASES = 10

T = TypeVar("T")


class Undeliverable(Exception):
    """The database was not reachable for as long as the statement was allowed to wait."""


def deliver(
    statement: Callable[[prepared.PreparedConnection], T],
    seconds: float,
    when_locked: Callable[[], None] = lambda: None,
) -> T:
    """Run `statement` on an autocommit connection, again and again while the database is not reachable.

    It must be safe to run twice: the reply to the first time may have been lost. Returns what it returns. Raises
    Undeliverable after `seconds`, also where this process is broken, and at once any error that a repetition would not
    mend. `when_locked` is called where another transaction holds what it needs.
    """
    deadline = time.monotonic() + seconds
    pause, broken = FIRST_PAUSE, 0
    while True:
        try:
            with prepared.prepared_connection() as connection:
                return statement(connection)
        except (DBAPIError, PoolTimeout) as error:
            if not is_passing(error):
                raise
            if is_locked(error):
                when_locked()
            broken += is_of_broken_process(error)
            if time.monotonic() + pause > deadline or broken > 1:
                raise Undeliverable(first_line(error)) from error
            logger.warning("database not reachable, trying again: %s", first_line(error))
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
