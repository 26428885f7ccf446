"""Processes work while `alembic upgrade head` waits for a lock: it then holds no lock of another table."""

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from app.core.ids import new_id
from app.db.compatibility import read_revisions
from app.ddl.clock import NOW
from app.migrations.baselines import BASELINE
from app.models import MaintenanceLease, Task, User, WebhookEndpoint
from app.models.outbox import OutboxRow
from app.models.task import TaskDependency
from app.models.task_stats import task_submissions
from app.models.worker import WorkerProcess
from app.models.workflow import WorkflowNode
from tests.support.databases import DIALECT, ENGINE
from tests.support.schemas import rows, run, said, schema, version
from tests.support.services import TEMPLATE, Services, sqlalchemy_url
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(ENGINE == "sqlite", reason="it has one writer, and a reader does not wait for it")

UPGRADE = ("alembic", "upgrade", "head")
BEFORE = BASELINE
# The tables which processes use and a revision since changes, in the order of the revisions. That of 0045 is none of them:
# it refers to the tasks.
CHANGED = {
    "tasks": "0041",  # and 0049
    "task_outbox": "0042",
    "webhook_endpoints": "0044",
    "maintenance_lease": "0046",
    "task_dependencies": "0047",
    "workflow_nodes": "0048",
    "worker_processes": "0051",
}
# MySQL has a change of the tasks, as that of 0041, wait for who uses a table that refers to them.
REFERS_TO_TASKS = {"task_dependencies"} if DIALECT == "mysql" else set[str]()
# Less than a migration waits for a lock (`app/migrations/env.py`), so that it ends before the migration gives up.
AT_MOST_A_SECOND = {
    "postgresql": "SET lock_timeout = '1s'",
    "mysql": "SET lock_wait_timeout = 1, innodb_lock_wait_timeout = 1",
}
WAITS = {
    # An index that is created concurrently waits for who uses its table.
    "postgresql": "SELECT 1 FROM pg_locks WHERE NOT granted"
    " AND (relation = '{table}'::regclass OR locktype = 'virtualxid')",
    "mysql": "SELECT 1 FROM information_schema.processlist WHERE db = database()"
    " AND state = 'Waiting for table metadata lock' AND info LIKE '%{table}%' AND id <> connection_id()",
}
USER = new_id()


def submit(connection: sa.Connection) -> None:
    """With the columns that the release before knows."""
    kind = {"task_type": "t", "priority": "normal", "queue": "default"}
    task = {"name": "n", "celery_task_name": "c", "args": [], "kwargs": {}, "celery_id": new_id()}
    connection.execute(sa.insert(Task).values(id=new_id(), user_id=USER, due_at=NOW, **kind, **task))
    connection.execute(sa.insert(task_submissions).values(user_id=USER, at=NOW, number=1, **kind))


# What a process does with each of the tables.
USES: dict[str, Callable[[sa.Connection], object]] = {
    "tasks": submit,
    "task_outbox": lambda connection: connection.execute(sa.select(OutboxRow.id)).all(),
    "webhook_endpoints": lambda connection: connection.execute(
        sa.select(WebhookEndpoint.id, WebhookEndpoint.url)
    ).all(),
    "maintenance_lease": lambda connection: connection.execute(sa.select(MaintenanceLease.holder)).all(),
    "task_dependencies": lambda connection: connection.execute(sa.select(TaskDependency.parent_id)).all(),
    "workflow_nodes": lambda connection: connection.execute(sa.select(WorkflowNode.status)).all(),
    "worker_processes": lambda connection: connection.execute(sa.select(WorkerProcess.name)).all(),
}


@pytest.fixture
def database(services: Services) -> Iterator[sa.Engine]:
    """At the migration before, with a user and tasks."""
    name = services.new_database(TEMPLATE)
    engine = sa.create_engine(sqlalchemy_url(services.database_url(name)), poolclass=NullPool)
    user = dict.fromkeys(("username", "username_normalized", "email", "email_normalized", "password_hash"), "u")
    with engine.begin() as connection:
        connection.execute(sa.insert(User).values(id=USER, **user))
        for _ in range(4):
            submit(connection)
    assert said(url_of(engine), "alembic", "downgrade", BEFORE)[0] == 0
    yield engine
    engine.dispose()
    services.drop_database(name)


def url_of(engine: sa.Engine) -> str:
    return engine.url.render_as_string(hide_password=False).replace("postgresql+psycopg2:", "postgresql:")


def impatient(engine: sa.Engine) -> sa.Connection:
    connection = engine.connect()
    connection.execute(sa.text(AT_MOST_A_SECOND[DIALECT]))
    connection.commit()
    return connection


@pytest.mark.parametrize("held", [each for each in CHANGED if each not in REFERS_TO_TASKS])
def test_while_it_waits_for_one_table_the_others_are_used(database: sa.Engine, services: Services, held: str) -> None:
    """By anybody, and by the session that it waits for, which would be a deadlock."""
    url = url_of(database)
    with impatient(database) as holder, impatient(database) as other:
        USES[held](holder)
        migration = run(url, *UPGRADE)
        waits = WAITS[DIALECT].format(table=held)
        wait_for(lambda: rows(url, waits) or migration.poll() is not None, 30, f"the migration to wait for {held}")
        assert migration.poll() is None, migration.communicate()[0]
        for session in (other, holder):
            for table in (each for each in CHANGED if each != held):
                USES[table](session)
            session.commit()
        output, _ = migration.communicate(timeout=60)
    assert migration.returncode == 0, output
    assert_is_migrated(url, services)


@pytest.mark.postgresql("MariaDB and MySQL create indexes beside writers by themselves")
def test_rows_are_written_while_an_index_is_created(database: sa.Engine, services: Services) -> None:
    url = url_of(database)
    with impatient(database) as holder, impatient(database) as other:
        submit(holder)
        migration = run(url, *UPGRADE)
        wait_for(lambda: rows(url, WAITS[DIALECT].format(table="tasks")), 30, "it to wait for the writer")
        assert int(version(url)) == int(CHANGED["tasks"]) - 1
        submit(other)
        for session in (other, holder):
            session.commit()
        output, _ = migration.communicate(timeout=60)
    assert migration.returncode == 0, output
    assert_is_migrated(url, services)


@pytest.mark.postgresql("where a try of this kind leaves something")
def test_an_index_that_was_given_up_is_created_anew(database: sa.Engine, services: Services) -> None:
    url = url_of(database)
    with impatient(database) as holder:
        submit(holder)
        code, lines = said(url, *UPGRADE)
        holder.commit()
    assert (code != 0, "lock timeout" in lines[-1]) == (True, True), lines
    left = "SELECT 1 FROM pg_index WHERE NOT indisvalid"
    assert rows(url, left)
    assert said(url, *UPGRADE)[0] == 0
    assert rows(url, left) == []
    assert_is_migrated(url, services)


@pytest.mark.parametrize("held", ["task_outbox", "webhook_endpoints"])
def test_one_that_gives_up_keeps_the_revisions_before_and_is_repeated(
    database: sa.Engine, services: Services, held: str
) -> None:
    url = url_of(database)
    with database.begin() as holder:
        USES[held](holder)
        code, lines = said(url, *UPGRADE)
    assert (code != 0, "lock" in lines[-1].lower()) == (True, True), lines
    assert int(version(url)) == int(CHANGED[held]) - 1
    assert said(url, *UPGRADE)[0] == 0
    assert_is_migrated(url, services)


def test_starters_at_once_take_each_revision_once(database: sa.Engine, services: Services) -> None:
    url = url_of(database)
    with database.connect() as holder:
        USES["webhook_endpoints"](holder)
        starters = [run(url, *UPGRADE) for _ in range(3)]
        waits = WAITS[DIALECT].format(table="webhook_endpoints")
        wait_for(lambda: rows(url, waits), 30, "one of them to wait")
        holder.rollback()
    outputs = [starter.communicate(timeout=60)[0] for starter in starters]
    assert [starter.returncode for starter in starters] == [0, 0, 0], outputs
    taken = [line for output in outputs for line in output.splitlines() if line.startswith("Running upgrade")]
    since = [revision for revision in read_revisions()[1] if revision > BEFORE]
    assert len(taken) == len(set(taken)) == len(since), taken
    assert_is_migrated(url, services)


@pytest.mark.postgresql("its roles: elsewhere a trigger writes with the rights of who has made it")
def test_the_services_role_may_use_what_is_new_before_it_is_granted(database: sa.Engine) -> None:
    url, role = url_of(database), f"of_{database.url.database}"
    privileges = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"
    rows(url, f"CREATE ROLE {role}", privileges)
    try:
        assert said(url, *UPGRADE)[0] == 0
        with database.connect() as connection:
            connection.execute(sa.text(f"SET ROLE {role}"))
            for use in USES.values():
                use(connection)
            for table in ("webhook_closed_lanes", "webhook_recoveries"):
                connection.execute(sa.text(f"DELETE FROM {table}"))
    finally:
        rows(url, f"DROP OWNED BY {role}", f"DROP ROLE {role}")


def assert_is_migrated(url: str, services: Services) -> None:
    assert version(url) == read_revisions()[0]
    fresh = services.new_database(TEMPLATE)
    try:
        assert schema(url) == schema(services.database_url(fresh))
    finally:
        services.drop_database(fresh)
