"""What each check says of what is wrong: the services that it asks are replaced."""

import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from sqlalchemy.exc import OperationalError

from app.catalogue import EXTRAS
from app.core.config import ConfigurationError, Settings
from app.core.version import VERSION
from app.doctor import broker, database, findings, hosts, installation, workers
from app.doctor.findings import Finding, Level
from app.messaging.loader import Finding as LeftOut
from app.models.worker import WorkerState
from app.services import health_service
from app.services.operations.queue_service import QueueState
from app.services.operations.worker_service import WorkerInfo
from tests.support.tables import cases

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
# What INFO tells of a broker that loses nothing.
WELL = {"role": "master", "maxmemory": 0, "maxmemory_policy": "noeviction", "aof_enabled": 1}
KEY = "only-for-tests-0123456789abcdef0123456789abcdef"


def said(findings: Iterable[Finding]) -> list[tuple[Level, str]]:
    return [(finding.level, str(finding.seen)) for finding in findings]


def told(findings: Iterable[Finding]) -> str:
    """The levels and texts of all that is not well, each of which has a remedy."""
    wrong = [finding for finding in findings if finding.level != OK]
    assert all(finding.remedy for finding in wrong)
    return "; ".join(f"{finding.level} {finding.seen}" for finding in wrong)


class TestVersions:
    def test_packages_that_do_not_fit(self) -> None:
        found = installation.unmet_requirements(
            ["no-such-package>=1", "celery<1", "celery>=5", "no-such-extra; extra == 'x'"]
        )
        levels = [(each.level, str(each.remedy)) for each in found]
        assert levels == [(FAIL, "pip install 'no-such-package>=1'"), (WARN, "pip install 'celery<1'")]

    def test_a_python_that_is_too_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(platform, "python_version", lambda: "3.10.1")
        assert told(installation.check_python()).startswith("FAIL 3.10.1, and >=3.")

    def test_those_of_this_checkout_fit(self) -> None:
        assert told([*installation.check_python(), *installation.check_packages()]) == ""


class TestConfiguration:
    def test_what_is_missing_or_weak(self) -> None:
        found = list(installation.check_settings(Settings(database_url=None, celery_broker_url=None, secret_key=None)))
        assert [finding.level for finding in found] == [FAIL, FAIL, WARN]
        urls: dict[str, Any] = {"database_url": "sqlite:////tmp/x.db", "celery_broker_url": "redis://localhost"}
        weak = installation.check_settings(Settings(secret_key="weak", **urls))
        assert told(weak).startswith("warn SECRET_KEY is short")
        assert said(installation.check_settings(Settings(secret_key=KEY, **urls))) == [(OK, "APP_ENV=development")]

    def test_what_is_refused(self) -> None:
        error = ConfigurationError("configuration: API_THREADS: no number\nconfiguration: DEBUG: no")
        assert said(installation.refused_settings(error))[:2] == [(FAIL, "API_THREADS: no number"), (FAIL, "DEBUG: no")]


class TestTheDatabase:
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        @contextmanager
        def connect() -> Iterator[None]:
            yield None

        url = SimpleNamespace(render_as_string=lambda: "postgresql://u:***@host/tasks")
        made = SimpleNamespace(connect=connect, url=url)
        for name in ("engine", "autocommit_engine"):
            monkeypatch.setattr(database, name, lambda: made)
        monkeypatch.setattr(database, "server_name", lambda _: "PostgreSQL 15.1")
        return made

    def test_that_takes_no_writes(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health_service, "check_database", lambda: "read-only: it takes no writes")
        assert told(database.check_reachable()) == ("FAIL postgresql://u:***@host/tasks: read-only: it takes no writes")

    def test_that_does_not_answer(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse() -> None:
            raise OperationalError("SELECT", None, Exception("refused for password=hidden\nand more"))

        server.connect = refuse
        assert told(database.check_reachable()) == "FAIL postgresql://u:***@host/tasks: refused for password=***"

    def test_that_is_too_old(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "version_fault", lambda _: "PostgreSQL 17 or newer is needed, not 15.1")
        assert told(database.check_version()) == "FAIL PostgreSQL 17 or newer is needed, not 15.1"

    def test_that_is_behind(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health_service, "check_migrations", lambda: "at 0020: run `alembic`")
        assert said(database.check_migrations()) == [(FAIL, "at 0020: run `alembic`")]

    def test_that_a_newer_version_has_migrated(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(health_service, "check_migrations", lambda: OK)
        monkeypatch.setattr(database, "newer_schema", lambda: "at 0099: deploy the newer code")
        assert said(database.check_migrations()) == [(WARN, "at 0099: deploy the newer code")]

    def test_whose_role_lacks_privileges(self, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "missing_privileges", lambda _: [f"UPDATE on t{each}" for each in range(7)])
        assert told(database.check_privileges()).startswith("FAIL 7 privileges are missing: UPDATE on t0, ")
        assert told(database.check_privileges()).endswith("UPDATE on t4 …")


class TestClocks:
    def test_that_differ(self) -> None:
        with cases() as case:
            for ahead, level in ((0.5, OK), (-1.9, OK), (5, WARN), (-5, WARN), (61, FAIL), (-7200, FAIL)):
                with case(ahead):
                    theirs = NOW + timedelta(seconds=ahead)
                    ((found, seen),) = said(findings.compare_clocks(lambda theirs=theirs: theirs, lambda: NOW))
                    assert (found, seen) == (level, f"{ahead:+.2f} s ahead of this machine")

    def test_a_slow_answer_is_no_difference(self) -> None:
        times = iter([NOW, NOW + timedelta(seconds=8)])
        assert told(findings.compare_clocks(lambda: NOW + timedelta(seconds=8), lambda: next(times))) == ""


class TestTheBroker:
    def test_settings_that_lose_messages(self) -> None:
        with cases() as case:
            for changed, expected in (
                ({}, ""),
                ({"maxmemory_policy": "allkeys-lru"}, ""),
                (
                    {"maxmemory_policy": "allkeys-lru", "maxmemory": 100},
                    "FAIL maxmemory-policy allkeys-lru deletes queues",
                ),
                ({"maxmemory_policy": "volatile-ttl", "maxmemory": 100}, "warn maxmemory-policy volatile-ttl"),
                ({"maxmemory": 100, "used_memory": 95}, "warn more than 90 %"),
                ({"aof_enabled": 0}, "warn no append-only file"),
                ({"role": "slave"}, "FAIL it is a replica"),
                ({"loading": 1}, "warn it is loading"),
                ({"aof_last_write_status": "err"}, "FAIL its last write"),
                ({"rdb_last_bgsave_status": "err"}, "FAIL its last write"),
            ):
                with case(changed):
                    found = told(broker.broker_losses({**WELL, **changed}))
                    assert found.startswith(expected)
                    assert bool(found) == bool(expected)

    def test_versions(self) -> None:
        assert said(broker.broker_versions({"redis_version": "7.2.4", "valkey_version": "9.1"})) == [(OK, "Valkey 9.1")]
        assert told(broker.broker_versions({"redis_version": "6.2.1"})) == "warn Redis 6.2.1"

    @pytest.fixture
    def settings(self) -> Settings:
        return Settings(celery_broker_url="redis://:hidden-word@host/0")

    def test_one_that_does_not_answer(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(url: str, seconds: float) -> None:
            raise ConnectionError("Connection refused")

        monkeypatch.setattr(broker, "open_broker", refuse)
        assert told(broker.check_reachable(settings)) == "FAIL redis://:***@host/0 does not answer: Connection refused"

    def test_one_that_is_not_named(self) -> None:
        assert told(broker.check_reachable(Settings(celery_broker_url=None))) == "FAIL CELERY_BROKER_URL is not set"

    def test_one_that_permits_no_info(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        from redis.exceptions import NoPermissionError

        class Client:
            def info(self) -> None:
                raise NoPermissionError("no permissions to run the 'info' command")

        self.replace(monkeypatch, Client())
        for check in (broker.check_version, broker.check_durability):
            assert told(check(settings)).startswith("warn unknown: ")

    def test_one_that_is_no_redis(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.replace(monkeypatch, None)
        assert told(broker.check_version(settings)) == "warn py-amqp, which is not part of the tests"
        assert told([*broker.check_durability(settings), *broker.check_clock(settings)]) == ""

    def test_one_whose_clock_differs(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.replace(monkeypatch, SimpleNamespace(time=lambda: (0, 5)))
        assert told(broker.check_clock(settings)).startswith("FAIL -")

    @staticmethod
    def replace(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
        @contextmanager
        def opened(url: str, seconds: float) -> Iterator[Any]:
            yield SimpleNamespace(transport=SimpleNamespace(driver_name="py-amqp"))

        monkeypatch.setattr(broker, "open_broker", opened)
        monkeypatch.setattr(broker, "redis_client", lambda _: client)


class TestWorkers:
    @staticmethod
    def worker(state: WorkerState = WorkerState.ALIVE, version: str | None = VERSION) -> WorkerInfo:
        return WorkerInfo("w@h", "h", 1, ["default"], 2, [], NOW, NOW, state, 0, version, None)

    def test_that_are_missing_lost_or_old(self) -> None:
        assert told(workers.worker_findings([])) == "FAIL no worker sends heartbeats: no task starts"
        assert told(workers.worker_findings([self.worker()])) == ""
        lost = told(workers.worker_findings([self.worker(), self.worker(WorkerState.LOST)]))
        assert lost == "warn w@h was lost: its last heartbeat was at 2026-11-30 12:00:00Z"
        assert told(workers.worker_findings([self.worker(WorkerState.LOST)])).startswith(
            "FAIL no worker sends heartbeats"
        )
        assert told(workers.worker_findings([self.worker(version="0.0.9")])).startswith("warn w@h runs version 0.0.9")

    def test_queues_that_none_serves(self) -> None:
        queues = [QueueState("a", workers=1), QueueState("b", startable=3), QueueState("c")]
        assert told(workers.queue_findings(queues)) == (
            "FAIL due tasks wait in queues without a worker: b; warn queues without a worker: c"
        )
        assert said(workers.queue_findings(queues[:1])) == [(OK, "each has a worker: a")]

    def test_maintenance_that_stands_still(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with cases() as case:
            for seconds, expected in (
                (0.5, ""), (9.0, ""), (3600.0, "FAIL its last round began 1:00:00 ago"), (float("inf"), "FAIL it has never run"),
            ):  # fmt: skip
                with case(seconds):
                    monkeypatch.setattr(workers, "maintenance_seconds", lambda _, seconds=seconds: seconds)
                    assert told(workers.check_maintenance(Settings())) == expected

    def test_maintenance_that_waits_for_a_long_lease(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(workers, "maintenance_seconds", lambda _: 70.0)
        assert told(workers.check_maintenance(Settings(maintenance_lease_seconds=30))) == ""
        assert told(workers.check_maintenance(Settings(maintenance_lease_seconds=20))).startswith("FAIL its last round")

    def test_periodic_tasks_that_are_late(self) -> None:
        entries = {"hourly": timedelta(hours=1), "daily": timedelta(days=1)}
        assert told(workers.beat_findings(entries, {"hourly": 3700, "daily": 7200})) == ""
        assert told(workers.beat_findings(entries, {"hourly": 7200})) == (
            "warn never sent: daily; warn hourly was last sent 2:00:00 ago"
        )


class TestHosts:
    HERE: ClassVar = {"SECRET_KEY": "f1", "CELERY_BROKER_URL": "redis://here/0", "STORAGE_URL": "file:1"}

    def found(self, facts: dict[str, Any] | None = None, *task_names: str, known: str = "a") -> str:
        names = sorted(task_names or ("a",))
        worker = WorkerInfo(
            "w@h", "h", 1, [], 2, [], NOW, NOW, WorkerState.ALIVE, 0, VERSION, None, None, names, facts
        )  # fmt: skip
        return told(hosts.host_findings([worker], self.HERE, set(known.split())))

    def test_that_agree(self) -> None:
        assert self.found({**self.HERE, "clock": -1.5}) == ""
        assert self.found(None) == ""  # of a release that does not tell
        assert said(hosts.host_findings([], self.HERE, {"a"})) == [(OK, "0 workers agree with this host")]

    def test_that_differ(self) -> None:
        with cases() as case:
            for facts, expected in (
                ({"SECRET_KEY": "f2"}, "FAIL w@h has another SECRET_KEY"),
                (
                    {"CELERY_BROKER_URL": "redis://there/0"},
                    "warn w@h names the broker redis://there/0, and this host redis://here/0",
                ),
                ({"STORAGE_URL": "file:2"}, "FAIL w@h has its files in another storage"),
                ({"clock": -90.0}, "FAIL at the start of w@h the database was -90.00 s ahead of its machine"),
                ({"clock": 3.0}, "warn at the start of w@h the database was +3.00 s ahead of its machine"),
            ):
                with case(expected):
                    assert self.found(facts) == expected

    def test_that_know_other_tasks(self) -> None:
        assert self.found(None, "a", known="a b c") == "warn no living worker knows b, c"
        assert self.found(None, "a", "b") == "warn w@h knows tasks that this host does not: b"
        many = " ".join(f"t{each}" for each in range(7))
        assert self.found(None, known=f"a {many}") == "warn no living worker knows t0, t1, t2, t3, t4 …"


class TestPlaces:
    def test_a_storage_that_is_no_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        found = told(installation.check_storage(Settings(storage_url=(tmp_path / "file").as_uri())))
        assert found.startswith("FAIL file://")

    def test_a_storage_that_is_not_there_is_not_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(storage_url=(tmp_path / "a" / "b").as_uri())
        assert said(installation.check_storage(settings)) == [(OK, f"{tmp_path}/a/b is made with the first file")]
        monkeypatch.setattr(os, "access", lambda *_: False)
        assert (
            told(installation.check_storage(settings))
            == f"FAIL {tmp_path}/a/b does not exist, and {tmp_path} is not writable"
        )
        assert [*tmp_path.iterdir()] == []

    def test_a_storage_that_works_keeps_nothing_of_it(self, tmp_path: Path) -> None:
        found = said(installation.check_storage(Settings(storage_url=tmp_path.as_uri())))
        assert found == [(OK, f"{tmp_path.as_uri()} takes and gives contents")]
        assert [each for each in tmp_path.rglob("*") if each.is_file()] == []

    def test_a_storage_that_gives_other_bytes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Storage:
            directory = None

            def __init__(self, url: str) -> None: ...

            def write(self, key: str, pieces: Iterable[bytes]) -> None: ...

            def read(self, key: str, start: int, length: int) -> bytes:
                return b"other"

            def delete(self, keys: Iterable[str]) -> None: ...

        monkeypatch.setattr(installation, "Storage", Storage)
        assert (
            told(installation.check_storage(Settings(storage_url="s3://bucket")))
            == "FAIL s3://bucket gives other bytes"
        )

    def test_disks_that_are_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        settings = Settings(storage_url=tmp_path.as_uri())
        with cases() as case:
            for free, level in ((2 << 30, OK), (500 << 20, WARN), (1 << 20, FAIL)):
                with case(free):
                    monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
                    assert {each.level for each in installation.check_disks(settings)} == {level}


class TestTasks:
    def test_modules_that_cannot_be_imported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        left_out = LeftOut("module mine cannot be imported", "SyntaxError: bad", "mine.py:3")
        monkeypatch.setattr(installation, "read_tasks", lambda: (dict.fromkeys(EXTRAS, self.kind()), [left_out]))
        monkeypatch.setattr(installation, "check_queue_shares", lambda _: None)
        (wrong,) = [each for each in installation.check_tasks(Settings()) if each.level != OK]
        assert (wrong.level, str(wrong.seen)) == (FAIL, "module mine cannot be imported: SyntaxError: bad")
        assert str(wrong.remedy) == "correct mine.py:3"

    def test_modules_that_do_not_exist(self) -> None:
        assert told(installation.check_tasks(Settings(task_modules=["no.such.module"]))).startswith(
            "FAIL TASK_MODULES names"
        )

    def test_shares_of_a_queue_that_does_not_exist(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(installation, "read_tasks", lambda: (dict.fromkeys(EXTRAS, self.kind()), []))
        found = told(installation.check_tasks(Settings(queue_shares={"no_such_queue": 3})))
        assert found.startswith("FAIL QUEUE_SHARES: no queue no_such_queue (there are ")

    def test_extras_that_are_missing(self) -> None:
        found = list(installation.missing_extras([name for name, extra in EXTRAS.items() if extra != "ml"]))
        assert [(each.level, str(each.remedy)) for each in found] == [(WARN, "pip install 'task-service[ml]'")]

    @staticmethod
    def kind() -> Any:
        return SimpleNamespace(missing_settings=lambda _: [])
