"""What a revision can do on every engine (`app/migrations/changes.py`), below a service that runs.

The revisions are those of `tests/support/example_revisions/`, behind the newest one of the code.
"""

import runpy
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from app.core.ids import new_id
from app.db.compatibility import read_revisions
from app.ddl.columns import Base
from app.ddl.terms import task_bytes
from app.migrations import changes
from app.migrations.baselines import BASELINE
from app.models import Task, TaskAttempt
from tests.support.databases import DIALECT, ENGINE
from tests.support.next_release import EXAMPLES, add_revisions
from tests.support.running import Running, example_stack
from tests.support.schemas import schema, version
from tests.support.services import ROOT, Services, process_environment, sqlalchemy_url
from tests.support.sources import APP
from tests.support.waiting import wait_for

HEAD, _ = read_revisions()
LAST = "next_4"
SECONDS = 300
MANY = 100_000 if ENGINE == "postgresql" else 20_000
BATCH = 2000
PARTS = 6
UNENDED = "SELECT 1 FROM tasks WHERE finished_at IS NULL LIMIT 1"
ENDS = ("succeeded", "failed", "revoked")
# Of a user and end, as the rows tell and as the sums tell; the bytes as well.
OF_THE_ROWS = f"""SELECT status, count(*), sum({task_bytes("tasks")}) FROM tasks WHERE finished_at IS NOT NULL
GROUP BY status ORDER BY status"""
OF_THE_SUMS = """SELECT status, sum(number) FROM (
    SELECT status, number FROM task_totals UNION ALL SELECT status, number FROM task_count_changes
) AS sums GROUP BY status ORDER BY status"""
BYTES = """SELECT sum(bytes) FROM (
    SELECT bytes FROM stored_bytes UNION ALL SELECT bytes FROM task_count_changes
) AS sums"""


def alembic(running: Running, directory: Path, *command: str) -> None:
    """With the revisions of the code, and those of the examples behind them."""
    revisions = directory / "revisions"
    if not revisions.exists():
        revisions.mkdir()
        add_revisions(revisions)
        places = f"{APP / 'migrations' / 'versions'};{revisions}"
        (directory / "alembic.ini").write_text(
            f"[alembic]\nscript_location = {APP / 'migrations'}\nversion_locations = {places}\npath_separator = ;\n"
        )
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(directory / "alembic.ini"), *command],
        cwd=ROOT, env=process_environment(running.stack.settings), check=False, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def fill(running: Running, number: int) -> None:
    """So many ended tasks with an attempt each, straight into the tables."""
    now = running.stack.now()
    user = UUID(running.http.get("/api/v1/users/me").json()["id"])
    common = {"user_id": user, "name": "n", "task_type": "t", "celery_task_name": "c", "args": [1], "kwargs": {}}
    place = {"priority": "normal", "queue": "default", "attempt": 1, "finished_at": now}
    for first in range(0, number, BATCH):
        rows = [
            {**common, **place, "id": new_id(), "celery_id": new_id(), "status": (end := ENDS[each % 3]),
             "error_fingerprint": "f" if end == "failed" else None}
            for each in range(first, min(first + BATCH, number))
        ]  # fmt: skip
        attempts = [
            {"task_id": row["id"], "number": 1, "started_at": now, "finished_at": now + timedelta(seconds=1), "outcome": row["status"]}
            for row in rows
        ]  # fmt: skip
        with running.stack.engine.begin() as connection:
            connection.execute(sa.insert(Task), rows)
            connection.execute(sa.insert(TaskAttempt), attempts)


@contextmanager
def live(running: Running) -> Iterator[list[str]]:
    """A client that goes on to create tasks; their ids."""
    created: list[str] = []
    over = threading.Event()

    def create() -> None:
        while not over.is_set():
            created.append(running.create("echo", len(created)))

    thread = threading.Thread(target=create)
    thread.start()
    try:
        yield created
        before = len(created)
        wait_for(lambda: len(created) > before + 5, SECONDS, "tasks to be created")
    finally:
        over.set()
        thread.join()


class TestBelowALiveService:
    @pytest.mark.parametrize("number", [2000, pytest.param(MANY, marks=[pytest.mark.full, pytest.mark.timeout(600)])])
    def test_tables_change_and_change_back(self, services: Services, tmp_path: Path, number: int) -> None:
        with example_stack(services, tmp_path) as running:
            fill(running, number)
            running.stack.worker()
            before = schema(running.stack.database_url)
            with live(running) as created:
                alembic(running, tmp_path, "upgrade", LAST)
                noted_from = len(created)
            self.check(running, created)
            assert (
                running.stack.sql("SELECT count(DISTINCT task_id) FROM task_notes")[0][0] >= len(created) - noted_from
            )
            running.stack.sql("UPDATE tasks SET reference = 'r', on_conflict = 'merge'")
            with pytest.raises(DBAPIError, match="ck_tasks_on_conflict"):
                running.stack.sql("UPDATE tasks SET on_conflict = 'other'")
            with live(running) as created:
                alembic(running, tmp_path, "downgrade", HEAD)
            self.check(running, created)
            assert (schema(running.stack.database_url), version(running.stack.database_url)) == (before, HEAD)
            ((kept,),) = running.stack.sql("SELECT count(*) FROM task_attempts")
            assert kept >= number

    def check(self, running: Running, created: list[str]) -> None:
        """Tasks are run, counts are those of the rows, and triggers guard."""
        wait_for(lambda: not running.stack.sql(UNENDED), SECONDS, "all tasks to end")
        names = {
            status for (status,) in running.stack.sql("SELECT DISTINCT status FROM tasks WHERE task_type = 'test'")
        }
        assert (names, len(created) > 0) == ({"succeeded"}, True)
        of_rows = running.stack.sql(OF_THE_ROWS)
        assert running.stack.sql(OF_THE_SUMS) == [(status, number) for status, number, _ in of_rows]
        assert running.stack.sql(BYTES) == [(sum(size for *_, size in of_rows),)]
        with pytest.raises(DBAPIError, match="tasks_guard"):
            running.stack.sql("UPDATE tasks SET attempt = attempt + 1")


def context_of(connection: sa.Connection) -> MigrationContext:
    """With the names of constraints that `app/migrations/env.py` gives: those of MySQL are one schema's, not a table's."""
    return MigrationContext.configure(connection, opts={"target_metadata": Base.metadata})


class Stopped(Exception):
    """As a kill stops a revision: nothing of it runs any more."""


def take(url: str, step: Callable[[], None], statements: int | None = None) -> bool:
    """Take this step of a revision, or so many statements of it. Returns whether it came to its end."""
    engine = sa.create_engine(sqlalchemy_url(url), poolclass=NullPool)
    left = [statements]

    def stop(*_: object) -> None:
        if left[0] is not None:
            left[0] -= 1
            if left[0] < 0:
                raise Stopped

    sa.event.listen(engine, "before_cursor_execute", stop)
    try:
        with engine.begin() as connection, Operations.context(context_of(connection)):
            step()
    except Stopped:
        return False
    return True


@pytest.mark.skipif(DIALECT != "mysql", reason="on the other engines it is one transaction")
@pytest.mark.parametrize("part", [*(pytest.param(part, marks=pytest.mark.full) for part in range(PARTS)), None])
def test_a_revision_that_was_stopped_at_any_statement_goes_through_when_it_is_repeated(
    services: Services, part: int | None
) -> None:
    """Each revision in one part, since all of them take minutes; and by day the newest one and the examples."""
    name = services.new_database("template1")
    url = services.database_url(name)
    try:
        paths = [*sorted((APP / "migrations" / "versions").glob("*.py")), *sorted(EXAMPLES.glob("*.py"))]
        revisions = [runpy.run_path(str(path)) for path in paths]
        newest = len(revisions) - 1 - len([*EXAMPLES.glob("*.py")])
        for number, revision in enumerate(revisions):
            upgrade, downgrade = revision["upgrade"], revision["downgrade"]
            before = schema(url)
            take(url, upgrade)
            is_chosen = number >= newest if part is None else number % PARTS == part
            if revision["revision"] == BASELINE or not is_chosen:
                continue
            after, statements, over = schema(url), 0, False
            take(url, downgrade)
            while not over:
                over = take(url, upgrade, statements)
                take(url, upgrade)
                assert schema(url) == after, (revision["revision"], statements)
                over = take(url, downgrade, statements) and over
                take(url, downgrade)
                assert schema(url) == before, (revision["revision"], statements)
                statements += 1
            assert statements > 1 or before == after, revision["revision"]  # some change one engine alone
            take(url, upgrade)
    finally:
        services.drop_database(name)


@pytest.mark.postgresql("its roles: elsewhere a trigger writes with the rights of who has made it")
def test_the_services_role_may_write_a_table_that_a_revision_has_added(services: Services) -> None:
    name = services.new_database()
    engine = sa.create_engine(sqlalchemy_url(services.database_url(name)), poolclass=NullPool)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("CREATE ROLE anybody; GRANT SELECT, UPDATE ON tasks TO anybody"))
            with Operations.context(context_of(connection)):
                for table in ("added", "closed"):
                    connection.execute(sa.text(f"CREATE TABLE {table} (id integer)"))
                changes.copy_grants("tasks", "added")
            connection.execute(sa.text("SET ROLE anybody; INSERT INTO added VALUES (1); DELETE FROM added"))
            with pytest.raises(DBAPIError, match="permission denied"):
                connection.execute(sa.text("INSERT INTO closed VALUES (1)"))
            connection.rollback()
    finally:
        engine.dispose()
        services.drop_database(name)
