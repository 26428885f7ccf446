"""`python -m app doctor` on real servers and processes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.ids import new_id
from app.launcher.ports import free_loopback_port
from tests.support.databases import DIALECT
from tests.support.faults import hourly
from tests.support.running import Running, example_stack
from tests.support.services import ROOT, Services, process_environment
from tests.support.stack import Stack
from tests.support.waiting import wait_for

OF_DATABASE = {
    "database version", "migrations", "database privileges", "workers", "other hosts", "queues", "maintenance", "beat",
}  # fmt: skip


@pytest.fixture
def running(services: Services, tmp_path: Path) -> Iterator[Running]:
    with example_stack(services, tmp_path) as started:
        yield started


@pytest.fixture
def stack(running: Running) -> Stack:
    return running.stack


@pytest.fixture
def role(stack: Stack) -> Iterator[tuple[str, str]]:
    """A role without privileges, and a URL with it."""
    name, server = f"doctor_{new_id().hex[:12]}", stack.services.database
    if DIALECT == "postgresql":
        stack.sql(f"CREATE ROLE {name} LOGIN PASSWORD 'not-to-be-shown'")
        yield name, f"postgresql://{name}:not-to-be-shown@127.0.0.1:{server.port}/{stack.database}"
        stack.sql(f"DROP OWNED BY {name}")
        stack.sql(f"DROP ROLE {name}")
    else:
        stack.sql(f"CREATE USER {name}@'%' IDENTIFIED BY 'not-to-be-shown'")
        yield name, stack.database_url.replace("root@", f"{name}:not-to-be-shown@")
        stack.sql(f"DROP USER {name}@'%'")


def run(stack: Stack, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", "doctor", *options],
        cwd=ROOT, env=process_environment({**stack.settings, **variables}), check=False, capture_output=True, text=True, timeout=100,
    )  # fmt: skip


def examined(stack: Stack, **variables: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """The exit code, and what each check has found."""
    ended = run(stack, "-o", "json", **variables)
    assert ended.stderr == ""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in json.loads(ended.stdout):
        found.setdefault(each["check"], []).append(each)
    return ended.returncode, found


def levels(found: dict[str, list[dict[str, Any]]], *names: str) -> set[str]:
    return {each["level"] for name in names for each in found[name]}


def failed(found: dict[str, list[dict[str, Any]]]) -> set[str]:
    return {name for name, findings in found.items() if any(each["level"] == "FAIL" for each in findings)}


class TestAnInstallation:
    def test_that_works(self, stack: Stack) -> None:
        mine = {"TASK_MODULES": hourly.MODULE}
        worker = stack.worker(env=mine)
        beat = stack.beat(mine)
        wait_for(lambda: stack.sql("SELECT count(*) FROM periods")[0][0] == 2, 30, "beat to know its entries")
        (stack.directory / "files").mkdir()
        code, found = examined(stack, **mine)
        assert (code, failed(found)) == (0, set()), found
        assert levels(found, "database", "broker", "storage", *OF_DATABASE) == {"ok"}
        assert "worker1@test" in found["workers"][0]["seen"]
        # The broker of the tests writes nothing to disk.
        assert "append-only" in found["broker settings"][0]["seen"]
        assert [*(stack.directory / "files").iterdir()] == [], "a content is left"
        for part in (worker, beat):
            part.stop(30)

    def test_without_a_worker(self, running: Running, stack: Stack) -> None:
        running.create("app.tasks.common_tasks.long_running_task", 1)
        code, found = examined(stack, TASK_MODULES=hourly.MODULE)
        assert code == 1
        assert failed(found) == {"workers", "queues", "maintenance"}
        assert "default" in found["queues"][0]["seen"]
        assert "python -m app worker" in found["workers"][0]["remedy"]
        assert levels(found, "beat") == {"warn"}

    def test_whose_worker_is_on_a_host_that_is_set_up_otherwise(self, stack: Stack) -> None:
        for name in ("files", "elsewhere"):
            (stack.directory / name).mkdir()
        stack.worker()
        told_by = "SELECT count(*) FROM worker_processes WHERE facts IS NOT NULL"
        wait_for(lambda: stack.sql(told_by)[0][0] == 1, 30, "the worker to tell")
        assert levels(examined(stack)[1], "other hosts") == {"ok"}
        code, found = examined(
            stack,
            SECRET_KEY="0123456789abcdef0123456789abcdef-of-another-host",
            CELERY_BROKER_URL=stack.broker_url.replace("127.0.0.1", "localhost"),
            STORAGE_URL=(stack.directory / "elsewhere").as_uri(),
            TASK_MODULES="tests.support.measured_tasks",
        )
        told = " ".join(each["seen"] for each in found["other hosts"])
        assert (code, failed(found)) == (1, {"other hosts"}), found
        for text in (
            "worker1@test has another SECRET_KEY", "names the broker", "worker1@test has its files in another storage",
            "worker1@test knows tasks that this host does not: tests.", "no living worker knows ",
        ):  # fmt: skip
            assert text in told, told

    def test_whose_worker_is_lost(self, stack: Stack) -> None:
        worker = stack.worker(env={"WORKER_LEASE_SECONDS": "2"})
        worker.send(signal.SIGSTOP)
        wait_for(
            lambda: levels(examined(stack, WORKER_LEASE_SECONDS="2")[1], "workers") == {"FAIL", "warn"},
            60,
            "the doctor to see that it is lost",
        )

    def test_without_a_broker(self, stack: Stack) -> None:
        url = f"redis://:not-to-be-shown@127.0.0.1:{free_loopback_port()}/0"
        code, found = examined(stack, CELERY_BROKER_URL=url)
        assert (code, levels(found, "broker"), levels(found, "database")) == (1, {"FAIL"}, {"ok"})
        assert levels(found, "broker version", "broker settings", "broker clock") == {"warn"}
        assert "not-to-be-shown" not in str(found)

    @pytest.mark.skipif(DIALECT == "sqlite", reason="a file has no server")
    def test_without_a_database(self, stack: Stack) -> None:
        nowhere = f"127.0.0.1:{free_loopback_port()}/tasks"
        scheme = "postgresql" if DIALECT == "postgresql" else "mysql"
        code, found = examined(stack, DATABASE_URL=f"{scheme}://someone:not-to-be-shown@{nowhere}")
        assert (code, levels(found, "database"), levels(found, "broker")) == (1, {"FAIL"}, {"ok"})
        assert levels(found, *OF_DATABASE) == {"warn"}
        assert "not-to-be-shown" not in str(found)

    def test_that_is_not_migrated(self, services: Services, tmp_path: Path) -> None:
        with Stack(services, tmp_path, "template1") as stack:
            code, found = examined(stack)
        assert (code, levels(found, "database"), levels(found, "migrations")) == (1, {"ok"}, {"FAIL"})
        assert "alembic upgrade head" in found["migrations"][0]["seen"]
        assert levels(found, "workers", "queues", "database privileges") == {"warn"}

    def test_whose_storage_cannot_be_written(self, stack: Stack) -> None:
        """Where a directory is to be there is a file: permissions would not stop root."""
        (stack.directory / "taken").write_text("x", encoding="utf-8")
        code, found = examined(stack, STORAGE_URL=(stack.directory / "taken").as_uri())
        assert (code, levels(found, "storage")) == (1, {"FAIL"})
        assert "STORAGE_URL" in found["storage"][0]["remedy"]

    @pytest.mark.skipif(DIALECT == "sqlite", reason="a file has no roles")
    def test_whose_role_may_not_write_a_table(self, stack: Stack, role: tuple[str, str]) -> None:
        """With what `python -m app grant` gives, nothing is missing."""
        name, url = role
        command = [sys.executable, "-m", "app", "grant", name]
        subprocess.run(command, cwd=ROOT, env=process_environment(stack.settings), check=True, timeout=60)
        _, found = examined(stack, DATABASE_URL=url)
        assert (failed(found), levels(found, "database privileges")) == ({"workers", "maintenance"}, {"ok"}), found
        stack.sql(f"REVOKE DELETE ON tasks FROM {name}")
        code, found = examined(stack, DATABASE_URL=url)
        assert (code, levels(found, "database privileges")) == (1, {"FAIL"})
        assert found["database privileges"][0]["seen"] == "1 privileges are missing: DELETE on tasks"
        assert "not-to-be-shown" not in str(found)

    def test_whose_settings_are_refused(self, stack: Stack) -> None:
        code, found = examined(stack, API_THREADS="many")
        assert (code, failed(found)) == (1, {"configuration"})
        assert "API_THREADS" in found["configuration"][0]["seen"]
        assert set(found) == {"Python", "packages", "configuration"}


class TestTheReport:
    def test_is_text_without_colours_off_a_terminal(self, stack: Stack) -> None:
        ended = run(stack)
        assert "\x1b" not in ended.stdout
        assert {line[:4] for line in ended.stdout.splitlines()} <= {"ok  ", "warn", "FAIL"}

    def test_is_chinese_in_a_chinese_locale(self, stack: Stack) -> None:
        said = run(stack, LANG="zh_CN.UTF-8", LC_ALL="", PYTHONIOENCODING="utf-8").stdout
        assert "没有 worker 发送心跳" in said
        assert "数据库" in said
