"""A pool of SQLite connections in a process that forks: at that moment it has none open.

SQLite notes for each file, in memory, which locks its process holds. A child inherits the note without the locks. Were
its parent within a transaction, the child would take the file for locked by itself, and could never write.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection, QueuePool
from sqlalchemy.util.queue import Empty

# How long a fork waits for what other threads do with their connections. A statement has a time limit of its own.
WAIT_SECONDS = 60.0

logger = logging.getLogger(__name__)


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
            if not self._changed.wait_for(lambda: {*self._users()} <= {me}, WAIT_SECONDS):
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
