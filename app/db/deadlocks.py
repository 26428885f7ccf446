"""Repeats what an engine rolled back since two transactions waited for each other: on InnoDB a matter of course.

Source: https://dev.mysql.com/doc/refman/8.4/en/innodb-deadlocks-handling.html ("always be prepared to re-issue a
transaction").
"""

import functools
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db.outage import is_deadlock

T = TypeVar("T")
P = ParamSpec("P")
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


def repeated_with_a_fresh_session(method: Callable[P, T]) -> Callable[P, T]:
    """Repeat a service's method, which is one transaction of the session `db`, after a deadlock.

    Only where the session has had nothing to do before: what its caller did in the same transaction is undone as well,
    and the rollback expires the objects that he has of it.
    """

    @functools.wraps(method)
    def call(*args: P.args, **named: P.kwargs) -> T:
        db = named.get("db", args[1] if len(args) > 1 else None)
        if not isinstance(db, Session) or not _is_fresh(db):
            return method(*args, **named)

        def once() -> T:
            try:
                return method(*args, **named)
            except DBAPIError:
                db.rollback()
                raise

        return repeated(once)

    return call


def _is_fresh(db: Session) -> bool:
    is_of_callers = isinstance(db.bind, Connection)
    return not (is_of_callers or db.in_transaction() or db.new or db.identity_map)
