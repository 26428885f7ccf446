"""Statements that must reach the database even if it is away for a while."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.db.direct import Direct, direct
from app.db.outage import first_line, is_passing

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0

# How much longer than the lease a finished attempt goes on trying to say so. After an outage of the database nobody
# is rescued until one lease has passed, so the result is welcome well after the lease itself.
DELIVERY_LEASES = 10

T = TypeVar("T")


class Undeliverable(Exception):
    """The database stayed away for longer than the statement was allowed to wait."""


def deliver(statement: Callable[[Direct], T], seconds: float) -> T:
    """Run `statement` on an autocommit connection, again and again while the database is away.

    Whatever it does must be safe to do twice: the reply to the first time may have been lost. Raises Undeliverable
    after `seconds`, and at once any error that would come again.
    """
    deadline = time.monotonic() + seconds
    pause = FIRST_PAUSE
    while True:
        try:
            with direct() as connection:
                return statement(connection)
        except (DBAPIError, PoolTimeout) as error:
            if not is_passing(error):
                raise
            if time.monotonic() + pause > deadline:
                raise Undeliverable(first_line(error)) from error
            logger.warning("database not reachable, trying again: %s", first_line(error))
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
