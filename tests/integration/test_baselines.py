"""MySQL and SQLite: a migrated database has the schema of the models, triggers included, however it was started."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

import app.models  # noqa: F401 (fills the metadata)
from app.db.base import Base
from app.db.schema_version import schema_fault
from app.migrations.baselines import BASELINE
from tests.support.databases import ENGINE
from tests.support.services import ROOT, TEMPLATE, Services, environment, process_environment
from tests.support.settings import settings

pytestmark = [
    pytest.mark.skipif(
        ENGINE == "postgresql", reason="PostgreSQL has a migration for each step of the schema: test_migrations.py"
    ),
]
EMPTY = "template1"
_VERSION = "alembic_version"


@pytest.fixture
def new_database(services: Services) -> Iterator[Callable[..., str]]:
    """`new_database()` is empty; `new_database(TEMPLATE)` has been migrated."""
    names: list[str] = []

    def new(template: str = EMPTY) -> str:
        names.append(services.new_database(template))
        return services.database_url(names[-1])

    yield new
    for name in names:
        services.drop_database(name)


def run(url: str, *command: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT, env=process_environment(environment(url, "memory://")),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def said(url: str, *command: str) -> tuple[int, list[str]]:
    """The exit code of this command, and the lines that are not Alembic's greeting."""
    process = run(url, *command)
    output, _ = process.communicate(timeout=60)
    lines = [line for line in output.splitlines() if not line.startswith(("Context impl", "Will assume"))]
    return process.returncode, lines


def rows(url: str, *statements: str) -> list[Any]:
    """The rows of the last one."""
    engine = create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def schema(url: str) -> dict[str, list[str]]:
    """All that there is, by name, but Alembic's own table: the lines of each, sorted, as indexes have no order."""
    found, ends = _schema(url), " ,"
    if ENGINE == "mysql":  # it keeps a dump's spelling: the character set of each column, and the end of a trigger
        found = {name: made.replace("CHARACTER SET utf8mb4 ", "") for name, made in found.items()}
        ends += ";"
    return {name: sorted(line.strip(ends) for line in made.splitlines()) for name, made in found.items()}


def _schema(url: str) -> dict[str, str]:
    if ENGINE == "sqlite":
        found = rows(url, "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
        return {name: made for name, made in found if not name.startswith(_VERSION)}
    names = rows(url, "SELECT table_name FROM information_schema.tables WHERE table_schema = database()")
    tables = {name: rows(url, f"SHOW CREATE TABLE `{name}`")[0][1] for (name,) in names if name != _VERSION}
    columns = "trigger_name, action_timing, event_manipulation, event_object_table, action_order, action_statement"
    triggers = rows(url, f"SELECT {columns} FROM information_schema.triggers WHERE trigger_schema = database()")
    return {**tables, **{f"trigger {name}": "\n".join(map(str, rest)) for name, *rest in triggers}}


class TestMigrated:
    def test_it_is_what_the_models_say(self, new_database: Callable[..., str]) -> None:
        migrated, modelled = new_database(), new_database()
        assert said(migrated, "alembic", "upgrade", "head")[0] == 0
        engine = create_engine(modelled, poolclass=NullPool)
        Base.metadata.create_all(engine)
        found = schema(migrated)
        assert {"tasks", "task_count_changes"} <= set(found)
        assert any("tasks_guard" in name for name in found)
        assert "ck_tasks_running_has_claim" in str(found["tasks"])
        assert found == schema(modelled)

    def test_the_copies_of_the_tests_are_the_same(self, new_database: Callable[..., str]) -> None:
        migrated = new_database()
        assert said(migrated, "app", "migrate") == (
            0,
            [f"Running baseline  -> {BASELINE}, all tables, indexes and triggers"],
        )
        assert schema(new_database(TEMPLATE)) == schema(migrated)

    def test_a_second_time_there_is_nothing_to_do(self, new_database: Callable[..., str]) -> None:
        url = new_database(TEMPLATE)
        before = schema(url)
        assert said(url, "alembic", "upgrade", "head") == (0, [])
        assert said(url, "app", "migrate") == (0, [])
        assert said(url, "alembic", "current") == (0, [f"{BASELINE} (head)"])
        assert schema(url) == before

    def test_two_starters_at_once_do_no_harm(self, new_database: Callable[..., str]) -> None:
        url = new_database()
        starters = [run(url, "alembic", "upgrade", "head") for _ in range(3)]
        outputs = [starter.communicate(timeout=60)[0] for starter in starters]
        assert [starter.returncode for starter in starters] == [0, 0, 0], outputs
        assert schema(url) == schema(new_database(TEMPLATE))
        assert rows(url, f"SELECT version_num FROM {_VERSION}") == [(BASELINE,)]
        assert sum("Running baseline" in output for output in outputs) == 1

    def test_a_question_makes_no_schema(self, new_database: Callable[..., str]) -> None:
        url = new_database()
        assert said(url, "alembic", "current") == (0, [])
        assert schema(url) == {}

    @pytest.mark.parametrize("to", ["base", "-1", "0016"])
    def test_there_is_no_way_to_a_schema_before(self, new_database: Callable[..., str], to: str) -> None:
        url = new_database(TEMPLATE)
        before = schema(url)
        code, lines = said(url, "alembic", "downgrade", to)
        assert code != 0
        (line,) = {line.removeprefix("FAILED: ") for line in lines}
        assert line.startswith("on this engine the schema begins at migration 0017: ")
        assert schema(url) == before
        assert rows(url, f"SELECT version_num FROM {_VERSION}") == [(BASELINE,)]

    @pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite has no privileges")
    def test_one_that_fails_in_the_middle_leaves_nothing_and_may_be_tried_again(
        self, new_database: Callable[..., str]
    ) -> None:
        url = new_database()
        user = url.rpartition("/")[2]
        rows(
            url,
            f"CREATE USER {user}@'%'",
            f"GRANT ALL PRIVILEGES ON {user}.* TO {user}@'%'",
            f"REVOKE TRIGGER ON {user}.* FROM {user}@'%'",
        )
        try:
            code, lines = said(url.replace("root@", f"{user}@"), "app", "migrate")
            assert code == 1
            assert "TRIGGER command denied" in lines[-1]
            assert schema(url) == {}
            rows(url, f"GRANT TRIGGER ON {user}.* TO {user}@'%'")
            assert said(url.replace("root@", f"{user}@"), "app", "migrate")[0] == 0
            assert set(schema(url)) == set(schema(new_database(TEMPLATE)))
        finally:
            rows(url, f"DROP USER {user}@'%'")


def test_the_service_knows_the_schema(new_database: Callable[..., str]) -> None:
    for template, expected in ((EMPTY, "the database is not migrated"), (TEMPLATE, None)):
        with settings(environment(new_database(template), "memory://")):
            fault = schema_fault()
            assert fault is None if expected is None else (fault or "").startswith(expected)
