"""Connections to SQLite: a write-ahead log, foreign keys, one writer at a time, and a time limit for statements.

A transaction begins at its first write or FOR UPDATE, with BEGIN IMMEDIATE: it waits for the one writer before it reads
what it will change. Reads before that are not part of a transaction, as under READ COMMITTED: each sees what is
committed, and none holds the writer up.
"""

import hashlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, event
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool
from sqlalchemy.util.queue import Empty

from app.core.config import Settings
from app.db.connections.pool import undo_at_return, until_return

logger = logging.getLogger(__name__)

AUTOCOMMIT: dict[str, Any] = {}
ALWAYS_AUTOCOMMIT: dict[str, Any] = {}

# FULL: a commit survives a loss of power, as on the other engines.
_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "recursive_triggers = OFF")
_STEPS = 10_000  # of SQLite's machine, between two looks at the clock
_DEADLINE = "task_service_deadline"


def options(settings: Settings, idle_ms: int | None) -> dict[str, Any]:
    """Return what `create_engine` needs."""
    del idle_ms  # a process that ends lets go of its locks; one that is frozen keeps them (docs/servers.md)
    return {
        "poolclass": ForkablePool,
        "connect_args": {
            # How long a writer waits for the other one.
            "timeout": settings.database_statement_timeout_seconds,
            "check_same_thread": False,
            "isolation_level": None,
        },
    }


def prepare(engine: Engine, settings: Settings, idle_ms: int | None) -> None:
    """Set up each new connection, and begin transactions as the module says."""
    del idle_ms
    event.listen(engine, "connect", partial(_set_up, settings.database_statement_timeout_seconds))
    event.listen(engine, "before_cursor_execute", _begin)
    undo_at_return(engine)


def limit_statements(connection: Connection, seconds: float) -> None:
    """Stop each further statement after so long, until the connection goes back to its pool."""
    deadline: _Deadline = connection.info[_DEADLINE]
    until_return(connection, partial(deadline.undo, deadline.seconds))
    deadline.seconds = seconds


def limit_lock_waits(connection: Connection, seconds: float) -> None:
    """Nothing: a writer waits for the one that writes, whatever either of them writes to."""
    del connection, seconds


@contextmanager
def brief_lock_waits(connection: Connection, seconds: float) -> Iterator[None]:
    """Let a transaction that begins in here wait no longer for the one writer. Raises OperationalError."""
    usual = connection.exec_driver_sql("PRAGMA busy_timeout").scalar_one()
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {int(seconds * 1000)}")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {usual}")


def _set_up(statement_seconds: float, connection: Any, record: Any) -> None:
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    connection.create_function("sha256_hex", 1, _sha256_hex, deterministic=True)
    connection.create_function("lower_case", 1, _lower_case, deterministic=True)
    record.info[_DEADLINE] = deadline = _Deadline(statement_seconds)
    connection.set_progress_handler(deadline.has_passed, _STEPS)


def _sha256_hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _lower_case(text: str) -> str:
    """Letter by letter, as PostgreSQL's lower(): that of SQLite leaves all but ASCII as it is."""
    return text.lower() if text.isascii() else "".join(map(str.lower, text.replace("İ", "i")))


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._at = float("inf")

    def begin(self) -> None:
        self._at = time.monotonic() + self.seconds

    def undo(self, seconds: float, _connection: Any) -> None:
        self.seconds = seconds

    def has_passed(self) -> bool:
        return time.monotonic() > self._at


def _begin(connection: Any, cursor: Any, _statement: str, _parameters: Any, context: Any, _many: bool) -> None:
    connection.info[_DEADLINE].begin()
    if not cursor.connection.in_transaction and _writes(context, _statement):
        cursor.execute("BEGIN IMMEDIATE")


def _writes(context: Any, statement: str) -> bool:
    compiled = getattr(context, "compiled", None)
    if compiled is None or isinstance(compiled.statement, TextClause):
        return not statement.lstrip().upper().startswith(("SELECT", "PRAGMA", "WITH", "BEGIN"))
    if getattr(compiled.statement, "is_select", False):
        return getattr(compiled.statement, "_for_update_arg", None) is not None
    return True


# -- A pool of SQLite connections in a process that forks: at that moment it has none open -----------------------------
# SQLite notes for each file, in memory, which locks its process holds. A child inherits the note without the locks.
# Were its parent within a transaction, the child would take the file for locked by itself, and could never write.

# How long a fork waits for what other threads do with their connections. A statement has a time limit of its own.
FORK_WAIT_SECONDS = 60.0


class _Forks:
    """Which threads use a connection, and whether one of them is about to fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._forker: int | None = None
        self._entering: list[int] = []
        self._owners: dict[ConnectionPoolEntry, int] = {}
        self.pools: weakref.WeakSet[ForkablePool] = weakref.WeakSet()

    @contextmanager
    def entering(self) -> Iterator[None]:
        """While a thread takes a connection. One that has none waits until a fork is over."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._forker in (None, me) or me in self._users())
            self._entering.append(me)
        try:
            yield
        finally:
            self._change(lambda: self._entering.remove(me))

    def taken(self, entry: ConnectionPoolEntry) -> None:
        self._change(lambda: self._owners.update({entry: threading.get_ident()}))

    def returned(self, entry: ConnectionPoolEntry) -> None:
        self._change(lambda: self._owners.pop(entry, None))

    def _users(self) -> list[int]:
        return [*self._entering, *self._owners.values()]

    def _change(self, change: Callable[[], object]) -> None:
        with self._changed:
            change()
            self._changed.notify_all()

    def before(self) -> None:
        """Wait for the other threads, then close what is idle. A connection of this thread stays open."""
        me = threading.get_ident()
        with self._changed:
            self._changed.wait_for(lambda: self._forker is None)
            self._forker = me
            if not self._changed.wait_for(lambda: {*self._users()} <= {me}, FORK_WAIT_SECONDS):
                logger.error("a thread uses SQLite during a fork: the child may find the database locked")
        for pool in list(self.pools):
            pool.close_idle()

    def after_in_parent(self) -> None:
        self._change(lambda: setattr(self, "_forker", None))

    def after_in_child(self) -> None:
        self.__init__()  # type: ignore[misc]  # a thread of the parent may have held the lock


_forks = _Forks()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=_forks.before, after_in_parent=_forks.after_in_parent, after_in_child=_forks.after_in_child
    )


class ForkablePool(QueuePool):
    """What `create_engine` takes as `poolclass`."""

    def connect(self) -> PoolProxiedConnection:
        """As QueuePool's, once no thread is about to fork."""
        _forks.pools.add(self)
        with _forks.entering():
            return super().connect()

    def close_idle(self) -> None:
        """Close the connections that nobody uses; others are opened when they are needed."""
        while True:
            try:
                entry = self._pool.get(False)
            except Empty:
                return
            entry.close()
            self._dec_overflow()

    def _do_get(self) -> ConnectionPoolEntry:
        entry = super()._do_get()
        _forks.taken(entry)
        return entry

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        try:
            super()._do_return_conn(record)
        finally:
            _forks.returned(record)
