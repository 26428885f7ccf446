"""The service lives in its container: read-only, as a user of its own, without a capability, with /tmp and /data alone.

There is no Docker on a test machine. `tests/support/sealed.sh` makes the same out of mounts and a chroot, and what runs in it are
the commands, settings and health checks that stand in Dockerfile and docker-compose.yml.
"""

import os
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from string import Template
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest

from app.launcher.ports import free_loopback_port
from tests.support import accounts, containers
from tests.support.sealed import IMAGE_USER, Sealed, shell
from tests.support.services import Services
from tests.support.stack import Part, Stack
from tests.support.waiting import wait_for

SERVICES: dict[str, Any] = containers.compose()["services"]
ADMIN_PASSWORD = accounts.PASSWORD

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="mounts and namespaces of Linux"),
    pytest.mark.postgresql("docker-compose.yml has no other"),
]


class Container:
    """docker-compose.yml's services on the test's PostgreSQL and Valkey."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.given = {name: secrets.token_hex(32) for name in containers.required_variables()}
        self.given |= {"FIRST_ADMIN_PASSWORD": ADMIN_PASSWORD}
        self.sealed = Sealed(stack.directory)

    def make_roles(self) -> None:
        """As PostgreSQL's container does when its volume is empty; the test's superuser keeps its password."""
        script = Template(containers.roles_script()).substitute(self.given)
        script = script.replace("ALTER ROLE postgres PASSWORD NULL;", "")
        self.stack.services.postgres.sql(script, database="postgres")

    def drop_roles(self) -> None:
        self.stack.services.drop_database("tasks")
        self.stack.services.postgres.sql("DROP ROLE IF EXISTS tasks_app, tasks_owner", database="postgres")

    def settings(self, service: str) -> dict[str, str]:
        said = {k: containers.resolve(str(v), self.given) for k, v in SERVICES[service]["environment"].items()}
        here = f"@127.0.0.1:{self.stack.services.postgres.port}/"
        database = said["DATABASE_URL"].replace("@postgres:5432/", here)
        return {**said, "DATABASE_URL": database, "CELERY_BROKER_URL": self.stack.broker_url}

    def run(self, service: str, *command: str) -> CompletedProcess[str]:
        return self.sealed.run(*command, settings=self.settings(service))

    def start(self, service: str, *command: str) -> Part:
        arguments = shlex.split(containers.resolve(SERVICES[service].get("command", ""), self.given))
        words = command or containers.image_command(*arguments)
        log = self.stack.directory / f"{service}.log"
        part = Part(service, self.sealed.argv(*words), log, self.sealed.environment(self.settings(service)))
        self.stack.parts.append(part)
        part.process.start()
        return part

    def start_api(self) -> Part:
        self.stack.port = free_loopback_port()
        here = {"0.0.0.0": "127.0.0.1", "8000": str(self.stack.port)}
        return self.start("api", *(here.get(word, word) for word in containers.image_command()))

    def is_healthy(self, service: str) -> bool:
        check = [containers.resolve(word, self.given) for word in shell(SERVICES[service]["healthcheck"]["test"])]
        return self.run(service, *check).returncode == 0


@pytest.fixture(scope="module")
def container(own_services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """On servers of its own: its roles are of the whole server, and have the names of those of `test_audit_roles.py`."""
    directory = tmp_path_factory.mktemp("sealed")
    with ExitStack() as after, Stack(own_services, directory, template="template1") as stack:
        started = Container(stack)
        if why_not := started.sealed.why_not():
            pytest.skip(f"this machine allows no mounts: {why_not}")
        after.callback(started.drop_roles)
        started.make_roles()
        words = SERVICES["migrate"]["entrypoint"] + SERVICES["migrate"]["command"]
        command = [containers.resolve(word, started.given) for word in words]
        migrated = started.run("migrate", *command)
        assert migrated.returncode == 0, migrated.stderr
        yield started


@pytest.fixture(scope="module")
def api(container: Container) -> Iterator[httpx.Client]:
    part = container.start_api()
    container.stack.await_answer(part)
    assert part.running, part.tail()
    with httpx.Client(base_url=container.stack.url, timeout=30) as client:
        yield client


class TestTheSeal:
    """What is shown below means something only if this holds."""

    @pytest.mark.parametrize("path", ["/x", "/srv/x", "/srv/app/x", "/etc/x", "/usr/x"])
    def test_nothing_can_be_written(self, container: Container, path: str) -> None:
        done = container.run("api", "touch", path)
        assert done.returncode != 0
        assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr

    def test_nor_in_the_environment_of_the_packages(self, container: Container) -> None:
        assert container.run("api", "touch", str(container.sealed.venv / "x")).returncode != 0

    @pytest.mark.parametrize("path", ["/tmp/x", "/data/x"])
    def test_but_here(self, container: Container, path: str) -> None:
        assert container.run("api", "sh", "-c", f"touch {path} && rm {path}").returncode == 0

    def test_the_user_can_do_nothing_special(self, container: Container) -> None:
        status = container.run("api", "cat", "/proc/self/status").stdout
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert {fields[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert fields["NoNewPrivs"] == "1"
        if os.geteuid() == 0:
            assert fields["Uid"].split() == [str(IMAGE_USER)] * 4


class TestTheService:
    def test_is_ready(self, api: httpx.Client) -> None:
        answer = api.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "ready")

    def test_has_the_role_that_owns_nothing(self, container: Container, api: httpx.Client) -> None:
        assert api.get("/readyz").status_code == 200
        names = (
            "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = 'tasks' AND backend_type = 'client backend'"
        )
        assert container.stack.services.postgres.sql(names, database="postgres") == "tasks_app"

    def test_runs_tasks(self, container: Container, api: httpx.Client) -> None:
        worker = container.start("worker")
        worker.await_line(" ready.")
        api.headers.update(accounts.bearer(accounts.login(api, "admin", ADMIN_PASSWORD)["access_token"]))
        for name, kwargs in (
            ("common_tasks.long_running_task", {"duration": 0.2}),
            ("model_tasks.train_classifier", {}),
        ):
            assert run(api, f"app.tasks.{name}", kwargs) == "succeeded", worker.tail()
        assert container.is_healthy("worker"), worker.tail()

    def test_beat_writes_what_its_health_is_told_by(self, container: Container, wait_for: Callable[..., None]) -> None:
        beat = container.start("beat")
        beat.await_line("beat: Starting...")
        wait_for(lambda: container.is_healthy("beat"), 30, "beat's health check to pass")


def run(api: httpx.Client, name: str, kwargs: dict[str, Any]) -> str:
    """The status in which such a task ends."""
    body = {"name": "sealed", "task_type": "test", "celery_task_name": name, "kwargs": kwargs}
    created = api.post("/api/v1/tasks/", json=body)
    assert created.status_code == 201, created.text
    url = created.headers["location"]
    wait_for(lambda: api.get(url).json()["status"] not in ("pending", "running"), 60, f"{name} to end")
    return str(api.get(url).json()["status"])
