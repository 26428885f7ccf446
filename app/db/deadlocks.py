"""Repeats what an engine rolled back since two transactions waited for each other: on InnoDB a matter of course.

Source: https://dev.mysql.com/doc/refman/8.4/en/innodb-deadlocks-handling.html ("always be prepared to re-issue a
transaction").
"""

import functools
import inspect
import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db.outage import is_deadlock

T = TypeVar("T")
Service = TypeVar("Service", bound=type)
TRIES = 5
PAUSE = 0.01  # seconds at most before the second try, twice as many before each further one


def repeated(transaction: Callable[[], T]) -> T:
    """What `transaction` returns, which runs in one and is safe to run twice: up to TRIES times where it deadlocks."""
    for tried in range(1, TRIES + 1):
        try:
            return transaction()
        except DBAPIError as error:
            if tried == TRIES or not is_deadlock(error):
                raise
        time.sleep(random.uniform(0, PAUSE * 2**tried))  # noqa: S311 (no secret)  # nosec B311
    raise AssertionError("unreachable")


def repeats_after_deadlock(service: Service) -> Service:
    """Repeat each public method of this class that takes a session as `db`, after a deadlock.

    Not where the session was in a transaction before: what its caller did there is undone as well, and he alone can
    repeat it.
    """
    for name, method in [*vars(service).items()]:
        if inspect.isfunction(method) and not name.startswith("_") and "db" in inspect.signature(method).parameters:
            setattr(service, name, _repeating(method))
    return service


def _repeating(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **named: Any) -> Any:
        db: Session = named["db"] if "db" in named else args[0]
        if db.in_transaction():
            return method(self, *args, **named)

        def once() -> Any:
            try:
                return method(self, *args, **named)
            except DBAPIError as error:
                if is_deadlock(error):
                    db.rollback()
                raise

        return repeated(once)

    return call
