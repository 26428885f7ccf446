"""Connections of each pool, and the worker's own one: used again while they live, replaced where they died idle."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from sqlalchemy import Engine, create_engine, func, select, text
from sqlalchemy.pool import NullPool

from app.db.session import autocommit_engine, engine, group_engine
from app.db.sql import prepared
from tests.support.databases import ENGINE
from tests.support.faults.proxy import TcpProxy
from tests.support.services import Services, sqlalchemy_url
from tests.support.settings import on_new_database, settings
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite has no server")

PID = select(func.pg_backend_pid() if ENGINE == "postgresql" else func.connection_id())
SHORT_SECONDS = 0.3


def by_pool(pool: Callable[[], Engine]) -> Callable[[], int]:
    def ask() -> int:
        with pool().connect() as connection:
            return int(connection.scalar(PID))

    return ask


def by_worker() -> int:
    with prepared.prepared_connection() as connection:
        return int(connection.execute(PID, {}).all()[0][0])


@pytest.fixture(
    params=[by_pool(engine), by_pool(autocommit_engine), by_pool(group_engine), by_worker],
    ids=["engine", "autocommit", "group", "worker"],
)
def ask(request: pytest.FixtureRequest) -> Callable[[], int]:
    """The process id of the backend that answers, asked through one of the ways to the database."""
    return request.param


class Server:
    """The test's own way to the server, past proxy and application."""

    def __init__(self, url: str) -> None:
        self._engine = create_engine(sqlalchemy_url(url), poolclass=NullPool, isolation_level="AUTOCOMMIT")

    def terminate(self, pid: int) -> None:
        """Returns once the server has begun to end it."""
        self._ask(f"SELECT pg_terminate_backend({pid}, 10000)" if ENGINE == "postgresql" else f"KILL {pid}")

    def is_idle_for(self, pid: int, seconds: float) -> bool:
        age = f"SELECT clock_timestamp() - state_change FROM pg_stat_activity WHERE pid = {pid}"
        if ENGINE == "postgresql":
            return bool(self._ask(f"SELECT ({age}) > interval '{seconds} s'"))
        milliseconds = "time_ms" if ENGINE == "mariadb" else "1000 * (time - 1)"  # MySQL tells whole seconds
        found = f"SELECT {milliseconds} > {seconds * 1000} FROM information_schema.processlist WHERE id = {pid}"
        return bool(self._ask(found))

    def _ask(self, statement: str) -> object:
        with self._engine.connect() as connection:
            result = connection.execute(text(statement))
            return result.scalar() if result.returns_rows else None


@pytest.fixture
def server(services: Services) -> Server:
    return Server(services.database_url("postgres" if ENGINE == "postgresql" else "mysql"))


@pytest.fixture
def connect(services: Services) -> Iterator[Callable[..., TcpProxy]]:
    """`connect(SETTING="…")`: the application reaches a database of its own through the proxy that it returns."""
    with TcpProxy("127.0.0.1", services.database.port) as proxy, ExitStack() as opened:

        def start(**more: str) -> TcpProxy:
            name = opened.enter_context(on_new_database(services, **more))
            opened.enter_context(settings({"DATABASE_URL": proxy.through(services.database_url(name))}))
            return proxy

        yield start


def test_a_living_connection_is_used_again(connect: Callable[..., TcpProxy], ask: Callable[[], int]) -> None:
    connect()
    assert len({ask() for _ in range(5)}) == 1


def test_a_terminated_one_is_replaced(connect: Callable[..., TcpProxy], ask: Callable[[], int], server: Server) -> None:
    proxy = connect()
    first = ask()
    server.terminate(first)
    wait_for(lambda: not proxy.links, 10, "the proxy to hear of it")
    assert ask() != first


def test_one_that_was_reset_is_replaced(connect: Callable[..., TcpProxy], ask: Callable[[], int]) -> None:
    proxy = connect()
    first = ask()
    proxy.cut()
    assert ask() != first


def test_one_that_was_idle_for_long_is_replaced_although_it_seems_alive(
    connect: Callable[..., TcpProxy], ask: Callable[[], int], server: Server
) -> None:
    """A proxy that lost its server acknowledges keepalive probes and answers nothing."""
    proxy = connect(DATABASE_MAX_IDLE_SECONDS=str(SHORT_SECONDS))
    first = ask()
    proxy.forget(acknowledged=True)
    wait_for(lambda: server.is_idle_for(first, SHORT_SECONDS + 0.1), 10, "the connection to have been idle for long")
    assert ask() != first
