"""PostgreSQL's log holds no value of a statement, whatever becomes of the statement."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from app.db.compatibility import exposing_log_settings
from app.launcher.postgres import EmbeddedPostgres
from tests.support.services import sqlalchemy_url
from tests.support.waiting import wait_for

pytestmark = pytest.mark.postgresql("its server log")

SECRET = "hunter2-zebra-9931"
ARGUMENTS = json.dumps({"password": SECRET, "api_key": SECRET})


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """With the settings that log the most, were they not overruled: as if `postgresql.conf` had them."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("logs"), durable=False) as started:
        started.sql(
            "CREATE TABLE secrets (id int PRIMARY KEY, arguments jsonb, name text UNIQUE, CHECK (name <> 'no'));"
            "INSERT INTO secrets VALUES (1, NULL, 'one'), (2, NULL, 'two');"
            "CREATE ROLE other LOGIN SUPERUSER PASSWORD 'other'"
        )
        yield started


class Session:
    """A connection as the service has one: values are put into the statement on this side."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self.connection = psycopg2.connect(postgres.url)

    def run(self, statement: str, *values: object) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)


@pytest.fixture
def session(postgres: EmbeddedPostgres) -> Iterator[Session]:
    made = Session(postgres)
    yield made
    made.connection.close()


def log_of(postgres: EmbeddedPostgres) -> str:
    return "".join(path.read_text(errors="replace") for path in postgres.log.parent.glob(f"{postgres.log.name}*"))


FAILURES: dict[str, tuple[str, tuple[object, ...]]] = {
    "time limit": ("SET statement_timeout = 20; INSERT INTO secrets SELECT 9, %s FROM pg_sleep(60)", (ARGUMENTS,)),
    "duplicate key": ("INSERT INTO secrets VALUES (1, %s)", (ARGUMENTS,)),
    "duplicate text": (
        "INSERT INTO secrets VALUES (7, NULL, %s); INSERT INTO secrets VALUES (8, NULL, %s)",
        (SECRET, SECRET),
    ),
    "refused row": ("INSERT INTO secrets VALUES (9, %s, 'no')", (ARGUMENTS,)),
    "syntax": ("INSERT INTO secrets VALUES (9, %s,,)", (ARGUMENTS,)),
    "syntax at the value": ("SELECT 1 %s", (SECRET,)),
    "type": ("SELECT %s::uuid", (SECRET,)),
    "json": ("SELECT %s::jsonb", (f"{{{SECRET}",)),
    "range": ("SELECT %s::date", (SECRET,)),
    "an error within a function": ("DO $$ BEGIN PERFORM '%s'::int; END $$" % SECRET, ()),  # noqa: UP031 (no parameter can be there)
    "prepared": ("PREPARE p AS SELECT $1::text::int; EXECUTE p(%s)", (SECRET,)),
    "raised": ("DO $$ BEGIN RAISE WARNING '%s'; RAISE LOG '%s'; RAISE EXCEPTION '%s'; END $$" % (SECRET, SECRET, SECRET), ()),  # noqa: UP031 (as above)
}  # fmt: skip


class TestTheEmbeddedServer:
    @pytest.mark.parametrize("name", FAILURES)
    def test_logs_no_value_of_a_failed_statement(self, postgres: EmbeddedPostgres, session: Session, name: str) -> None:
        statement, values = FAILURES[name]
        with pytest.raises(psycopg2.Error):
            session.run(statement, *values)
        assert SECRET not in log_of(postgres)

    def test_nor_of_a_deadlock(self, postgres: EmbeddedPostgres) -> None:
        """Its details quote what both sessions run."""
        sessions = [Session(postgres), Session(postgres)]
        for number, each in enumerate(sessions, 1):
            each.run(
                "SET deadlock_timeout = '20ms'; UPDATE secrets SET arguments = %s WHERE id = %s", ARGUMENTS, number
            )
        errors: list[str] = []

        def cross(each: Session, number: int) -> None:
            try:
                each.run("UPDATE secrets SET arguments = %s WHERE id = %s", ARGUMENTS, number)
            except psycopg2.Error as error:
                errors.append(str(error.pgcode))
            each.connection.rollback()

        threads = [threading.Thread(target=cross, args=(each, 3 - number)) for number, each in enumerate(sessions, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        for each in sessions:
            each.connection.close()
        assert errors == ["40P01"]
        assert SECRET not in log_of(postgres)

    def test_nor_of_a_session_that_an_administrator_ends(self, postgres: EmbeddedPostgres, session: Session) -> None:
        (pid,) = _running(postgres, session)
        postgres.sql(f"SELECT pg_terminate_backend({pid})")
        wait_for(lambda: "terminating connection due to administrator command" in log_of(postgres), 20, "its end")
        assert SECRET not in log_of(postgres)

    def test_nor_of_one_that_crashes(
        self, postgres: EmbeddedPostgres, session: Session, wait_for: Callable[..., Any]
    ) -> None:
        """The postmaster tells what the process was running, as a detail."""
        (pid,) = _running(postgres, session)
        os.kill(pid, signal.SIGSEGV)
        wait_for(lambda: "was terminated by signal 11" in log_of(postgres), 30, "the crash to be told")
        wait_for(lambda: _answers(postgres), 30, "the server to be back")
        assert SECRET not in log_of(postgres)

    def test_tells_its_own_troubles(self, postgres: EmbeddedPostgres) -> None:
        assert "database system is ready to accept connections" in log_of(postgres)


def _running(postgres: EmbeddedPostgres, session: Session) -> list[int]:
    """The process of a session that sleeps with a secret in its statement."""
    pid = session.connection.info.backend_pid

    def sleep() -> None:
        with pytest.raises(psycopg2.Error):
            session.run("SELECT %s, pg_sleep(60)", SECRET)

    threading.Thread(target=sleep, daemon=True).start()
    query = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'"
    wait_for(lambda: postgres.sql(query) == "1", 20, "the statement to run")
    return [pid]


def _answers(postgres: EmbeddedPostgres) -> bool:
    try:
        Session(postgres).connection.close()
    except psycopg2.OperationalError:
        return False
    return True


class TestTheCheckAtTheStart:
    def settings(self, url: str) -> dict[str, str]:
        with create_engine(sqlalchemy_url(url), poolclass=NullPool).connect() as connection:
            return exposing_log_settings(connection)

    def test_finds_nothing_to_tell_about_the_embedded_server(self, postgres: EmbeddedPostgres) -> None:
        assert self.settings(postgres.url) == {}

    def test_names_what_lets_values_into_the_log(self, postgres: EmbeddedPostgres) -> None:
        url = postgres.url.replace(postgres.url.split("@")[0], "postgresql://other:other")
        assert self.settings(url) == {"log_min_messages": "warning"}
        options = "?options=-c%20log_min_error_statement%3Derror%20-c%20log_error_verbosity%3Ddefault"
        assert self.settings(url + options) == {
            "log_error_verbosity": "default",
            "log_min_error_statement": "error",
            "log_min_messages": "warning",
        }


def test_a_log_on_a_full_disk_does_not_keep_it_from_running(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "postgres.log").symlink_to("/dev/full")
    with EmbeddedPostgres(tmp_path / "pg", durable=False, log=tmp_path / "postgres.log", tell=told.append) as started:
        assert started.sql("SELECT 1") == "1"
        assert "No space left on device" in told[0]
        assert started.tail(1) != []
