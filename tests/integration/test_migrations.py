"""A migrated database has the schema of the models, triggers included, on every engine and from wherever it began."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

import app.models  # noqa: F401 (fills the metadata)
from app.core.ids import new_id
from app.db.compatibility import schema_fault
from app.db.statements.schedules import times_of_tasks
from app.ddl.clock import NOW
from app.ddl.columns import Base
from app.migrations.baselines import BASELINE
from app.models import StoredFile, Task, User, WebhookDelivery, WebhookEndpoint
from app.models.outbox import OutboxRow
from app.services.outbox import Consumer, deliver_batch
from app.services.schedules.scheduled_tasks import time_text
from tests.support.databases import DIALECT
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
        assert "the schema begins at migration 0040: " in lines[-1]
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
        rows(url, "CREATE TABLE webhook_recoveries (other integer)")  # of revision 0044
        before = schema(url)
        code, lines = said(url, *UPGRADE)
        assert (code != 0, "already exists" in lines[-1]) == (True, True), lines
        assert schema(url) == before
        rows(url, "DROP TABLE webhook_recoveries")
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


def add_tasks(connection: sa.Connection, user: UUID, *tasks: UUID, name: str = "u") -> None:
    """A user and his tasks, which consumer 0 of the outbox follows."""
    texts = dict.fromkeys(("username", "username_normalized", "email", "email_normalized", "password_hash"), name)
    connection.execute(sa.insert(User), {**texts, "id": user})
    task = {"name": "n", "task_type": "t", "celery_task_name": "c", "args": [], "kwargs": {}, "followers": 1}
    place = {"priority": "normal", "queue": "default", "user_id": user}
    added = [{**task, **place, "id": each, "celery_id": new_id()} for each in tasks]
    connection.execute(sa.insert(Task).values(due_at=NOW), added)


@pytest.fixture
def outbox(new_database: Callable[..., str]) -> Iterator[sa.Engine]:
    """A migrated database, with a user and tasks that consumer 0 follows."""
    engine = sa.create_engine(sqlalchemy_url(new_database(TEMPLATE)), poolclass=NullPool)
    with engine.begin() as connection:
        add_tasks(connection, new_id(), *(new_id() for _ in range(8)))
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


class TestOutbox:
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


@pytest.fixture
def of_the_baseline(new_database: Callable[..., str]) -> Iterator[sa.Engine]:
    """A database of the baseline, with rows in each table that a later revision changes."""
    url = new_database()
    assert said(url, "alembic", "upgrade", BASELINE)[0] == 0
    engine = sa.create_engine(sqlalchemy_url(url), poolclass=NullPool)
    user, task, endpoint = new_id(), new_id(), new_id()
    owned = {"user_id": user, "created_at": NOW}
    with engine.begin() as connection:
        add_tasks(connection, user, task)
        connection.execute(
            sa.insert(OutboxRow).values(consumer=0, task_id=task, user_id=user, event="failed", generation=1)
        )
        events = {"events": ["*"], "url": "https://example.com/", "secret": b"s"}
        connection.execute(sa.insert(WebhookEndpoint).values(**owned, **events, id=endpoint))
        event = {"event_id": new_id(), "type": "task.failed", "event_at": NOW, "attempts": []}
        for state, lane, next_attempt_at in (("pending", endpoint, NOW), ("failed", None, None)):
            sent = {"endpoint_id": endpoint, "state": state, "lane": lane, "next_attempt_at": next_attempt_at}
            connection.execute(sa.insert(WebhookDelivery).values(**owned, **event, **sent, id=new_id()))
        stored = {"name": "a.csv", "content_type": "text/csv", "size": 3, "sha256": "0" * 64, "state": "kept"}
        connection.execute(sa.insert(StoredFile).values(**owned, **stored, id=new_id()))
    yield engine
    engine.dispose()


def rows_of_all_tables(engine: sa.Engine, tables: dict[str, sa.Table]) -> dict[str, list[Any]]:
    """In these columns, in the order of the ids."""
    with engine.connect() as connection:
        return {
            name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
            for name, table in tables.items()
        }


class TestFromTheBaseline:
    """As a database of commit 0715a69, which is at it, is upgraded and taken back."""

    def test_every_row_is_kept_both_ways(self, of_the_baseline: sa.Engine) -> None:
        there = sa.MetaData()
        there.reflect(of_the_baseline)
        there.remove(there.tables[VERSION])
        before = rows_of_all_tables(of_the_baseline, dict(there.tables))
        filled = {name for name, found in before.items() if found}
        assert filled >= {"users", "tasks", "task_outbox", "webhook_endpoints", "webhook_deliveries", "files"}
        for way in (("upgrade", "head"), ("downgrade", BASELINE)):
            assert said(url_of(of_the_baseline), "alembic", *way)[0] == 0
            assert rows_of_all_tables(of_the_baseline, dict(there.tables)) == before

    def test_the_index_of_0041_has_the_tasks_that_were_there(self, of_the_baseline: sa.Engine) -> None:
        schedule, first = new_id(), datetime(2026, 3, 27, tzinfo=UTC)
        times = [first + timedelta(hours=at) for at in range(6)]
        with of_the_baseline.begin() as connection:
            add_tasks(connection, owner := new_id(), *(tasks := [new_id() for _ in range(7)]), name="another")
            for at, task in enumerate(tasks):
                # One is of no schedule, whatever its metadata say.
                values = {
                    "metadata_": {"scheduled_for": time_text(times[at - 1])},
                    "schedule_id": schedule if at else None,
                }
                connection.execute(sa.update(Task).where(Task.id == task, Task.user_id == owner).values(values))
        assert said(url_of(of_the_baseline), *UPGRADE)[0] == 0
        with Session(of_the_baseline) as db:
            assert {*times_of_tasks(db, schedule, times[1], times[3], 10)} == {*map(time_text, times[1:4])}

    def test_an_older_one_is_told_the_way(self, of_the_baseline: sa.Engine) -> None:
        url = url_of(of_the_baseline)
        rows(url, f"UPDATE {VERSION} SET version_num = '0039'")
        before = schema(url)
        for command in (("app", "migrate"), ("alembic", "current")):
            code, lines = said(url, *command)
            assert code != 0
            assert lines[-1].endswith("at migration 0039: migrate it with the code of commit 0715a69 first")
        assert (schema(url), version(url)) == (before, "0039")


def test_the_service_knows_the_schema(new_database: Callable[..., str], of_the_baseline: sa.Engine) -> None:
    for url, expected in (
        (new_database(), "the database is not migrated"),
        (url_of(of_the_baseline), "the database is at migration 0040, the code needs"),
        (new_database(TEMPLATE), None),
    ):
        with settings(environment(url, "memory://")):
            fault = schema_fault()
            assert fault is None if expected is None else (fault or "").startswith(expected)
