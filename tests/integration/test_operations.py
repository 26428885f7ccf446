"""Probes, metrics and the command line against a real PostgreSQL and a real Valkey."""

import re
import subprocess
import sys
from datetime import UTC, datetime

import httpx
import pytest
from sqlalchemy import select

from app.__main__ import main
from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal, dispose_engine
from app.models.task import TaskStatus
from app.models.worker import LEASE_ROW, MaintenanceLease
from app.services.health_service import check_database
from tests.support.accounts import API, PASSWORD
from tests.support.databases import DIALECT
from tests.support.services import ROOT, Services, environment, process_environment
from tests.support.settings import settings, sql
from tests.support.task_client import TaskClient
from tests.support.tasks import new_task, task_in


class TestReadiness:
    def test_all_is_well(self, client: httpx.Client) -> None:
        assert client.get("/readyz").json() == {
            "status": "ready",
            "checks": {"database": "ok", "migrations": "ok", "broker": "ok"},
        }

    @pytest.mark.parametrize(
        ("statement", "state"),
        [
            ("UPDATE alembic_version SET version_num = '0040'", "the database is at migration 0040, the code needs "),
            ("DROP TABLE alembic_version", "the database is not migrated: run `alembic upgrade head`"),
        ],
    )
    def test_other_migrations_are_named(self, client: httpx.Client, statement: str, state: str) -> None:
        sql(statement)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["database"] == "ok"
        assert answer.json()["checks"]["migrations"].startswith(state)

    def test_the_migrations_of_a_newer_version_are_well(self, client: httpx.Client) -> None:
        sql("UPDATE alembic_version SET version_num = '9999'")
        assert (client.get("/readyz").status_code, client.get("/readyz").json()["checks"]["migrations"]) == (200, "ok")

    @pytest.mark.postgresql("the way in which a database is made read-only")
    def test_a_database_that_takes_no_writes_is_not_ready(self, client: httpx.Client) -> None:
        """It answers every read."""
        name = sql("SELECT current_database()")[0][0]
        sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        dispose_engine()
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["database"]) == (503, "read-only: it takes no writes")

    @pytest.mark.skipif(DIALECT != "mysql", reason="a setting of MariaDB and MySQL")
    def test_a_server_that_is_read_only_is_not_ready(self, client: httpx.Client, services: Services) -> None:
        """It refuses all but administrators: the service's own user is none."""
        name, user = sql("SELECT database()")[0][0], f"u{new_id().hex[:20]}"
        sql(f"CREATE USER {user}@'%'")
        sql(f"GRANT ALL ON `{name}`.* TO {user}@'%'")
        url = services.database_url(name).replace("root@", f"{user}@")
        with settings(environment(url, services.flushed_broker())):
            assert check_database() == "ok"
            try:
                services.database.sql("SET GLOBAL read_only = ON")
                assert check_database() == "read-only: it takes no writes"
            finally:
                services.database.sql("SET GLOBAL read_only = OFF")
                services.database.sql(f"DROP USER {user}@'%'")

    def test_a_row_that_another_transaction_holds_is_no_reason(self, client: httpx.Client) -> None:
        """The database answers. A migration or a dump may hold it for long."""
        now = datetime.now(UTC)
        with SessionLocal() as db:
            db.add(MaintenanceLease(id=LEASE_ROW, holder=new_id(), expires_at=now, rescue_after=now))
            db.commit()
            db.execute(select(MaintenanceLease).with_for_update())
            assert client.get("/readyz").json()["checks"]["database"] == "ok"

    def test_an_unmigrated_database_is_503(self, client: httpx.Client) -> None:
        sql("DROP TABLE login_failures")
        answer = client.post("/api/v1/auth/login", data={"username": "anna", "password": "whatever"})
        assert (answer.status_code, answer.json()["code"]) == (503, "not_migrated")


class TestMetrics:
    def test_show_the_depth_of_each_queue(self, client: httpx.Client) -> None:
        with SessionLocal() as db:
            for _ in range(2):
                new_task(db)
            new_task(db, priority="low", delay_seconds=500)
        # One has waited since then; the other was tried again just now.
        sql("UPDATE tasks SET created_at = created_at - interval '1 day' WHERE queue = 'default'")
        first = "SELECT id FROM (SELECT id FROM tasks ORDER BY id LIMIT 1) AS first"
        sql(f"UPDATE tasks SET due_at = due_at - interval '100 seconds' WHERE id = ({first})")
        assert client.get("/healthz").status_code == 200
        page = client.get("/metrics").text
        assert 'tasks{queue="default",status="pending"} 2.0' in page
        assert 'tasks{queue="low_priority",status="pending"} 1.0' in page
        assert 'tasks{queue="high_priority",status="pending"} 0.0' in page
        ages = dict(re.findall(r'task_queue_oldest_seconds\{queue="(\w+)"\} (\S+)', page))
        assert 100 <= float(ages["default"]) < 130
        assert float(ages["low_priority"]) == 0  # not due yet
        assert 'route="/healthz",status="200"' in page

    def test_show_the_queues_as_their_list_does(self, client: httpx.Client, admin: TaskClient) -> None:
        with SessionLocal() as db:
            for options in ({}, {"delay_seconds": 500}, {"priority": "low"}):
                new_task(db, **options)
            task_in(db, TaskStatus.RUNNING)
        assert client.post(f"{API}/queues/low_priority/pause", json={"reason": "r"}, headers=admin.headers).is_success
        listed = client.get(f"{API}/queues/", headers=admin.headers).json()
        page = client.get("/metrics").text
        lengths = dict(re.findall(r'celery_queue_length\{queue_name="([^"]+)"\} (\S+)', page))
        assert {name: float(value) for name, value in lengths.items()} == {
            each["name"]: each["ready"] for each in listed
        }
        assert (lengths["default"], lengths["low_priority"]) == ("1.0", "1.0")


class TestCreateAdmin:
    def test_says_created_then_exists(self, client: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
        named = {"FIRST_ADMIN_USERNAME": "chief", "FIRST_ADMIN_PASSWORD": PASSWORD}
        url = get_settings().database_url
        assert url is not None
        with settings({"DATABASE_URL": url.get_secret_value(), **named}):
            assert (main(["create-admin"]), main(["create-admin"])) == (0, 0)
        assert capsys.readouterr().out == "created\nexists\n"

    @pytest.mark.parametrize(
        ("command", "username", "password", "says"),
        [
            ("create-admin", "", "", "FIRST_ADMIN_USERNAME"),
            ("create-admin", "chief", "", "FIRST_ADMIN_PASSWORD"),
            ("create-admin", "a b", PASSWORD, "FIRST_ADMIN_USERNAME"),
            ("create-admin", "chief", PASSWORD, "DATABASE_URL is not set"),
            ("migrate", "", "", "migrate: DATABASE_URL is not set"),
        ],
    )
    def test_an_error_is_one_line(
        self,
        command: str,
        username: str,
        password: str,
        says: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.delenv("DATABASE_URL", raising=False)  # names the engine of this session
        named = {"FIRST_ADMIN_USERNAME": username, "FIRST_ADMIN_PASSWORD": password}
        with settings({name: value for name, value in named.items() if value}):
            assert main([command]) == 1
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            ({}, "create-admin: FIRST_ADMIN_PASSWORD: "),
            (
                {"APP_ENV": "production", "SECRET_KEY": "0123456789abcdef" * 4, "ALLOW_PASSWORDLESS_BROKER": "true"},
                "configuration: APP_ENV=production refuses this FIRST_ADMIN_PASSWORD. ",
            ),
        ],
    )
    def test_a_weak_password_is_one_line_that_does_not_show_it(
        self, client: httpx.Client, capsys: pytest.CaptureFixture[str], more: dict[str, str], says: str
    ) -> None:
        named = {"FIRST_ADMIN_USERNAME": "chief", "FIRST_ADMIN_PASSWORD": "passwordpassword"}
        url = get_settings().database_url
        assert url is not None
        with settings({"DATABASE_URL": url.get_secret_value(), **named, **more}):
            assert main(["create-admin"]) == 1
        said = capsys.readouterr()
        assert said.err.startswith(says)
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert "passwordpassword" not in said.err

    @pytest.mark.parametrize("name", ["create-admin", "migrate", "check"])
    def test_a_refused_setting_is_one_line_before_anything_starts(self, name: str) -> None:
        variables = process_environment({"API_THREADS": "many"})
        command = [sys.executable, "-m", "app", name]
        ended = subprocess.run(
            command, check=False, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60
        )
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith("configuration: API_THREADS: ")
        assert ended.stderr.count("\n") == 1
