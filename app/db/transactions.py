"""Transactions: who begins and commits one, what is tried again after a deadlock, what is called after a commit.

A function of `app/db/statements/` runs in the transaction of its caller, or begins one of its own (`atomically`).
"""

import functools
import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, Protocol, TypeVar

from billiard.exceptions import SoftTimeLimitExceeded
from sqlalchemy import Connection, Engine, Executable, Result, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, SessionTransaction

from app.db.connections import of
from app.db.outage import is_deadlock
from app.db.session import group_engine

logger = logging.getLogger(__name__)

T = TypeVar("T")
P = ParamSpec("P")
# An execution option: PostgreSQL's settings (name to value) while a prepared statement runs. Other engines have none.
SET_LOCAL = "task_service_set_local"
_BRIEFLY = 0.2  # seconds


class OwnConnection:
    """A connection on which each function's statements are a transaction of their own: `atomically` begins it.

    In the place of the prepared statements that PostgreSQL runs in autocommit.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def execute(self, statement: Executable, parameters: Any = None) -> "Rows":
        """One statement, committed."""
        return atomically(self, lambda db: Rows(db.execute(statement, parameters)))


class Rows:
    """The rows of a statement, read before its transaction has ended."""

    def __init__(self, result: Result[Any]) -> None:
        self._rows = list(result.all()) if getattr(result, "returns_rows", True) else []

    def all(self) -> list[Any]:
        return self._rows

    def one_or_none(self) -> Any:
        if len(self._rows) > 1:
            raise ValueError(f"{len(self._rows)} rows where there is one at most")
        return self._rows[0] if self._rows else None


class Executes(Protocol):
    """What sends one statement: a session, a connection, or PostgreSQL's prepared one."""

    def execute(self, statement: Any, parameters: Any, /) -> Any: ...


def read_number(db: Executes, statement: Executable, parameters: Mapping[str, Any]) -> int | None:
    """Return the one number that the statement reads, if any."""
    (number,) = db.execute(statement, parameters).one_or_none() or (None,)
    return None if number is None else int(number)


Executor = Session | Connection | OwnConnection
Transaction = Session | Connection


def atomically(db: Executor, work: Callable[[Transaction], T]) -> T:
    """Return what `work` returns, run in one transaction.

    That of the caller where `db` is in one, as a session always is: the caller commits. Else a new one, which is
    committed here, and tried again after a deadlock. So `work` must be safe to run twice.
    """
    connection = db.connection if isinstance(db, OwnConnection) else db
    if isinstance(connection, Session) or connection.in_transaction():
        return work(connection)

    def transaction() -> T:
        with connection.begin():
            return work(connection)

    return retry_deadlocks(transaction)


def wait_briefly(db: Session) -> None:
    """Let the statements of this transaction raise OperationalError (`is_locked`) where others keep them waiting.

    A pass must not stand still for one transaction that is not over. MySQL waits for a second. SQLite waits as always:
    there each pass would wait for the one writer.
    """
    of(str(db.get_bind().dialect.name)).limit_lock_waits(db.connection(), _BRIEFLY)


@contextmanager
def own_connection() -> Iterator[OwnConnection]:
    """A connection for several transactions in turn, none of which may be idle for long. Raises SQLAlchemy's errors."""
    source: Engine = group_engine()
    with source.connect() as connection:
        yield OwnConnection(connection)


# -- Deadlocks: what an engine rolled back for one is tried again. On InnoDB it is a matter of course ------------------
# Source: https://dev.mysql.com/doc/refman/8.4/en/innodb-deadlocks-handling.html ("always be prepared to re-issue a
# transaction").

DEADLOCK_TRIES = 5
DEADLOCK_PAUSE = 0.01  # seconds at most before the second try, twice as many before each further one


def retry_deadlocks(transaction: Callable[[], T]) -> T:
    """Return what `transaction` returns. It is safe to run twice, and is run in one, DEADLOCK_TRIES times at most."""
    for tried in range(1, DEADLOCK_TRIES + 1):
        try:
            return transaction()
        except DBAPIError as error:
            if tried == DEADLOCK_TRIES or not is_deadlock(error):
                raise
        time.sleep(random.uniform(0, DEADLOCK_PAUSE * 2**tried))  # noqa: S311 (no secret)  # nosec B311
    raise AssertionError("unreachable")


def retries_deadlocks(method: Callable[P, T]) -> Callable[P, T]:
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

        return retry_deadlocks(once)

    return call


def _is_fresh(db: Session) -> bool:
    is_of_callers = isinstance(db.bind, Connection)
    return not (is_of_callers or db.in_transaction() or db.new or db.identity_map)


# -- Callbacks that run after the outermost commit and are discarded by a rollback -------------------------------------
# SQLAlchemy's `after_commit` event also fires when a savepoint is released. So each callback is kept with the
# transaction in which it was registered, moved to the parent when a savepoint is released, and dropped when its
# transaction is rolled back.

Callback = Callable[[], None]
_AFTER_COMMIT = "after_commit"


def after_commit(db: Session, callback: Callback) -> None:
    """Call `callback` once the session's outermost transaction has committed. The callback must not use the session.

    An error in it is logged. It reaches no caller, for whom the transaction has succeeded, and keeps no other callback
    from being called. A soft time limit, which a signal raises wherever the process is, is raised after all of them.
    """
    if not db.in_transaction():
        db.begin()
    current = db.get_nested_transaction() or db.get_transaction()
    assert current is not None
    _callbacks_of(db).append((current, callback))


def _callbacks_of(db: Session) -> list[tuple[SessionTransaction, Callback]]:
    waiting: list[tuple[SessionTransaction, Callback]] = db.info.setdefault(_AFTER_COMMIT, [])
    return waiting


@event.listens_for(Session, "after_commit")
def _on_commit(db: Session) -> None:
    waiting = db.info.get(_AFTER_COMMIT)
    if not waiting:
        return
    nested = db.get_nested_transaction()
    if nested is not None:
        parent = nested.parent
        assert parent is not None
        db.info[_AFTER_COMMIT] = [(parent if owner is nested else owner, callback) for owner, callback in waiting]
        return
    del db.info[_AFTER_COMMIT]
    committed, stop = db.get_transaction(), None
    for owner, callback in waiting:
        # A transaction that was closed without commit or rollback (`session.close()`) leaves its callbacks here.
        if owner is committed:
            try:
                callback()
            except SoftTimeLimitExceeded as error:
                stop = error
            except Exception:
                logger.exception("what was to be done after a commit failed, and is not tried again")
    if stop is not None:
        raise stop


@event.listens_for(Session, "after_soft_rollback")
def _on_rollback(db: Session, previous: SessionTransaction) -> None:
    waiting = db.info.get(_AFTER_COMMIT)
    if waiting:
        db.info[_AFTER_COMMIT] = [(owner, callback) for owner, callback in waiting if not _within(owner, previous)]


def _within(owner: SessionTransaction | None, rolled_back: SessionTransaction) -> bool:
    while owner is not None:
        if owner is rolled_back:
            return True
        owner = owner.parent
    return False
