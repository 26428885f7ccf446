"""What `run_server.py` prints, at its start and when a process of it is killed."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.launcher.environment import read_env
from app.launcher.ports import free_loopback_port
from app.launcher.processes import ManagedProcess, command_line, group_members, stat_fields
from tests.support.accounts import PASSWORD, bearer, login
from tests.support.faults.proxy import TcpProxy
from tests.support.running import TASKS
from tests.support.services import ROOT, Services, environment, process_environment
from tests.support.waiting import wait_for

START_SECONDS = 90.0
SECONDS = 40.0
STARTED = "Ctrl-C stops everything."
# As `environment()` has them for other tests; an administrator is made at the first start.
ADMIN = {"FIRST_ADMIN_USERNAME": "chief", "FIRST_ADMIN_PASSWORD": PASSWORD}
BANNER = ("[config]", "--------------", "celery beat v")
SUPERUSER = "superuser privileges"


class Server:
    """A `run_server.py` that is up, with one pool process beside that of the express slot."""

    def __init__(self, process: ManagedProcess, data: Path, http: httpx.Client) -> None:
        self.process, self.data, self.http = process, data, http

    def output(self) -> str:
        return self.process.log.read_text(encoding="utf-8")

    def lines(self, *needles: str) -> list[str]:
        return [line for line in self.output().splitlines() if all(needle in line for needle in needles)]

    def log_in(self) -> None:
        kept = read_env(self.data / "env")
        pair = login(self.http, kept["FIRST_ADMIN_USERNAME"], kept["FIRST_ADMIN_PASSWORD"])
        self.http.headers.update(bearer(pair["access_token"]))

    def start_task(self, argument: float | str = 600, name: str = "app.tasks.common_tasks.long_running_task") -> str:
        body = {"name": "e2e", "task_type": "e2e", "celery_task_name": name, "args": [argument]}
        answer = self.http.post(TASKS, json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def running(self, task_id: str, attempt: int) -> dict[str, Any]:
        """The task, once the body of this attempt has reported: one that was killed before it began would count nothing."""

        def reported() -> dict[str, Any]:
            task = self._at(task_id, "running", attempt)
            return task if task and task["updated_at"] > task["started_at"] else {}

        return dict(wait_for(reported, SECONDS, f"attempt {attempt} to report"))

    def failed(self, task_id: str) -> dict[str, Any]:
        return dict(wait_for(lambda: self._at(task_id, "failed", 3), SECONDS, "the task to fail"))

    def succeeded(self, task_id: str) -> dict[str, Any]:
        return dict(wait_for(lambda: self._at(task_id, "succeeded", 1), SECONDS, "the task to succeed"))

    def _at(self, task_id: str, status: str, attempt: int) -> dict[str, Any]:
        task = self.http.get(TASKS + task_id).json()
        return task if (task["status"], task["attempt"]) == (status, attempt) else {}

    def pid_of(self, part: str) -> int:
        return int((self.data / "run" / f"{part}.pid").read_text(encoding="ascii").split()[0])

    def fork_server(self) -> int:
        """The child of the launcher that forks the parts."""
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
        parents = {pid: fields[1] for pid in pids if (fields := stat_fields(pid)) and fields[0] not in "ZX"}
        mine = [pid for pid, parent in parents.items() if int(parent) == self.process.pid]
        [found] = [pid for pid in mine if "app.launcher.fork_server" in command_line(pid)]
        return found

    def kill_pool_process(self) -> int:
        """SIGKILL to the one of `worker1`; its process id."""
        worker = self.pid_of("worker1")
        [child] = wait_for(lambda: [pid for pid in group_members(worker) if pid != worker], SECONDS, "a pool process")
        os.kill(child, signal.SIGKILL)
        return int(child)


def on(services: Services) -> dict[str, str]:
    """Settings that name the servers of the suite."""
    database = services.database_url(services.new_database())
    return environment(database, services.new_broker(), LOG_FORMAT="text", **ADMIN)


@contextmanager
def run_server(settings: dict[str, str], directory: Path, *options: str) -> Iterator[Server]:
    port, data = free_loopback_port(), directory / "data"
    places = ["--data-dir", str(data), "--port", str(port), "--concurrency", "1"]
    process = ManagedProcess(
        [sys.executable, "run_server.py", *places, *options],
        log=directory / f"output-{port}.log", env=process_environment(settings), cwd=ROOT, death_signal=signal.SIGTERM,
    )  # fmt: skip
    process.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            server = Server(process, data, http)
            wait_for(lambda: STARTED in server.output() or not process.running, START_SECONDS, "the service to start")
            assert process.running, server.output()
            assert read_env(data / "env")["TASK_SERVICE_URL"] == str(http.base_url).rstrip("/")
            server.log_in()
            yield server
    finally:
        process.stop(signal.SIGTERM, 30)


@pytest.fixture(scope="class")
def quiet(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with run_server(on(services), tmp_path_factory.mktemp("quiet")) as server:
        yield server


class TestWithoutOptions:
    def test_the_start_shows_no_banner_and_no_warning(self, quiet: Server) -> None:
        start = quiet.output().partition(STARTED)[0]
        for expected in ("worker1@", "express@", "beat: Starting..."):
            assert expected in start
        for unwanted in (*BANNER, SUPERUSER, "Warning", "Traceback"):
            assert unwanted not in start

    def test_a_killed_pool_process_is_one_line_with_what_follows(self, quiet: Server) -> None:
        task_id = quiet.start_task()
        for attempt, follows in enumerate(("the task runs again",) * 2 + ("the task has failed: ",), 1):
            quiet.running(task_id, attempt)
            child = quiet.kill_pool_process()
            told = f"task {task_id}: attempt {attempt} ended with its process {child} (signal 9 (SIGKILL)): {follows}"
            wait_for(lambda told=told: quiet.lines(told), SECONDS, told)
            assert len(quiet.lines(str(child))) == 1
        message = quiet.failed(task_id)["error"]["message"]
        assert message in quiet.lines("the task has failed")[0]
        # Its size is added where it lived long enough to be measured.
        assert message.startswith("the worker was lost as often as allowed: signal 9 (SIGKILL), perhaps out of memory")
        assert quiet.lines("Traceback") == quiet.lines("WorkerLostError") == []

    def test_so_is_one_that_had_no_task(self, quiet: Server) -> None:
        child = quiet.kill_pool_process()
        told = f"process {child} ended (signal 9 (SIGKILL)): a new one takes its place"
        wait_for(lambda: quiet.lines(told), SECONDS, told)
        assert len(quiet.lines(str(child))) == 1

    def test_its_parts_go_on_without_what_has_forked_them_and_are_started_again(self, quiet: Server) -> None:
        os.kill(quiet.fork_server(), signal.SIGKILL)
        quiet.succeeded(quiet.start_task(0))
        wait_for(lambda: quiet.lines("fork-server runs again"), SECONDS, "what forks the parts to be started again")
        os.kill(quiet.pid_of("worker1"), signal.SIGKILL)
        wait_for(lambda: quiet.lines("worker1 runs again"), SECONDS, "the worker to be started again")
        assert not quiet.lines("api runs again")
        quiet.succeeded(quiet.start_task(0))


RELOADED = """
import time
from pathlib import Path

from app.celery_app import celery_app


@celery_app.task(name="reloaded.say")
def say(gate: str) -> str:
    while not Path(gate).exists():
        time.sleep(0.01)
    return "first"
"""


def test_reload_has_new_tasks_run_the_new_code_while_a_busy_slot_ends_its_task_with_the_old(
    services: Services, tmp_path: Path
) -> None:
    module, gate, open_gate = tmp_path / "reloaded.py", tmp_path / "gate", tmp_path / "open"
    module.write_text(RELOADED, encoding="utf-8")
    open_gate.touch()
    settings = {
        **on(services),
        "TASK_MODULES": "reloaded",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
        "SHUTDOWN_GRACE_SECONDS": "0",
    }

    def save(source: str, *told: str) -> None:
        before = len(server.lines(*told))
        module.write_text(source, encoding="utf-8")
        wait_for(lambda: len(server.lines(*told)) > before, SECONDS, f"the line of {told}")

    def run() -> dict[str, Any]:
        return server.succeeded(server.start_task(str(open_gate), "reloaded.say"))

    with run_server(settings, tmp_path, "--reload") as server:
        busy = server.start_task(str(gate), "reloaded.say")
        wait_for(lambda: server.http.get(TASKS + busy).json()["status"] == "running", SECONDS, "the task to run")
        save(RELOADED.replace("first", "second"), "reload: reloaded.py: ready after")
        second = run()
        assert second["result"] == "second"
        running = server.http.get(TASKS + busy).json()
        assert (running["status"], running["attempt"]) == ("running", 1)
        gate.touch()
        first = server.succeeded(busy)
        assert (first["result"], first["worker"] != second["worker"]) == ("first", True)

        save(
            f"{RELOADED}\nx = (\n", "reload: ", f"SyntaxError: '(' was never closed ({module}:14): the old code goes on"
        )
        assert run()["result"] == "second"
        save(RELOADED.replace("first", "third"), "reload: reloaded.py: ready after")
        assert run()["result"] == "third"
        assert server.lines("Traceback") == server.lines("starting it again") == []


def test_verbose_shows_all(services: Services, tmp_path: Path) -> None:
    with run_server(on(services), tmp_path, "--verbose") as server:
        for banner in BANNER:
            assert banner in server.output()
        assert (SUPERUSER in server.output()) is (os.geteuid() == 0)
        server.running(server.start_task(), 1)
        child = server.kill_pool_process()
        wait_for(lambda: server.lines("WorkerLostError") and server.lines("Traceback"), SECONDS, "Celery's traceback")
        wait_for(lambda: server.lines("exited with 'signal 9 (SIGKILL)'", str(child)), SECONDS, "the child's end")
        wait_for(lambda: server.lines(f"ended with its process {child}"), SECONDS, "the line of what follows")


def test_a_shell_that_has_sourced_the_environment_of_an_earlier_start_can_start_again(tmp_path: Path) -> None:
    """The servers that the file names are gone."""
    with run_server(ADMIN, tmp_path, "--no-worker", "--no-beat") as first:
        sourced = read_env(first.data / "env")
    with run_server(sourced, tmp_path, "--no-worker", "--no-beat") as second:
        assert second.lines("database: embedded PostgreSQL")
        assert second.lines("broker: embedded Valkey")


def test_without_its_broker_it_says_what_it_waits_for_and_is_ready_once_that_is_there(
    services: Services, tmp_path: Path
) -> None:
    settings = on(services)
    with TcpProxy("127.0.0.1", services.valkey.port) as broker:
        broker.refuse()
        settings["CELERY_BROKER_URL"] = broker.through(settings["CELERY_BROKER_URL"])
        with run_server(settings, tmp_path) as server:
            told = f"waiting for the broker (does not answer). The API is up; {str(server.http.base_url).rstrip('/')}/"
            wait_for(lambda: server.lines(told), SECONDS, told)
            task_id = server.start_task(0.1)
            wait_for(lambda: server.lines("Cannot connect to redis://"), SECONDS, "the worker to try")
            assert server.lines(r"\n") == server.lines("ready: ") == []
            broker.heal()
            wait_for(lambda: server.lines("ready: ", "/readyz answers 200"), SECONDS, "the service to be ready")
            server.succeeded(task_id)
            assert len(server.lines(told)) == 1


class TestOnSQLite:
    def test_several_processes_of_each_part_share_the_file_and_the_next_start_has_it(self, tmp_path: Path) -> None:
        several = ("--api-workers", "2", "--workers", "2")
        with run_server(ADMIN, tmp_path, "--database", "sqlite", *several) as first:
            file = first.data / "tasks.db"
            assert first.lines(f"database: SQLite in {file}")
            assert not first.lines("PostgreSQL")
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert read_env(first.data / "env")["DATABASE_URL"] == f"sqlite:///{file}"
            tasks = [first.start_task(0.2) for _ in range(20)]
            assert len({first.succeeded(task_id)["worker"] for task_id in tasks}) > 1
            assert first.lines("Traceback") == first.lines("database is locked") == []
            sourced = read_env(first.data / "env")
        with run_server(sourced, tmp_path, "--database", "sqlite", "--no-worker", "--no-beat") as second:
            assert all(second.succeeded(task_id) for task_id in tasks)

    @pytest.mark.parametrize(
        ("settings", "options", "told"),
        [
            ({}, [], "an earlier start has made a database of SQLite"),
            ({}, ["--database", "postgresql"], "an earlier start has made a database of SQLite"),
            ({"DATABASE_URL": "postgresql://h/d"}, ["--database", "sqlite"], "contradicts DATABASE_URL"),
        ],
    )
    def test_what_does_not_fit_is_refused_in_a_line_before_anything_is_started(
        self, tmp_path: Path, settings: dict[str, str], options: list[str], told: str
    ) -> None:
        (tmp_path / "tasks.db").touch()
        command = [sys.executable, "run_server.py", "--data-dir", str(tmp_path), *options]
        environment = process_environment(settings)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("error: ")
        assert told in line
