"""A migrated database has the schema of the models, triggers included, on every engine and from wherever it began."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

import app.models  # noqa: F401 (fills the metadata)
from app.core.ids import new_id
from app.db.schema_version import schema_fault
from app.db.session import SessionLocal
from app.db.statements.schedules import times_of_tasks
from app.ddl.base import Base
from app.ddl.clock import NOW
from app.migrations.baselines import BASELINE, create_all
from app.migrations.revision_0017 import take_over
from app.models import Task, TaskAttempt, User
from app.models.outbox import OutboxRow
from app.services.operations import task_sums
from app.services.outbox import Consumer, deliver_batch
from app.services.schedules.requests import time_text
from app.services.tasks import task_counts
from tests.support.databases import DIALECT, ENGINE
from tests.support.plans import analyze, plan_of
from tests.support.schemas import VERSION, rows, run, said, schema, version
from tests.support.services import TEMPLATE, Services, environment, sqlalchemy_url
from tests.support.settings import settings
from tests.support.sources import APP
from tests.support.statements import sent_by

EMPTY = "template1"
HEAD = ScriptDirectory(str(APP / "migrations")).get_current_head()
UPGRADE = ("alembic", "upgrade", "head")


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


class TestFromNothing:
    def test_it_is_what_the_models_say(self, new_database: Callable[..., str]) -> None:
        migrated, modelled = new_database(), new_database()
        assert said(migrated, *UPGRADE)[0] == 0
        engine = sa.create_engine(sqlalchemy_url(modelled), poolclass=NullPool)
        Base.metadata.create_all(engine)
        found = schema(migrated)
        assert any("tasks_guard" in name for name in found)
        assert "ck_tasks_running_has_claim" in str(found)
        assert found == schema(modelled)

    def test_the_copies_of_the_tests_are_the_same(self, new_database: Callable[..., str]) -> None:
        migrated = new_database()
        code, lines = said(migrated, "app", "migrate")
        assert (code, lines[0]) == (0, f"Running upgrade  -> {BASELINE}, the schema")
        assert schema(new_database(TEMPLATE)) == schema(migrated)

    def test_a_second_time_there_is_nothing_to_do(self, new_database: Callable[..., str]) -> None:
        url = new_database(TEMPLATE)
        before = schema(url)
        assert said(url, *UPGRADE) == (0, [])
        assert said(url, "app", "migrate") == (0, [])
        assert said(url, "alembic", "current") == (0, [f"{HEAD} (head)"])
        assert schema(url) == before

    def test_two_starters_at_once_do_no_harm(self, new_database: Callable[..., str]) -> None:
        url = new_database()
        starters = [run(url, *UPGRADE) for _ in range(3)]
        outputs = [starter.communicate(timeout=60)[0] for starter in starters]
        assert [starter.returncode for starter in starters] == [0, 0, 0], outputs
        assert schema(url) == schema(new_database(TEMPLATE))
        assert version(url) == HEAD
        assert sum("Running upgrade" in output for output in outputs) == 1

    def test_a_question_makes_no_schema(self, new_database: Callable[..., str]) -> None:
        url = new_database()
        assert said(url, "alembic", "current") == (0, [])
        assert schema(url) == schema(new_database())

    def test_every_revision_since_has_a_way_back(self, new_database: Callable[..., str]) -> None:
        url, baseline = new_database(TEMPLATE), new_database()
        before = schema(url)
        assert said(baseline, "alembic", "upgrade", BASELINE)[0] == 0
        assert said(url, "alembic", "downgrade", BASELINE)[0] == 0
        assert schema(url) == schema(baseline)
        assert said(url, *UPGRADE)[0] == 0
        assert schema(url) == before

    def test_there_is_no_way_to_a_schema_before(self, new_database: Callable[..., str]) -> None:
        """Not one step is taken: those to the baseline would drop tables."""
        url = new_database(TEMPLATE)
        before = schema(url)
        code, lines = said(url, "alembic", "downgrade", "base")
        assert code != 0
        assert "the schema begins at migration 0018: " in lines[-1]
        assert (schema(url), version(url)) == (before, HEAD)

    @pytest.mark.skipif(DIALECT != "mysql", reason="on the other engines it is one transaction")
    def test_one_that_fails_in_the_middle_leaves_nothing_and_may_be_tried_again(
        self, new_database: Callable[..., str]
    ) -> None:
        url = new_database()
        with user_without_triggers(url) as (theirs, grant_triggers):
            code, lines = said(theirs, "app", "migrate")
            assert code == 1
            assert "TRIGGER command denied" in lines[-1]
            assert schema(url) == {}
            grant_triggers()
            assert said(theirs, "app", "migrate")[0] == 0
            assert set(schema(url)) == set(schema(new_database(TEMPLATE)))

    @pytest.mark.skipif(DIALECT == "mysql", reason="it commits each statement")
    def test_an_empty_database_is_migrated_as_a_whole_or_not_at_all(self, new_database: Callable[..., str]) -> None:
        url = new_database()
        rows(url, "CREATE TABLE task_sums (other integer)")  # of revision 0024
        before = schema(url)
        code, lines = said(url, *UPGRADE)
        assert (code != 0, "already exists" in lines[-1]) == (True, True), lines
        assert schema(url) == before
        rows(url, "DROP TABLE task_sums")
        assert said(url, *UPGRADE)[0] == 0
        assert schema(url) == schema(new_database(TEMPLATE))


@contextmanager
def user_without_triggers(url: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Of MySQL: the URL of a user who may do anything else, and what grants him that, too."""
    user = url.rpartition("/")[2]
    rows(
        url,
        f"CREATE USER {user}@'%'",
        f"GRANT ALL PRIVILEGES ON {user}.* TO {user}@'%'",
        f"REVOKE TRIGGER ON {user}.* FROM {user}@'%'",
    )
    try:
        yield url.replace("root@", f"{user}@"), lambda: rows(url, f"GRANT TRIGGER ON {user}.* TO {user}@'%'")
    finally:
        rows(url, f"DROP USER {user}@'%'")


@pytest.fixture
def outbox(new_database: Callable[..., str]) -> Iterator[sa.Engine]:
    """A migrated database, with a user and tasks that consumer 0 follows."""
    engine = sa.create_engine(sqlalchemy_url(new_database(TEMPLATE)), poolclass=NullPool)
    user = dict.fromkeys(("username", "username_normalized", "email", "email_normalized", "password_hash"), "u")
    task = {"name": "n", "task_type": "t", "celery_task_name": "c", "args": [], "kwargs": {}, "followers": 1}
    place = {"priority": "normal", "queue": "default"}
    with engine.begin() as connection:
        connection.execute(sa.insert(User), {**user, "id": (owner := new_id())})
        rows = [{**task, **place, "id": new_id(), "celery_id": new_id(), "user_id": owner} for _ in range(8)]
        connection.execute(sa.insert(Task).values(due_at=NOW), rows)
    yield engine
    engine.dispose()


def url_of(engine: sa.Engine) -> str:
    return engine.url.render_as_string(hide_password=False).replace("postgresql+psycopg2:", "postgresql:")


def delete_task(engine: sa.Engine) -> list[int]:
    """The ids of the outbox, after a trigger has written that a task is deleted."""
    with engine.begin() as connection:
        found = connection.scalar(sa.select(Task.id).limit(1))
        connection.execute(sa.delete(Task).where(Task.id == found))
        return [*connection.scalars(sa.select(OutboxRow.id).order_by(OutboxRow.id))]


class TestOutboxOf0020:
    def test_its_rows_and_the_triggers_that_write_them_survive_both_ways(self, outbox: sa.Engine) -> None:
        told = delete_task(outbox)
        for way in (("downgrade", "0019"), ("upgrade", "head")):
            assert said(url_of(outbox), "alembic", *way)[0] == 0
            now = delete_task(outbox)
            assert (now[:-1], now[-1] > told[-1]) == (told, True)
            told = now

    def test_no_id_is_used_again(self, outbox: sa.Engine) -> None:
        """A consumer may know by it what it has had. The last row is the one that a database could forget."""
        told: list[int] = []
        for _ in range(3):
            told += delete_task(outbox)
            with outbox.begin() as connection:
                connection.execute(sa.delete(OutboxRow))
        assert told == sorted(set(told))

    def test_a_look_reads_no_row_that_is_set_aside_and_sorts_nothing(self, outbox: sa.Engine) -> None:
        """Also where the statistics know of no other rows."""
        row = {"consumer": 0, "user_id": new_id(), "event": "failed", "generation": 1}
        for set_aside_at in (NOW, None):
            with outbox.begin() as connection:
                insert = sa.insert(OutboxRow).values(set_aside_at=set_aside_at)
                connection.execute(insert, [{**row, "task_id": new_id()} for _ in range(2000)])
            if set_aside_at is not None:
                with outbox.begin() as connection:
                    analyze(connection, "task_outbox")
            with Session(outbox) as db:
                with sent_by(outbox) as looks:
                    deliver_batch(db, Consumer("x", 0, lambda *_: None))
                db.rollback()
                users, *of_user = [plan_of(db.connection(), *each) for each in looks[:2]]
            assert "ix_task_outbox_ready" in users.indexes, users.text
        [plan] = of_user
        assert {"ix_task_outbox_ready", "ix_task_outbox_task"} <= plan.indexes, plan.text
        assert (plan.scans, plan.sorts) == (False, False), plan.text


def end_and_retry(engine: sa.Engine) -> None:
    """One task is revoked; an attempt of another one ends, and is tried again."""
    with engine.begin() as connection:
        pending = sa.select(Task.id).where(Task.status == "pending").limit(2)
        ended, tried = connection.scalars(pending).all()
        revoked = {"status": "revoked", "finished_at": NOW, "due_at": None, "turn": None}
        connection.execute(sa.update(Task).where(Task.id == ended).values(revoked))
        attempt = {"task_id": tried, "number": 1, "started_at": NOW, "finished_at": NOW, "outcome": "retried"}
        connection.execute(sa.insert(TaskAttempt).values(attempt))
        connection.execute(sa.delete(TaskAttempt))


class TestCountersOf0024:
    def test_begin_with_what_no_release_before_has_taken(self, outbox: sa.Engine) -> None:
        url = url_of(outbox)
        assert said(url, "alembic", "downgrade", "0021")[0] == 0
        end_and_retry(outbox)
        assert said(url, *UPGRADE)[0] == 0
        for ends in (1, 2):
            with settings(environment(url, "memory://")), SessionLocal() as db:
                task_counts.fold(db)
                (counted,) = task_sums.read(db)
            assert (counted.name, counted.queue) == ("c", "default")
            assert (counted.numbers["revoked"], counted.numbers["retried"]) == (ends, ends - 1)
            end_and_retry(outbox)


class TestIndexOf0041:
    def test_has_the_tasks_that_were_there(self, outbox: sa.Engine) -> None:
        assert said(url_of(outbox), "alembic", "downgrade", "0040")[0] == 0
        schedule, first = new_id(), datetime(2026, 3, 27, tzinfo=UTC)
        times = [first + timedelta(hours=at) for at in range(6)]
        with outbox.begin() as connection:
            for at, task in enumerate(connection.scalars(sa.select(Task.id).limit(7)).all()):
                # One is of no schedule, whatever its metadata say.
                values = {
                    "metadata_": {"scheduled_for": time_text(times[at - 1])},
                    "schedule_id": schedule if at else None,
                }
                connection.execute(sa.update(Task).where(Task.id == task).values(values))
        assert said(url_of(outbox), *UPGRADE)[0] == 0
        with Session(outbox) as db:
            assert {*times_of_tasks(db, schedule, times[1], times[3], 10)} == {*map(time_text, times[1:4])}


# What the migrations before have left: PostgreSQL's columns in another order, and triggers of another text.
AS_OF_0017 = {
    "postgresql": (
        "ALTER TABLE tasks DROP COLUMN retry_of", "ALTER TABLE tasks ADD COLUMN retry_of uuid",
        "DROP TRIGGER tasks_guard ON tasks", "ALTER FUNCTION waits_for STABLE STRICT",
    ),
    "mysql": ("DROP TRIGGER tasks_guard", "DROP TRIGGER users_delete_tasks"),
    "sqlite": ("DROP TRIGGER tasks_guard", "DROP TRIGGER audit_events_no_replace"),
}  # fmt: skip
# A change of a table, what tells of it, and a change that takes it back.
COLUMN = ("ALTER TABLE tasks ADD COLUMN mine integer", "mine int", "ALTER TABLE tasks DROP COLUMN mine")
OF_SERVERS = (
    ("ALTER TABLE tasks ALTER COLUMN progress SET DEFAULT 1", "progress int", "ALTER TABLE tasks ALTER COLUMN progress SET DEFAULT 0"),
    ("ALTER TABLE tasks DROP CONSTRAINT ck_tasks_progress", "tasks lacks `CONSTRAINT ck_tasks_progress CHECK",
     "ALTER TABLE tasks ADD CONSTRAINT ck_tasks_progress CHECK (progress BETWEEN 0 AND 100)"),
)  # fmt: skip
CHANGES = {
    "postgresql": (
        COLUMN, *OF_SERVERS,
        ("ALTER TABLE users ALTER username DROP NOT NULL", "users lacks `username text NOT NULL`", "ALTER TABLE users ALTER username SET NOT NULL"),
        ("ALTER TABLE tasks ALTER attempt TYPE bigint", "tasks has `attempt bigint NOT NULL DEFAULT 0`", "ALTER TABLE tasks ALTER attempt TYPE integer"),
        ("ALTER TABLE task_logs DROP CONSTRAINT fk_task_logs_task_id_tasks", "FOREIGN KEY (task_id) REFERENCES tasks(id) ON DELETE CASCADE`",
         "ALTER TABLE task_logs ADD CONSTRAINT fk_task_logs_task_id_tasks FOREIGN KEY (task_id) REFERENCES tasks (id) ON DELETE CASCADE"),
        ("ALTER TABLE task_stats RESET (fillfactor)", "task_stats lacks `WITH fillfactor=50`", "ALTER TABLE task_stats SET (fillfactor = 50)"),
        ("DROP INDEX ix_tasks_expiring", "tasks lacks `CREATE INDEX ix_tasks_expiring ON tasks ",
         "CREATE INDEX ix_tasks_expiring ON tasks (expires_at) WHERE status = 'pending' AND expires_at IS NOT NULL"),
    ),
    "mysql": (
        COLUMN, *OF_SERVERS,
        ("ALTER TABLE users MODIFY username LONGTEXT", "users has `username longtext", "ALTER TABLE users MODIFY username LONGTEXT NOT NULL"),
        ("ALTER TABLE task_logs DROP FOREIGN KEY fk_task_logs_task_id_tasks", "task_logs lacks `CONSTRAINT fk_task_logs_task_id_tasks FOREIGN KEY",
         "ALTER TABLE task_logs ADD CONSTRAINT fk_task_logs_task_id_tasks FOREIGN KEY (task_id) REFERENCES tasks (id) ON DELETE CASCADE"),
        ("DROP INDEX ix_tasks_expiring ON tasks", "tasks lacks `KEY ix_tasks_expiring (status,expires_at)`",
         "CREATE INDEX ix_tasks_expiring ON tasks (status, expires_at)"),
    ),
    "sqlite": (
        COLUMN,
        ("DROP INDEX ix_tasks_expiring", "tasks lacks `CREATE INDEX ix_tasks_expiring ON tasks ",
         "CREATE INDEX ix_tasks_expiring ON tasks (expires_at) WHERE status = 'pending' AND expires_at IS NOT NULL"),
    ),
}  # fmt: skip


@pytest.fixture
def of_0017(new_database: Callable[..., str]) -> str:
    url = new_database()
    engine = sa.create_engine(sqlalchemy_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        create_all(connection)
    table = f"CREATE TABLE {VERSION} (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"
    rows(url, *AS_OF_0017[DIALECT], table, f"INSERT INTO {VERSION} VALUES ('0017')")
    return url


class TestFrom0017:
    def test_it_is_brought_to_the_baseline_once(self, new_database: Callable[..., str], of_0017: str) -> None:
        wanted = schema(new_database(TEMPLATE))
        assert schema(of_0017) != wanted
        starters = [run(of_0017, *UPGRADE) for _ in range(2)]
        outputs = [starter.communicate(timeout=60)[0] for starter in starters]
        assert [starter.returncode for starter in starters] == [0, 0], outputs
        assert sum("Running upgrade 0017 -> 0018" in output for output in outputs) == 1
        assert (schema(of_0017), version(of_0017)) == (wanted, HEAD)

    def test_one_with_other_tables_is_left_as_it_is(self, of_0017: str) -> None:
        """Each difference is found by itself, and named."""
        engine = sa.create_engine(sqlalchemy_url(of_0017), poolclass=NullPool)
        for change, told, back in CHANGES[DIALECT]:
            rows(of_0017, change)
            with engine.connect() as connection, pytest.raises(CommandError) as caught:
                take_over(connection)
            assert told in str(caught.value), change
            rows(of_0017, back)
        rows(of_0017, *(change for change, _, _ in CHANGES[DIALECT]))
        before = schema(of_0017)
        code, (line,) = said(of_0017, "app", "migrate")  # one line, however much differs
        assert code == 1
        assert line.startswith("migrate: the tables are not those of migration 0017: ")
        assert (schema(of_0017), version(of_0017)) == (before, "0017")

    def test_an_older_one_is_told_the_way(self, of_0017: str) -> None:
        rows(of_0017, f"UPDATE {VERSION} SET version_num = '0016'")
        code, (line,) = said(of_0017, "app", "migrate")
        assert code == 1
        assert line.endswith("at migration 0016: migrate it with the code of commit 25b4614 first")
        assert version(of_0017) == "0016"

    @pytest.mark.skipif(DIALECT != "mysql", reason="on the other engines it is one transaction")
    def test_one_whose_triggers_cannot_be_made_anew_keeps_them(self, of_0017: str) -> None:
        before = schema(of_0017)
        with user_without_triggers(of_0017) as (theirs, _):
            code, lines = said(theirs, "app", "migrate")
        assert (code, "TRIGGER command denied" in lines[-1]) == (1, True), lines
        assert (schema(of_0017), version(of_0017)) == (before, "0017")

    @pytest.mark.skipif(ENGINE == "sqlite", reason="it waits for the one writer, as long as for a statement")
    def test_one_that_waits_for_a_lock_gives_up_and_changes_nothing(self, of_0017: str) -> None:
        before = schema(of_0017)
        engine = sa.create_engine(sqlalchemy_url(of_0017), poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT count(*) FROM tasks")).all()
            code, lines = said(of_0017, "app", "migrate")
        assert code == 1
        assert "lock" in lines[-1].lower()
        assert (schema(of_0017), version(of_0017)) == (before, "0017")


def test_the_service_knows_the_schema(new_database: Callable[..., str], of_0017: str) -> None:
    for url, expected in (
        (new_database(), "the database is not migrated"),
        (of_0017, "the database is at migration 0017, the code needs"),
        (new_database(TEMPLATE), None),
    ):
        with settings(environment(url, "memory://")):
            fault = schema_fault()
            assert fault is None if expected is None else (fault or "").startswith(expected)
