"""The audit can only be added to: as the role that owns it, as a superuser, and as docs/servers.md sets it up."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.db.statements import audit as statements
from tests.support.accounts import API, PASSWORD
from tests.support.services import ROOT, Services, environment, migrate, process_environment, sqlalchemy_url
from tests.support.stack import Stack
from tests.support.tasks import LONG_RUNNING
from tests.support.waiting import wait_for

pytestmark = pytest.mark.postgresql("its privileges; `test_audit_pruning.py` is for every engine")
ROW = (
    "INSERT INTO audit_events (id, event, origin, object_kind, object_id) VALUES ({id}, 'logout', 'http', 'user', '1')"
)
DATED_ROW = ROW.format(id="gen_random_uuid(), '2020-01-01'").replace("(id,", "(id, at,")
ID = "'019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11'"
CHANGES = [
    "UPDATE audit_events SET event = 'login.failed'",
    "UPDATE audit_events SET event = 'login.failed' WHERE false",
    "DELETE FROM audit_events",
    "DELETE FROM audit_events WHERE false",
    "TRUNCATE audit_events",
    "TRUNCATE audit_events CASCADE",
    "TRUNCATE users, audit_events CASCADE",
    f"{ROW.format(id=ID)} ON CONFLICT (id) DO UPDATE SET event = 'login.failed'",
    f"{ROW.format(id='gen_random_uuid()')} ON CONFLICT (id) DO UPDATE SET event = 'login.failed'",
    f"MERGE INTO audit_events USING (SELECT {ID}::uuid AS old) s ON id = old WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM audit_events RETURNING 1) SELECT count(*) FROM gone",
    "DO $$ BEGIN DELETE FROM audit_events; END $$",
]
BY_PRIVILEGE, BY_TRIGGER = "permission denied for table audit_events", "audit_events is append-only"
PROTECTION = """
    SELECT tgenabled, relacl::text FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE tgname = 'audit_events_append_only'
"""
DOCUMENT = (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
# The first and the last block are of MariaDB: `test_audit_pruning.py` runs the last one.
_, ONCE, AT_EVERY_RELEASE, _ = re.findall(r"^```sql\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


class Role:
    """One connection a statement, each committed."""

    def __init__(self, services: Services, name: str, password: str, database: str) -> None:
        port = services.postgres.port
        self.url = f"postgresql://{name}:{password}@127.0.0.1:{port}/{database}"
        self._engine = create_engine(sqlalchemy_url(self.url), poolclass=NullPool)

    def run(self, statements: str) -> Any:
        with self._engine.begin() as connection:
            result = connection.exec_driver_sql(statements)
            return result.all() if result.returns_rows else None

    def refused(self, statements: str) -> str:
        """Why; a text of none of the refusals if it was not."""
        try:
            self.run(statements)
        except DBAPIError as refusal:
            return str(refusal.orig)
        return f"done: {statements}"


def grant(url: str, role: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", "grant", role]
    settings = process_environment(environment(url, "memory://"))
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def roles(services: Services) -> Iterator[dict[str, Role]]:
    """What the document says, done; and one record."""
    services.postgres.sql(ONCE, database="postgres")
    found = {
        "owner": Role(services, "tasks_owner", "choose-one", "tasks"),
        "app": Role(services, "tasks_app", "choose-another", "tasks"),
    }
    migrate(found["owner"].url)
    grant(found["owner"].url, "tasks_app")
    found["owner"].run(ROW.format(id=ID))
    yield found
    services.drop_database("tasks")
    services.postgres.sql("DROP ROLE tasks_app; DROP ROLE tasks_owner", database="postgres")


@pytest.fixture(scope="module")
def superuser(services: Services) -> Iterator[Role]:
    """As the embedded PostgreSQL has it: the service's role may do anything but this."""
    name = services.new_database()
    password = (Path(services.postgres.directory) / "password").read_text(encoding="ascii")
    role = Role(services, services.postgres.database, password, name)
    role.run(ROW.format(id=ID))
    yield role
    services.drop_database(name)


class TestTheCommand:
    def test_grants_what_the_document_says_and_revokes_what_was_more(self, roles: dict[str, Role]) -> None:
        privileges = "SELECT relname, relacl::text, (SELECT array_agg(attacl::text ORDER BY attname) FROM pg_attribute WHERE attrelid = c.oid AND attacl IS NOT NULL) FROM pg_class c WHERE relacl IS NOT NULL ORDER BY 1"
        by_command = roles["owner"].run(privileges)
        roles["owner"].run(AT_EVERY_RELEASE)
        assert roles["owner"].run(privileges) == by_command
        roles["owner"].run("GRANT DELETE ON audit_events TO tasks_app")
        assert grant(roles["owner"].url, "tasks_app").returncode == 0
        assert roles["owner"].run(privileges) == by_command

    def test_says_in_a_line_why_not(self, roles: dict[str, Role]) -> None:
        for name, role, says in (
            ("owner", "nobody_of_that_name", 'role "nobody_of_that_name" does not exist'),
            ("owner", 'x; DROP TABLE "tasks', 'role "x; DROP TABLE "tasks" does not exist'),
            ("app", "tasks_app", "grant: run this as the role that owns the tables"),
            ("owner", "tasks_owner", "grant: tasks_owner owns the tables: the service needs a role of its own"),
        ):
            done = grant(roles[name].url, role)
            assert (done.returncode, done.stderr.count("\n")) == (1, 1), (name, role)
            assert says in done.stderr


class TestChanges:
    @pytest.mark.parametrize("name", ["owner", "app"])
    def test_are_refused_to_whoever_runs_the_service(self, roles: dict[str, Role], name: str) -> None:
        said = {statement: roles[name].refused(statement) for statement in CHANGES}
        # The trigger is not even asked.
        assert {each: why for each, why in said.items() if "permission denied for table" not in why} == {}
        assert len(roles["app"].run(f"SELECT 1 FROM audit_events WHERE id = {ID} AND event = 'logout'")) == 1

    def test_are_refused_by_the_trigger_where_no_privilege_counts(self, superuser: Role) -> None:
        for start in ("", "SET session_replication_role = replica; "):
            said = {start + statement: superuser.refused(start + statement) for statement in CHANGES}
            assert {each: why for each, why in said.items() if BY_TRIGGER not in why} == {}
        assert superuser.run("SELECT event FROM audit_events") == [("logout",)]

    @pytest.mark.parametrize("statement", ["UPDATE audit_events SET event = ''", "DELETE FROM audit_events"])
    def test_each_of_the_two_guards_holds_alone(self, roles: dict[str, Role], statement: str) -> None:
        owner = roles["owner"]
        assert BY_PRIVILEGE in owner.refused(statement)
        with_privilege = f"GRANT UPDATE, DELETE ON audit_events TO CURRENT_USER; {statement}"
        assert BY_TRIGGER in owner.refused(with_privilege)
        without_trigger = f"ALTER TABLE audit_events DISABLE TRIGGER ALL; {statement}"
        assert BY_PRIVILEGE in owner.refused(without_trigger)

    def test_nothing_cascades_into_it(self, superuser: Role) -> None:
        keys = superuser.run(
            "SELECT conname FROM pg_constraint WHERE conrelid = 'audit_events'::regclass AND contype = 'f'"
        )
        assert keys == []


class TestRuntimeRole:
    def test_can_neither_undo_the_guard_nor_choose_a_time(self, roles: dict[str, Role]) -> None:
        statements = [
            "DROP TABLE audit_events",
            "ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only",
            "ALTER TABLE audit_events RENAME TO elsewhere",
            "DROP TRIGGER audit_events_append_only ON audit_events",
            "CREATE OR REPLACE FUNCTION audit_events_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
            "CREATE RULE r AS ON INSERT TO audit_events DO INSTEAD NOTHING",
            "SET session_replication_role = replica",
            "SET ROLE tasks_owner",
            "SELECT * FROM audit_events FOR UPDATE",
            "CREATE TABLE public.mine (id int)",
            "UPDATE alembic_version SET version_num = '0001'",
            DATED_ROW,
        ]
        said = {statement: roles["app"].refused(statement) for statement in statements}
        assert {each: why for each, why in said.items() if not re.search("must be owner|permission denied", why)} == {}

    def test_may_end_a_task_of_which_a_trigger_writes_to_the_outbox(self, roles: dict[str, Role]) -> None:
        """The trigger runs with the role's privileges: on the table, and on what numbers its rows."""
        app, user, task = roles["app"], "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d12", "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d13"
        app.run(
            "INSERT INTO users (id, username, username_normalized, email, email_normalized, password_hash)"
            f" VALUES ('{user}', 'u', 'u', 'u@e.com', 'u@e.com', '!')"
        )
        app.run(
            "INSERT INTO tasks (id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority,"
            f" queue, due_at, followers) VALUES ('{task}', gen_random_uuid(), '{user}', 'n', 't', '{LONG_RUNNING}',"
            " '[1]', '{}', 'normal', 'default', now(), 1)"
        )
        app.run("UPDATE tasks SET status = 'revoked', finished_at = now(), due_at = NULL, version = 2")
        assert app.run("SELECT event FROM task_outbox") == [("revoked",)]
        app.run(
            f"DELETE FROM tasks WHERE id = '{task}'; DELETE FROM task_outbox; DELETE FROM users WHERE id = '{user}'"
        )

    def test_cannot_grant_it_to_itself(self, roles: dict[str, Role]) -> None:
        roles["app"].run("GRANT DELETE ON audit_events TO tasks_app")  # PostgreSQL warns, and grants nothing
        assert BY_PRIVILEGE in roles["app"].refused("DELETE FROM audit_events")


def prune(role: Role, *options: str) -> subprocess.CompletedProcess[str]:
    """`python -m app prune-audit` as this role of the database."""
    command = [sys.executable, "-m", "app", "prune-audit", *options]
    variables = process_environment(environment(role.url, "memory://"))
    return subprocess.run(command, check=False, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)


class TestPruning:
    def test_deletes_what_is_old_says_so_in_the_audit_and_leaves_the_guard_in_place(
        self, roles: dict[str, Role]
    ) -> None:
        owner = roles["owner"]
        for _ in range(5):
            owner.run(DATED_ROW)
        before = owner.run(PROTECTION)
        counted = prune(owner, "--older-than", "400", "--dry-run")
        assert counted.stdout.startswith("5 records are older than "), counted.stderr
        assert len(owner.run("SELECT 1 FROM audit_events WHERE at < '2021-01-01'")) == 5
        done = prune(owner, "--older-than", "400", "--batch", "2")
        assert (done.returncode, done.stdout[:23]) == (0, "5 records were older th"), done.stderr
        assert owner.run("SELECT count(*) FROM audit_events WHERE at < '2021-01-01'") == [(0,)]
        assert len(owner.run(f"SELECT 1 FROM audit_events WHERE id = {ID}")) == 1
        said = owner.run("SELECT origin, detail::json FROM audit_events WHERE event = 'audit.pruned' ORDER BY at")
        assert [(origin, detail["deleted"], detail["role"]) for origin, detail in said] == [
            ("python", deleted, "tasks_owner") for deleted in (2, 2, 1)
        ]
        assert re.match(r"20\d\d-\d\d-\d\dT.*\+00:00$", said[0][1]["before"])
        assert owner.run(PROTECTION) == before
        assert before[0][0] == "A"
        assert BY_PRIVILEGE in owner.refused("DELETE FROM audit_events")

    def test_is_refused_to_the_services_role(self, roles: dict[str, Role]) -> None:
        roles["owner"].run(DATED_ROW)
        number, before = roles["app"].run("SELECT count(*) FROM audit_events"), roles["owner"].run(PROTECTION)
        refused = prune(roles["app"], "--older-than", "400")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "prune-audit: " in refused.stderr
        assert "must be owner of table audit_events" in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert roles["app"].run("SELECT count(*) FROM audit_events") == number
        assert roles["owner"].run(PROTECTION) == before
        prune(roles["owner"], "--older-than", "400")

    def test_killed_in_a_batch_it_leaves_the_guard_and_the_records(self, roles: dict[str, Role]) -> None:
        owner = roles["owner"]
        owner.run(DATED_ROW)
        before = owner.run(PROTECTION)
        with create_engine(sqlalchemy_url(owner.url)).connect() as connection, Session(connection) as db:
            assert statements.delete_before(db, datetime.now(UTC) - timedelta(days=400), 10) == 1
            connection.invalidate()  # as if the process had died
        assert owner.run(PROTECTION) == before
        assert owner.run("SELECT count(*) FROM audit_events WHERE at < '2021-01-01'") == [(1,)]
        prune(owner, "--older-than", "400")


class TestTheService:
    def test_runs_as_the_runtime_role(self, services: Services, roles: dict[str, Role], tmp_path: Path) -> None:
        """API, worker, maintenance and their deeds, with no privilege but those of the document."""
        with Stack(services, tmp_path, "template1") as stack:
            stack.settings["DATABASE_URL"] = roles["app"].url
            stack.settings["FIRST_ADMIN_USERNAME"] = "chief"
            stack.settings["FIRST_ADMIN_PASSWORD"] = PASSWORD
            stack.server()
            with stack.api(token="") as http:
                assert http.get("/readyz").json()["checks"]["migrations"] == "ok"
                tokens = http.post(f"{API}/auth/login", data={"username": "chief", "password": PASSWORD}).json()
                http.headers["Authorization"] = f"Bearer {tokens['access_token']}"
                body = {"name": "n", "task_type": "t", "celery_task_name": LONG_RUNNING}
                short = http.post(f"{API}/tasks/", json=body | {"args": [0]}).json()["id"]
                long = http.post(f"{API}/tasks/", json=body | {"args": [60]}).json()["id"]
                stack.worker()
                ended = http.get(f"{API}/tasks/{short}?wait=60", timeout=90).json()
                assert ended["status"] == "succeeded", ended
                wait_for(
                    lambda: http.get(f"{API}/tasks/{long}").json()["status"] == "running", 60, "the long one to run"
                )
                assert http.delete(f"{API}/tasks/{long}?force=true").status_code == 202
                wait_for(lambda: http.get(f"{API}/tasks/{long}").status_code == 404, 60, "the long one to be gone")
                user = http.post(
                    f"{API}/users/", json={"username": "anna", "email": "anna@example.com", "password": PASSWORD}
                ).json()
                assert http.patch(f"{API}/users/{user['id']}", json={"role": "admin"}).status_code == 200
                assert http.delete(f"{API}/users/{user['id']}").status_code == 204
                records = http.get(f"{API}/audit").json()
        assert [record["event"] for record in records][:5] == [
            "user.deleted",
            "user.role_changed",
            "user.created",
            "task.deleted",
            "login.succeeded",
        ]
