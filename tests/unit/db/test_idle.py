"""Telling a living idle connection from a dead one, on real sockets."""

import os
import socket
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, text

from app.db.connections.pool import is_usable, replace_dead_connections


class Connection:
    """A driver's connection, as far as the check looks at it."""

    def __init__(self, own: socket.socket) -> None:
        self.own = own

    def fileno(self) -> int:
        if self.own.fileno() < 0:
            raise sqlite3.InterfaceError("connection already closed")
        return self.own.fileno()


class Pair:
    """The two ends of a TCP connection."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.own = socket.create_connection(listener.getsockname())
            self.server = listener.accept()[0]
        self.connection = Connection(self.own)

    def reset(self) -> None:
        self.server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.server.close()

    def is_usable(self, idle_seconds: float = 0, max_idle_seconds: float = 60) -> bool:
        return is_usable(self.connection, time.monotonic() - idle_seconds, max_idle_seconds)


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    yield made
    made.own.close()
    made.server.close()


class TestAConnection:
    def test_is_usable_while_nothing_waits_on_it(self, pair: Pair) -> None:
        assert pair.is_usable()

    @pytest.mark.parametrize(
        "end",
        [
            lambda pair: pair.server.close(),
            lambda pair: pair.reset(),
            lambda pair: pair.server.sendall(b"FATAL: terminating connection due to administrator command"),
            lambda pair: pair.own.close(),
        ],
        ids=["closed by the server", "reset by the server", "with a last message", "closed by the driver"],
    )
    def test_is_dead(self, pair: Pair, end: Callable[[Pair], None]) -> None:
        end(pair)
        assert not pair.is_usable()

    def test_is_not_used_again_after_a_long_time(self, pair: Pair) -> None:
        assert pair.is_usable(idle_seconds=59)
        assert not pair.is_usable(idle_seconds=61)

    @pytest.mark.skipif(sys.platform == "win32", reason="descriptors and sockets differ there")
    def test_may_have_a_descriptor_that_select_does_not_take(self, pair: Pair) -> None:
        import resource

        high = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1100) - 1
        with socket.socket(fileno=os.dup2(pair.own.fileno(), high)) as moved:
            pair.connection = Connection(moved)
            assert pair.is_usable()
            pair.server.close()
            assert not pair.is_usable()

    def test_of_a_driver_without_descriptors_is_not_checked(self) -> None:
        engine = create_engine("sqlite://")
        with engine.connect() as connection:
            assert is_usable(connection.connection.dbapi_connection, time.monotonic() - 61, 60)
        engine.dispose()


def test_an_engine_of_any_database_takes_the_check() -> None:
    engine = create_engine("sqlite://")
    replace_dead_connections(engine, 60)
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE kept (id int)"))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM kept")).scalar() == 0
    engine.dispose()
