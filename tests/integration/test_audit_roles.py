"""The audit can only be added to: as the role that owns it, as a superuser, and as docs/database-roles.md sets it up."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from tests.support.accounts import API, PASSWORD
from tests.support.services import ROOT, Services, migrate, sqlalchemy_url
from tests.support.stack import Stack
from tests.support.tasks import LONG_RUNNING
from tests.support.waiting import wait_for

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
DOCUMENT = (ROOT / "docs" / "database-roles.md").read_text(encoding="utf-8")
ONCE, AT_EVERY_RELEASE, PRUNING = re.findall(r"^```sql\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


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
        with pytest.raises(DBAPIError) as refusal:
            self.run(statements)
        return str(refusal.value.orig)


@pytest.fixture(scope="module")
def roles(services: Services) -> Iterator[dict[str, Role]]:
    """What the document says, done; and one record."""
    services.postgres.sql(ONCE, database="postgres")
    found = {
        "owner": Role(services, "tasks_owner", "choose-one", "tasks"),
        "app": Role(services, "tasks_app", "choose-another", "tasks"),
    }
    migrate(found["owner"].url)
    found["owner"].run(AT_EVERY_RELEASE)
    found["owner"].run(ROW.format(id=ID))
    yield found
    services.drop_database("tasks")
    services.postgres.sql("DROP ROLE tasks_app; DROP ROLE tasks_owner", database="postgres")


@pytest.fixture
def superuser(services: Services) -> Iterator[Role]:
    """As the embedded PostgreSQL has it: the service's role may do anything but this."""
    name = services.new_database()
    password = (Path(services.postgres.directory) / "password").read_text(encoding="ascii")
    role = Role(services, services.postgres.database, password, name)
    role.run(ROW.format(id=ID))
    yield role
    services.drop_database(name)


class TestChanges:
    @pytest.mark.parametrize("statement", CHANGES)
    @pytest.mark.parametrize("name", ["owner", "app"])
    def test_are_refused_to_whoever_runs_the_service(self, roles: dict[str, Role], name: str, statement: str) -> None:
        said = roles[name].refused(statement)
        assert "permission denied for table" in said  # the trigger is not even asked
        assert len(roles["app"].run(f"SELECT 1 FROM audit_events WHERE id = {ID} AND event = 'logout'")) == 1

    @pytest.mark.parametrize("statement", CHANGES)
    def test_are_refused_by_the_trigger_where_no_privilege_counts(self, superuser: Role, statement: str) -> None:
        assert BY_TRIGGER in superuser.refused(statement)
        assert BY_TRIGGER in superuser.refused(f"SET session_replication_role = replica; {statement}")
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
    @pytest.mark.parametrize(
        "statement",
        [
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
        ],
    )
    def test_can_neither_undo_the_guard_nor_choose_a_time(self, roles: dict[str, Role], statement: str) -> None:
        assert re.search("must be owner|permission denied", roles["app"].refused(statement))

    def test_cannot_grant_it_to_itself(self, roles: dict[str, Role]) -> None:
        roles["app"].run("GRANT DELETE ON audit_events TO tasks_app")  # PostgreSQL warns, and grants nothing
        assert BY_PRIVILEGE in roles["app"].refused("DELETE FROM audit_events")


class TestPruning:
    def test_deletes_what_is_old_and_leaves_the_guard_in_place(self, roles: dict[str, Role]) -> None:
        owner = roles["owner"]
        owner.run(DATED_ROW)
        before = owner.run("SELECT tgenabled FROM pg_trigger WHERE tgname = 'audit_events_append_only'")
        privileges = owner.run("SELECT relacl::text FROM pg_class WHERE relname = 'audit_events'")
        owner.run(PRUNING)
        assert owner.run("SELECT count(*) FROM audit_events WHERE at < '2021-01-01'") == [(0,)]
        assert len(owner.run(f"SELECT 1 FROM audit_events WHERE id = {ID}")) == 1
        assert owner.run("SELECT tgenabled FROM pg_trigger WHERE tgname = 'audit_events_append_only'") == before
        assert before == [("A",)]
        assert owner.run("SELECT relacl::text FROM pg_class WHERE relname = 'audit_events'") == privileges
        assert BY_PRIVILEGE in owner.refused("DELETE FROM audit_events")
        assert BY_PRIVILEGE in roles["app"].refused(
            PRUNING.partition("GRANT")[2].partition(";")[2].partition("REVOKE")[0]
        )


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
                    f"{API}/users/",
                    json={"username": "anna", "email": "anna@example.com", "password": PASSWORD},
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
