"""Celery's own commands and Flower beside the service, as docs/operations.md describes them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest

from app.launcher.ports import free_loopback_port
from tests.support.running import Running, example_stack
from tests.support.services import ROOT, Services, process_environment
from tests.support.stack import Part
from tests.support.waiting import wait_for

SLEEP = "app.tasks.common_tasks.long_running_task"
SLOTS = 2
# The answer of the one worker ends the wait. Without these it lasts a second, in which a busy machine may not answer.
ASKED = ("--timeout", "30", "--destination", "worker1@test")
SECRET = "not-for-the-broker-0123456789"


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A worker and a beat started with `-A app`."""
    with example_stack(services, tmp_path_factory.mktemp("celery")) as started:
        started.stack.application = "app"
        started.stack.worker(concurrency=SLOTS)
        started.stack.beat()
        yield started


def celery(running: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "app", *arguments],
        cwd=ROOT, env=process_environment(running.stack.settings), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def flower(running: Running) -> Iterator[httpx.Client]:
    """Once it receives events: it asks the worker to send those of tasks."""
    port = free_loopback_port()
    environment = process_environment({**running.stack.settings, "FLOWER_UNAUTHENTICATED_API": "true"})
    command = [sys.executable, "-m", "celery", "-A", "app", "flower", "--address=127.0.0.1", f"--port={port}"]
    part = Part("flower", command, running.stack.directory / "flower.log", environment)
    running.stack.parts.append(part)
    part.process.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        wait_for(lambda: lists_the_worker(client) or not part.running, 45, "Flower to list the worker")
        assert part.running, part.tail()
        running.worker.await_line("Events of group {task} enabled")
        part.await_line("Connected to")
        yield client


def lists_the_worker(flower: httpx.Client) -> bool:
    try:
        return "worker1@test" in flower.get("/api/workers").json()
    except httpx.TransportError:
        return False


def lists_a_worker_that_runs(running: Running) -> bool:
    return "worker1@test: OK" in celery(running, "inspect", *ASKED, "ping").stdout


class TestCelery:
    @pytest.mark.parametrize("command", [["status"], ["inspect", "stats"]])
    def test_questions_are_answered(self, running: Running, command: list[str]) -> None:
        done = celery(running, command[0], *ASKED, *command[1:])
        assert (done.returncode, "worker1@test: OK" in done.stdout) == (0, True), done.stderr

    def test_a_running_task_is_found_by_its_id(self, running: Running) -> None:
        task_id = running.create(SLEEP, kwargs={"duration": 300})
        celery_id = running.until(task_id, "running")["celery_id"]
        said = celery(running, "inspect", *ASKED, "active").stdout
        assert all(each in said for each in (f"'task_id': '{task_id}'", f"'id': '{celery_id}'", f"'name': '{SLEEP}'"))
        assert f"{celery_id}" not in celery(running, "inspect", *ASKED, "reserved").stdout
        running.post(task_id, "cancel")

    def test_report_tells_the_configuration_and_no_password(self, running: Running) -> None:
        done = celery(running, "report")
        assert "task_default_queue: 'default'" in done.stdout
        password = urlsplit(running.stack.broker_url).password
        assert password
        assert password not in done.stdout + done.stderr

    @pytest.mark.parametrize("command", ["pool_grow 1", "shutdown", "revoke 01a2145c-0307-733a-9b76-8a1b56b28223"])
    def test_commands_are_refused_and_the_answer_says_why(self, running: Running, command: str) -> None:
        done = celery(running, "control", *ASKED, *command.split())
        refusal = (
            f"REMOTE_CONTROL=read: this worker does not follow {command.partition(' ')[0]}, see docs/operations.md"
        )
        assert refusal in done.stdout
        assert lists_a_worker_that_runs(running)

    def test_purged_wakeups_cost_no_task(self, running: Running) -> None:
        busy = [running.create(SLEEP, kwargs={"duration": 300}) for _ in range(SLOTS)]
        for task in busy:
            running.until(task, "running")
        waiting = running.create(SLEEP, kwargs={"duration": 0.1})
        said = celery(running, "purge", "--force").stdout
        for task in busy:
            running.post(task, "cancel")
        assert re.search(r"Purged \d+ message", said)
        assert running.ended(waiting)["status"] == "succeeded"


class TestBeat:
    def test_leads_in_the_workers_place_and_lets_go_as_it_stops(self, running: Running) -> None:
        held = "SELECT count(*) FROM maintenance_lease WHERE beat = holder AND expires_at > now()"
        beat = next(part for part in running.stack.parts if part.name.startswith("beat"))
        wait_for(lambda: running.stack.sql(held)[0][0], 20, "the beat to lead")
        running.worker.await_line(" stands by")
        assert beat.stop() == 0, beat.tail()
        assert not running.stack.sql(held)[0][0]


class TestFlower:
    def test_shows_a_task_without_its_arguments(self, running: Running, flower: httpx.Client) -> None:
        task = running.run(SLEEP, kwargs={"duration": 0.1, "password": SECRET})
        info = f"/api/task/info/{task['celery_id']}"
        wait_for(lambda: flower.get(info).status_code == 200 and flower.get(info).json()["state"] == "SUCCESS",
                 20, "Flower to show the success")  # fmt: skip
        shown = flower.get(info)
        assert (shown.json()["args"], shown.json()["kwargs"]) == ("", f"task_id={task['id']}")
        assert SECRET not in shown.text

    def test_changes_no_worker(self, running: Running, flower: httpx.Client) -> None:
        assert flower.post("/api/worker/pool/grow/worker1@test").status_code == 403
        flower.post("/api/worker/shutdown/worker1@test")  # it says «Shutting down!», whatever the worker does
        assert running.run(SLEEP, kwargs={"duration": 0.1})["status"] == "succeeded"
