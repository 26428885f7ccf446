"""Migrations lead to the schema of the models, CHECKs and triggers included, and back to an empty database.

Those of PostgreSQL: the other engines begin with the schema of one of them (`test_baselines.py`).
"""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import IntegrityError

import app.models  # noqa: F401 (fills the metadata)
from app.db.base import Base
from app.db.sizes import task_bytes
from app.launcher.pgfiles import binary
from tests.support.services import ROOT, TEMPLATE, Services, environment, process_environment, sqlalchemy_url

pytestmark = pytest.mark.postgresql("the other engines have no migration before their first schema")


@pytest.fixture
def new_database(services: Services) -> Iterator[Callable[..., str]]:
    """`new_database()` is empty; `new_database(TEMPLATE)` has been migrated."""
    names: list[str] = []

    def new(template: str = "template1") -> str:
        names.append(services.new_database(template))
        return names[-1]

    yield new
    for name in names:
        services.drop_database(name)


def alembic(services: Services, database: str, *command: str) -> None:
    variables = process_environment(environment(services.database_url(database), services.new_broker()))
    subprocess.run([sys.executable, "-m", "alembic", *command], check=True, cwd=ROOT, env=variables, timeout=60)


def dump(services: Services, database: str) -> str:
    """The schema as pg_dump writes it, without Alembic's own table, in an order that does not depend on history."""
    program = binary("pg_dump")
    url = services.database_url(database)
    command = [program, "--schema-only", "--no-owner", "--no-comments", "--exclude-table=alembic_version", url]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    statements = [_sorted_columns(part.strip()) for part in text.split(";\n") if part.strip()]
    return "\n".join(sorted(line for part in statements for line in part.splitlines() if _counts(line)))


def _counts(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(("--", "\\", "SET ", "SELECT pg_catalog"))


def _sorted_columns(statement: str) -> str:
    # A column that a later migration adds stands last: its place is not the schema.
    if not statement.lstrip("-\n ").startswith("CREATE TABLE") and "CREATE TABLE" not in statement:
        return statement
    return "\n".join(sorted(line.rstrip(",") for line in statement.splitlines()))


def tables(services: Services, database: str) -> set[str]:
    engine = create_engine(sqlalchemy_url(services.database_url(database)))
    with engine.connect() as connection:
        found = set(connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")))
    engine.dispose()
    return found


class TestMigrations:
    def test_lead_to_what_the_models_say(self, services: Services, new_database: Callable[..., str]) -> None:
        migrated, modelled = new_database(TEMPLATE), new_database()
        engine = create_engine(sqlalchemy_url(services.database_url(modelled)))
        Base.metadata.create_all(engine)
        engine.dispose()
        found = dump(services, migrated)
        assert "tasks_guard" in found
        assert "ck_tasks_running_has_claim" in found
        assert found == dump(services, modelled)

    def test_lead_back_to_nothing_and_forward_again(self, services: Services, new_database: Callable[..., str]) -> None:
        database = new_database(TEMPLATE)
        before = dump(services, database)
        alembic(services, database, "downgrade", "base")
        assert tables(services, database) == {"alembic_version"}
        alembic(services, database, "upgrade", "head")
        assert dump(services, database) == before

    def test_two_starters_at_once_do_no_harm(self, services: Services, new_database: Callable[..., str]) -> None:
        database = new_database()
        variables = process_environment(environment(services.database_url(database), services.new_broker()))
        command = [sys.executable, "-m", "alembic", "upgrade", "head"]
        starters = [subprocess.Popen(command, cwd=ROOT, env=variables) for _ in range(2)]
        assert [starter.wait(60) for starter in starters] == [0, 0]
        assert "tasks" in tables(services, database)


class TestStoredBytes:
    """The migration that counts them: on rows that are there, and below processes that still run the code before."""

    ROWS = """
        INSERT INTO users (id, username, username_normalized, email, email_normalized, password_hash)
        SELECT gen_random_uuid(), n, n, n, n, '!' FROM unnest(ARRAY['anna', 'bob']) AS n;
        INSERT INTO tasks (id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue,
            status, finished_at, dispatch_at, attempt, result)
        SELECT gen_random_uuid(), gen_random_uuid(), users.id, 'n', 't', 'c', '[1]', '{}', 'normal', 'default',
            'succeeded', now(), NULL, 1, repeat('x', n * 1000) FROM generate_series(1, 5) AS n, users;
        CREATE ROLE anybody;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anybody;
    """
    SCANNED = f"SELECT user_id, sum({task_bytes('tasks')}) FROM tasks GROUP BY user_id ORDER BY 1"
    # As the code before the migration folds: without a word of bytes.
    AS_BEFORE = """
        SET ROLE anybody;
        UPDATE tasks SET queue = 'other';
        DELETE FROM tasks WHERE length(result) = 2000;
        DELETE FROM task_count_changes;
    """

    def test_are_those_of_the_rows_and_processes_of_the_code_before_go_on(
        self, services: Services, new_database: Callable[..., str]
    ) -> None:
        database = new_database("template1")
        alembic(services, database, "upgrade", "0001")
        services.postgres.sql(self.ROWS, database=database)
        alembic(services, database, "upgrade", "head")
        engine = create_engine(sqlalchemy_url(services.database_url(database)))
        sums = text("SELECT user_id, bytes FROM stored_bytes ORDER BY 1")
        try:
            with engine.begin() as connection:
                filled = connection.execute(sums).all()
                assert filled == connection.execute(text(self.SCANNED)).all()
                assert len(filled) == 2
            services.postgres.sql(self.AS_BEFORE, database=database)
            with engine.begin() as connection:
                assert connection.execute(sums).all() == connection.execute(text(self.SCANNED)).all() != filled
        finally:
            engine.dispose()
            services.drop_database(database)
            services.postgres.sql("DROP ROLE anybody", database="postgres")


class TestUniqueKeys:
    """The migration that adds them: on rows that are there, and back with rows that have keys."""

    ROWS = """
        INSERT INTO users (id, username, username_normalized, email, email_normalized, password_hash)
        VALUES (gen_random_uuid(), 'anna', 'anna', 'anna', 'anna', '!');
        INSERT INTO tasks (id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue,
            status, attempt, claim_id, dispatch_at, finished_at)
        SELECT gen_random_uuid(), gen_random_uuid(), users.id, status, 't', 'c', '[1]', '{}', 'normal', 'default',
            status, 1, CASE status WHEN 'running' THEN gen_random_uuid() END,
            CASE status WHEN 'pending' THEN now() END, CASE WHEN status IN ('succeeded', 'failed') THEN now() END
        FROM users, unnest(ARRAY['pending', 'running', 'succeeded', 'failed']) AS status, generate_series(1, 3);
    """
    TAKE = "UPDATE tasks SET unique_key = 'k', active_key = 'k' WHERE id = (SELECT id FROM tasks WHERE name = '{}' {})"
    END = "UPDATE tasks SET status = 'revoked', claim_id = NULL, finished_at = now() {} WHERE active_key = 'k'"
    ALL = "SELECT id, name, status FROM tasks ORDER BY id"

    def test_come_to_rows_and_go_from_them(self, services: Services, new_database: Callable[..., str]) -> None:
        database = new_database("template1")
        alembic(services, database, "upgrade", "0006")
        services.postgres.sql(self.ROWS, database=database)
        engine = create_engine(sqlalchemy_url(services.database_url(database)), isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                rows = connection.execute(text(self.ALL)).all()
                assert len(rows) == 12
                alembic(services, database, "upgrade", "head")
                columns = text("SELECT DISTINCT unique_key, on_conflict, active_key FROM tasks")
                assert connection.execute(columns).all() == [(None, None, None)]
                connection.execute(text(self.TAKE.format("running", "LIMIT 1")))
                for refused in (self.TAKE.format("pending", "LIMIT 1"), self.TAKE.format("failed", "LIMIT 1")):
                    with pytest.raises(IntegrityError, match="active_key"):
                        connection.execute(text(refused))
                with pytest.raises(IntegrityError, match="ck_tasks_active_key"):
                    connection.execute(text(self.END.format("")))
                connection.execute(text(self.END.format(", active_key = NULL")))
                connection.execute(text(self.TAKE.format("pending", "LIMIT 1")))
                alembic(services, database, "downgrade", "0006")
                assert {row.id for row in connection.execute(text(self.ALL))} == {row.id for row in rows}
        finally:
            engine.dispose()
