"""docker-compose.yml on podman, with the image of docs/deployment.md that holds tasks of one's own.

Least privilege, and no task lost when workers, broker and database go and come back.

Needs root on Debian and the programs that `.ci/run` installs, else it is skipped with the reason. COMPOSE_TEST_HOME names
a directory that keeps the images between runs.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.compose.base_images import make_base_images
from tests.support.compose.deployment import Deployment
from tests.support.compose.engine import CommandFailed, Engine, EngineUnavailable, why_not
from tests.support.containers import ROOT
from tests.support.pages import Page
from tests.support.requirements_files import of_full
from tests.support.running import TASKS, TERMINAL
from tests.support.tasks import LONG_RUNNING
from tests.support.waiting import wait_for

# A lost worker's task runs again after a lease of 30 s.
SECONDS = 150.0
BASE, OWN, PYTHON = (f"docker.io/library/{name}" for name in ("task-service", "acme-tasks", "python:3.13-slim"))
OWN_TASK = """
import humanize
from celery import shared_task

@shared_task
def describe(size: int) -> str:
    return humanize.naturalsize(size)
"""
PRIORITIES = ("low", "normal", "high", "critical")

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    if reason := why_not():
        pytest.skip(f"no containers here: {reason}")
    # Not /tmp, which may be memory: the images take 3 GB.
    with tempfile.TemporaryDirectory(prefix="compose-", dir="/var/tmp", ignore_cleanup_errors=True) as temporary:
        try:
            with Engine(Path(os.environ.get("COMPOSE_TEST_HOME", temporary))) as started:
                make_base_images(started)
                yield started
        except EngineUnavailable as error:
            pytest.skip(f"no containers here: {error}")


@pytest.fixture(scope="module")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Builds the image of the service, and from it that of the document."""
    folder = tmp_path_factory.mktemp("acme-tasks")
    (dockerfile,) = (block.text for block in Page("deployment.md").blocks if block.language == "dockerfile")
    (folder / "Dockerfile").write_text(dockerfile)
    (folder / "requirements.txt").write_text("humanize\nhttpx\n")
    (folder / "acme").mkdir()
    (folder / "acme" / "tasks.py").write_text(OWN_TASK)
    engine.build(BASE, ROOT / "Dockerfile", ROOT)
    engine.build(OWN, folder / "Dockerfile", folder)
    return OWN


@pytest.fixture(scope="module")
def deployment(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    more = {"TASK_MODULES": "acme.tasks", "RETENTION_DAYS": "17"}
    with Deployment(engine, tmp_path_factory.mktemp("compose"), image, **more) as made:
        yield made


@pytest.fixture(scope="module")
def http(deployment: Deployment) -> Iterator[httpx.Client]:
    with deployment.client() as client:
        yield client


def create(http: httpx.Client, seconds: float, **fields: Any) -> str:
    """A task that takes so long; its id."""
    body = {"name": "compose", "task_type": "test", "celery_task_name": LONG_RUNNING, "args": [seconds]}
    answer = http.post(TASKS, json=body | fields)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def read(http: httpx.Client, task_id: str) -> dict[str, Any]:
    answer = http.get(TASKS + task_id)
    return dict(answer.json()) if answer.status_code == 200 else {"status": f"unknown ({answer.status_code})"}


def ended(http: httpx.Client, task_id: str) -> dict[str, Any]:
    """The task, once it has ended."""
    return wait_for(
        lambda: task if (task := read(http, task_id))["status"] in TERMINAL else None, SECONDS, f"{task_id} to end"
    )


class TestUp:
    def test_every_container_is_healthy(self, deployment: Deployment) -> None:
        wait_for(lambda: set(deployment.health().values()) == {"healthy"}, SECONDS, "all to be healthy")
        assert len(deployment.health()) == len(SERVICES)

    @pytest.mark.parametrize("priority", PRIORITIES)
    def test_a_task_of_each_priority_succeeds(self, http: httpx.Client, priority: str) -> None:
        assert ended(http, create(http, 0.1, priority=priority))["status"] == "succeeded"


def packages(engine: Engine, image: str) -> set[str]:
    """`name==version` of each in an image."""
    said = engine.run("podman", "run", "--rm", "--entrypoint", "pip", image, "freeze")
    return {line for line in said.splitlines() if "==" in line}


class TestOwnTasks:
    def test_are_run_with_packages_of_their_own(self, http: httpx.Client) -> None:
        body = {"name": "own", "task_type": "test", "celery_task_name": "acme.tasks.describe", "args": [2_000_000]}
        task = ended(http, str(http.post(TASKS, json=body).json()["id"]))
        assert (task["status"], task["result"]) == ("succeeded", "2.0 MB")

    def test_are_installed_beside_the_versions_that_the_service_was_tested_with(self, engine: Engine) -> None:
        """httpx, which their requirements name, is not replaced by the newest one."""
        before, after = (packages(engine, each) for each in (BASE, OWN))
        assert {line.partition("==")[0] for line in after - before} == {"humanize"}
        assert before <= after

    @pytest.mark.parametrize("role", ["serve", "worker", "beat"])
    def test_a_module_that_is_not_there_ends_the_start_with_one_line(self, engine: Engine, role: str) -> None:
        database, broker = (
            "DATABASE_URL=postgresql://nobody@127.0.0.1:1/none",
            "CELERY_BROKER_URL=redis://127.0.0.1:1/0",
        )
        options = [word for each in ("TASK_MODULES=acme.task", database, broker) for word in ("--env", each)]
        with pytest.raises(CommandFailed) as failed:
            engine.run("podman", "run", "--rm", "--network=none", *options, OWN, role)
        said = str(failed.value).partition(": ")[2].splitlines()
        assert ["acme.task" in line for line in said if "is starting" not in line] == [True], said

    def test_every_setting_of_the_file_reaches_the_service(self, deployment: Deployment) -> None:
        for service in ("migrate", "api", "worker", "beat"):
            found = deployment.environment_of(service)
            assert (found["RETENTION_DAYS"], found["TASK_MODULES"]) == ("17", "acme.tasks"), service


class TestTheImage:
    def test_takes_no_more_than_its_base_and_175_megabytes(self, engine: Engine, image: str) -> None:
        """300 MB unpacked with python:3.13-slim of Docker Hub, of which 125 are its own."""
        del image
        sizes = [
            int(engine.run("podman", "image", "inspect", "--format", "{{.Size}}", each)) for each in (BASE, PYTHON)
        ]
        assert sizes[0] - sizes[1] <= 175_000_000

    def test_has_no_package_of_the_full_one(self, engine: Engine, image: str) -> None:
        del image
        assert {line.partition("==")[0].lower() for line in packages(engine, BASE)}.isdisjoint(of_full())


SERVICES = ("postgres", "valkey", "api", "worker", "worker-high", "worker-default", "worker-low", "beat")


class TestTheSeal:
    @pytest.mark.parametrize("service", SERVICES)
    def test_a_container_can_do_nothing_special(self, deployment: Deployment, service: str) -> None:
        script = "cat /proc/1/status; id -u; touch /x /etc/x /srv/x /usr/x 2>&1 || echo refused: $?"
        said = deployment.exec(service, "sh", "-c", script)
        fields = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
        assert {fields[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert fields["NoNewPrivs"] == "1"
        assert "0" not in fields["Uid"].split()
        assert said.count("Read-only file system") + said.count("No such file") == 4


class TestPrivileges:
    def sql(self, deployment: Deployment, statement: str) -> list[str]:
        """As the superuser, which only a command within the database's container can be."""
        return deployment.exec("postgres", "psql", "--no-psqlrc", "-Atc", statement, "tasks").splitlines()

    def as_role(self, deployment: Deployment, service: str, statement: str) -> str:
        """In a container of the service, with its DATABASE_URL: the error's first line, or `allowed`."""
        program = (
            "import os, sys, psycopg2\n"
            "connection = psycopg2.connect(os.environ['DATABASE_URL'])\n"
            "try: connection.cursor().execute(sys.argv[1]); print('allowed')\n"
            "except psycopg2.Error as error: print(str(error).splitlines()[0])\n"
        )
        return deployment.exec(service, "python", "-c", program, statement).strip()

    def test_the_service_is_neither_superuser_nor_owner(self, deployment: Deployment) -> None:
        ours = "datname = 'tasks' AND pid <> pg_backend_pid() AND backend_type = 'client backend'"  # not autovacuum
        roles = f"SELECT DISTINCT usename FROM pg_stat_activity WHERE {ours}"
        assert self.sql(deployment, roles) == ["tasks_app"]
        assert self.sql(deployment, "SELECT rolname FROM pg_roles WHERE rolsuper") == ["postgres"]
        owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'"
        assert self.sql(deployment, owners) == ["tasks_owner"]
        special = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'tasks%' AND (rolcreatedb OR rolcreaterole OR rolreplication)"
        assert self.sql(deployment, special) == []

    @pytest.mark.parametrize("service", ["api", "worker", "beat"])
    @pytest.mark.parametrize(
        "statement",
        ["DELETE FROM audit_events", "CREATE TABLE mine (id int)", "DROP TABLE tasks", "SET ROLE tasks_owner",
         "COPY (SELECT 1) TO PROGRAM 'id'", "ALTER TABLE audit_events DISABLE TRIGGER ALL"],
    )  # fmt: skip
    def test_its_role_can_do_no_more_than_it_needs(self, deployment: Deployment, service: str, statement: str) -> None:
        assert "permission denied" in (said := self.as_role(deployment, service, statement)) or "must be owner" in said

    def test_nobody_logs_in_as_the_superuser(self, deployment: Deployment) -> None:
        assert self.sql(deployment, "SELECT rolname FROM pg_authid WHERE rolpassword IS NULL AND rolcanlogin") == [
            "postgres"
        ]
        program = "import sys, psycopg2; psycopg2.connect(sys.argv[1])"
        url = f"postgresql://postgres:{deployment.variables['POSTGRES_PASSWORD']}@postgres/tasks"
        with pytest.raises(CommandFailed, match="password authentication failed"):
            deployment.exec("api", "python", "-c", program, url)

    def test_the_owners_password_is_where_it_migrates_alone(self, deployment: Deployment) -> None:
        password = deployment.variables["POSTGRES_PASSWORD"]
        assert password in str(deployment.environment_of("migrate"))
        for service in ("api", "worker", "worker-high", "worker-default", "worker-low", "beat"):
            assert password not in str(deployment.environment_of(service)), service

    @pytest.mark.parametrize("service", ["postgres", "valkey"])
    def test_process_lists_show_no_password(self, deployment: Deployment, service: str) -> None:
        shown = deployment.exec(service, "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert f"{service}" in shown
        assert [name for name, value in deployment.secrets.items() if value in shown] == []

    def test_the_database_logs_no_values(self, deployment: Deployment, http: httpx.Client) -> None:
        self.as_role(deployment, "api", "SELECT 'hunter2-zebra'::uuid")
        logs = deployment.logs()
        assert "the database's log may hold" not in logs
        assert "hunter2-zebra" not in logs
        assert [name for name, value in deployment.secrets.items() if value in logs] == []


class TestNothingIsLost:
    def test_when_a_workers_container_is_killed(self, deployment: Deployment, http: httpx.Client) -> None:
        containers = [each for service in ("worker", "worker-default") for each in deployment.containers(service)]
        task_id = create(http, 8)
        task = wait_for(lambda: t if (t := read(http, task_id))["status"] == "running" else None, SECONDS, "its start")
        (container,) = [each for each in containers if each.startswith(task["worker"].partition("@")[2])]
        deployment.engine.run("podman", "kill", "--signal", "KILL", container)
        task = ended(http, task_id)
        assert (task["status"], task["attempt"]) == ("succeeded", 2)
        deployment.up()

    @pytest.mark.parametrize("server", ["valkey", "postgres"])
    def test_when_a_server_restarts(self, deployment: Deployment, http: httpx.Client, server: str) -> None:
        ids = [create(http, 0.2, priority=priority) for priority in PRIORITIES for _ in range(10)]
        deployment.compose("restart", server)
        wait_for(deployment.is_ready, SECONDS, "the service to be ready again")
        ids += [create(http, 0.2, priority=priority) for priority in PRIORITIES]
        assert {ended(http, task_id)["status"] for task_id in ids} == {"succeeded"}

    def test_with_four_workers(self, deployment: Deployment, http: httpx.Client) -> None:
        deployment.up("--scale", "worker=4")
        names = {container[:12] for container in deployment.containers("worker")}
        assert len(names) == 4
        wait_for(
            lambda: all(f"worker@{name} ready." in deployment.compose("logs", "worker") for name in names),
            SECONDS,
            "four workers to be ready",
        )
        ids = [create(http, 1) for _ in range(30)]
        tasks = [ended(http, task_id) for task_id in ids]
        assert {task["status"] for task in tasks} == {"succeeded"}
        assert {task["attempt"] for task in tasks} == {1}
        assert names <= {task["worker"].partition("@")[2] for task in tasks}
