"""Statements that outlast an outage. The engine is SQLite: what is tested is when to try again."""

import sqlite3
import time
from collections.abc import Iterator
from types import SimpleNamespace

import psycopg2
import pytest
from psycopg2 import errors
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError, TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from app.db.outage import is_outage, is_passing
from app.db.sql import prepared
from app.worker.shared import delivery
from app.worker.shared.delivery import Undeliverable, deliver
from tests.support.database_errors import said

DUPLICATE = IntegrityError("INSERT", {}, psycopg2.IntegrityError("duplicate"))


def lost() -> OperationalError:
    return OperationalError("SELECT 1", {}, psycopg2.OperationalError("server closed the connection unexpectedly"))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    made = create_engine("sqlite://", poolclass=QueuePool)
    monkeypatch.setattr(prepared, "prepared_connection", made.connect)
    monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.001)
    yield made
    assert made.pool.checkedout() == 0  # type: ignore[attr-defined]
    made.dispose()


class Statement:
    """Fails with these errors, one at each call, and then works."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.calls = 0

    def __call__(self, db: Connection) -> int:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        answer: int = db.execute(text("SELECT 42")).scalar_one()
        return answer


@pytest.mark.usefixtures("engine")
class TestDeliver:
    def test_the_answer_is_the_statements(self) -> None:
        assert deliver(Statement(), 0) == 42

    def test_it_tries_again_until_the_database_is_back(self, caplog: pytest.LogCaptureFixture) -> None:
        statement = Statement(lost(), PoolTimeout("pool"), said(errors.AdminShutdown, "57P01"))
        assert deliver(statement, 30) == 42
        assert statement.calls == 4
        assert caplog.text.count("trying again") == 3

    def test_it_gives_up_after_its_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses: list[float] = []
        clock = SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append)
        monkeypatch.setattr(delivery, "time", clock)
        statement = Statement(*(lost() for _ in range(10_000)))
        with pytest.raises(Undeliverable, match="server closed") as caught:
            deliver(statement, 60)
        assert 10 < statement.calls < 100
        assert isinstance(caught.value.__cause__, OperationalError)

    def test_the_pauses_grow_to_a_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        pauses: list[float] = []
        monkeypatch.setattr(delivery, "FIRST_PAUSE", 0.5)
        monkeypatch.setattr(time, "sleep", pauses.append)
        deliver(Statement(*(lost() for _ in range(5))), 3600)
        assert pauses == [0.5, 1, 2, 2, 2]

    @pytest.mark.parametrize(
        ("error", "seconds", "raised"),
        [(DUPLICATE, 30, IntegrityError), (ValueError("its own"), 30, ValueError), (lost(), 0, Undeliverable)],
    )
    def test_an_error_of_the_statement_and_any_without_time_is_raised_at_once(
        self, error: Exception, seconds: float, raised: type[Exception]
    ) -> None:
        statement = Statement(error)
        with pytest.raises(raised):
            deliver(statement, seconds)
        assert statement.calls == 1


class TestIsOutage:
    @pytest.mark.parametrize(
        "error",
        [
            lost(),
            PoolTimeout("QueuePool limit reached"),
            InterfaceError("SELECT 1", {}, psycopg2.InterfaceError("connection already closed")),
            said(errors.AdminShutdown, "57P01"),
            said(errors.CrashShutdown, "57P02"),
            said(errors.CannotConnectNow, "57P03"),
            said(errors.ReadOnlySqlTransaction, "25006"),
            said(errors.TooManyConnections, "53300"),
            said(errors.ConnectionFailure, "08006"),
            DBAPIError("SELECT 1", {}, psycopg2.DatabaseError("odd"), connection_invalidated=True),
        ],
    )
    def test_the_server_or_the_way_to_it(self, error: Exception) -> None:
        assert is_outage(error)
        assert is_passing(error)

    @pytest.mark.parametrize(
        ("error", "passing"),
        [
            (said(errors.QueryCanceled, "57014"), True),
            (said(psycopg2.OperationalError, "57014"), True),
            (said(errors.LockNotAvailable, "55P03"), True),
            (said(errors.DeadlockDetected, "40P01"), True),
            (said(errors.UndefinedTable, "42P01"), False),
            (DUPLICATE, False),
            (DBAPIError("SELECT 1", {}, psycopg2.ProgrammingError("syntax")), False),
            (ConnectionError("not the database's"), False),
            (ValueError("no"), False),
        ],
    )
    def test_everything_else_which_may_go_well_the_next_time_all_the_same(
        self, error: Exception, passing: bool
    ) -> None:
        assert not is_outage(error)
        assert is_passing(error) is passing


@pytest.mark.usefixtures("engine")
def test_a_process_that_has_lost_its_descriptors_gives_up_at_the_second_error() -> None:
    """SQLite has tried for ten seconds each time, and would for ever."""

    def protocol() -> OperationalError:
        error = sqlite3.OperationalError("locking protocol")
        error.sqlite_errorname = "SQLITE_PROTOCOL"
        return OperationalError("SELECT 1", {}, error)

    assert deliver(Statement(protocol()), seconds=60) == 42
    broken = Statement(*(protocol() for _ in range(5)))
    with pytest.raises(Undeliverable, match="locking protocol"):
        deliver(broken, seconds=60)
    assert broken.calls == 2
