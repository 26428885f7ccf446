"""Statements that wait for a lock of another transaction, seen from outside; and such as must not wait."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.support.databases import DIALECT, ENGINE
from tests.support.settings import sql
from tests.support.waiting import wait_for

_WAITING = {
    "postgresql": (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    ),
    # Of all databases. `innodb_trx` would be out of date: whoever reads it more often than each 100 ms reads a cache.
    "mysql": "SHOW GLOBAL STATUS LIKE 'innodb_row_lock_current_waits'",
}
# SQLite does not tell who waits: after this time they do.
_SQLITE_SECONDS = 1.0
# For tests of two transactions that write at the same time.
needs_row_locks = pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite has one writer at a time")


def await_lock_waits(number: int, what: str) -> None:
    """Return once so many statements wait on the database that this process's settings name."""
    if ENGINE == "sqlite":
        time.sleep(_SQLITE_SECONDS)
    else:
        wait_for(lambda: int(sql(_WAITING[DIALECT])[0][-1]) == number, 30, what)


def fail_soon_where_locked(db: Session) -> None:
    """Have statements of this session fail that wait for a lock: after 2 seconds, or as late as any other."""
    if ENGINE == "postgresql":
        db.execute(text("SET lock_timeout = '2s'"))


def after_the_commit(one: Session, action: Callable[[], Any]) -> Any:
    """What the action returns, which has to wait for the transaction of `one`."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(action)
        try:
            await_lock_waits(1, "the other transaction to wait")
        finally:
            one.commit()
        return answer.result(30)
