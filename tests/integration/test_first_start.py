"""The owner's steps in the owner's order on an empty database: no part is told to migrate."""

import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from app.db.compatibility import REMEDY
from tests.support.databases import DIALECT, ENGINE
from tests.support.services import Services
from tests.support.sources import run_program
from tests.support.stack import Stack
from tests.support.waiting import wait_for

WORKER = ("celery", "-A", "app.celery_app", "worker", "-l", "info", "-c", "1")
BEAT = ("celery", "-A", "app.celery_app", "beat", "-l", "info")
LOGIN = "/api/v1/auth/login"
MAKE_READER = {
    "postgresql": ("CREATE ROLE reader LOGIN PASSWORD 'reader'", "REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
    "mysql": ("CREATE USER reader IDENTIFIED BY 'reader'", "GRANT SELECT ON *.* TO reader"),
}
REFUSAL = {"postgresql": "permission denied for schema public", "mysql": "CREATE command denied"}
NOBODY = {"username": "no", "password": "body"}


@pytest.fixture
def empty(services: Services, tmp_path: Path) -> Iterator[Stack]:
    with Stack(services, tmp_path, template="template1") as stack:
        yield stack


def login(stack: Stack) -> httpx.Response:
    return httpx.post(stack.url + LOGIN, data=NOBODY, timeout=30)


def production(stack: Stack) -> dict[str, str]:
    return {"APP_ENV": "production", "SECRET_KEY": secrets.token_hex(32), "LOG_FORMAT": "text"}


class TestInDevelopment:
    def test_the_api_creates_the_schema_and_answers(self, empty: Stack) -> None:
        empty.server()
        assert login(empty).status_code == 401
        assert empty.server().output().count("creating its schema") == 1

    def test_worker_and_beat_at_once_create_it_once_and_run(self, empty: Stack) -> None:
        worker, beat = (empty.start_part("worker", WORKER, None), empty.beat())
        worker.await_line(" ready.")
        assert empty.sql("SELECT count(*) FROM alembic_version")[0][0] == 1
        assert len(worker.output() + beat.output()) < 10_000
        assert "Traceback" not in worker.output() + beat.output()

    @pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite has no roles")
    def test_a_role_that_may_not_create_tables_is_told_and_tries_seldom(self, empty: Stack) -> None:
        """Each try is a process of Python's, in every part and each of their processes."""
        for statement in MAKE_READER[DIALECT]:
            empty.sql(statement)
        reader = {"DATABASE_URL": re.sub(r"//[^@/]*@", "//reader:reader@", empty.database_url)}
        try:
            empty.server(reader)
            answer = login(empty)
            assert (answer.status_code, answer.json()["code"]) == (503, "not_migrated")
            assert REFUSAL[DIALECT] in answer.json()["detail"]
            assert empty.server().output().count("creating its schema") == 1
        finally:
            empty.server().stop()
            empty.sql("DROP USER reader")

    def test_a_database_with_other_tables_is_left_to_its_owner(self, empty: Stack) -> None:
        with empty.engine.begin() as connection:
            connection.execute(text("CREATE TABLE theirs (id integer)"))
        empty.server()
        answer = login(empty)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_migrated")
        assert REMEDY in answer.json()["detail"]


def test_the_look_leaves_no_engine_behind(services: Services, tmp_path: Path) -> None:
    """It would be one whose idle transactions the server never ends: worker and beat ask for that only later."""
    program = """
from app.celery_app import celery_app
from app.db.session import engine
celery_app.loader.init_worker()
print(engine.made)
"""
    with Stack(services, tmp_path) as stack:
        assert run_program(program, **stack.settings) == "None\n"


class TestInProduction:
    def test_each_part_says_what_to_run_once_and_waits_for_it(self, empty: Stack) -> None:
        empty.server(production(empty))
        worker = empty.start_part("worker", WORKER, production(empty))
        schedule = str(empty.directory / "schedule")
        beat = empty.start_part("beat", [*BEAT, "-s", schedule], production(empty))
        for part in (worker, beat):
            part.await_line(f"waiting: the database is not migrated: {REMEDY}")
        answer = login(empty)
        assert (answer.status_code, answer.json()["code"]) == (503, "not_migrated")
        assert answer.headers["retry-after"] == "5"
        assert httpx.get(empty.url + "/healthz").status_code == 200
        assert REMEDY in httpx.get(empty.url + "/readyz").json()["checks"]["migrations"]

        migrated = empty.start_part("migrate", ["app", "migrate"], production(empty))
        assert migrated.process.wait(60) == 0
        worker.await_line(" ready.")
        beat.await_line("beat: Starting")
        wait_for(lambda: login(empty).status_code == 401, 30, "the API to take requests")
        for part in (worker, beat, empty.server()):
            # One line for each state: MySQL and MariaDB commit each revision by itself, so a look may find one between.
            said = re.findall(rf"the database is .*{re.escape(REMEDY)}", part.output())
            assert said
            assert len(said) == len(set(said))
            assert "Traceback" not in part.output()

    def test_of_a_newer_version_it_is_used(self, stack: Stack) -> None:
        """Else a process that restarts during a rolling deploy, or after a rollback, would answer 503 alone."""
        stack.sql("UPDATE alembic_version SET version_num = '9999'")
        server = stack.server(production(stack))
        assert login(stack).status_code == 401
        server.await_line("the database is at migration 9999, which this code does not know: deploy the newer code")
