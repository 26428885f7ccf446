"""GET /metrics of a service that runs: every process tells the same, and a restart loses nothing."""

from pathlib import Path

import httpx

from tests.support.running import Running, Start
from tests.support.stack import node_name
from tests.support.waiting import wait_for

SECONDS = 40
# Of the database. What a process counts by itself, and ages, differ.
SUMS = ("celery_task_", "task_wait_seconds", "celery_queue_length", "celery_worker_up", "celery_active_")


def sums(url: str) -> dict[str, float]:
    lines = httpx.get(f"{url}/metrics", timeout=SECONDS).text.splitlines()
    values = (line.rpartition(" ") for line in lines if line.startswith(SUMS))
    return {name: float(value) for name, _, value in values}


def total(url: str, what: str, name: str, queue: str = "default") -> float:
    return sums(url).get(f'celery_task_{what}_total{{name="tests.{name}",queue_name="{queue}"}}', 0)


def await_total(running: Running, expected: float, what: str, name: str) -> None:
    url = running.stack.url
    wait_for(lambda: total(url, what, name) == expected, SECONDS, f"{expected} {what} of {name}")


def test_any_process_answers_alike_and_a_restart_loses_nothing(start: Start, tmp_path: Path) -> None:
    running = start()
    stack = running.stack
    server, worker = stack.server(), stack.worker()
    another = stack.another_server({})
    running.run("echo")
    running.run("retry_automatically", str(tmp_path / "ledger"))
    assert running.post(running.create("echo", delay_seconds=1000), "cancel").is_success
    await_total(running, 1, "revoked", "echo")
    before = sums(stack.url)
    assert before == sums(another)
    assert [total(another, what, "echo") for what in ("sent", "succeeded", "failed", "revoked")] == [2, 1, 0, 1]
    assert [total(another, what, "retry_automatically") for what in ("failed", "retried")] == [1, 2]
    assert before[f'celery_worker_up{{hostname="{node_name(worker)}"}}'] == 1
    assert before['celery_active_worker_count{queue_name="default"}'] == 1
    assert before['celery_active_process_count{queue_name="default"}'] == 2

    server.kill()
    worker.stop()
    stack.server()
    counted = {name: value for name, value in before.items() if name.startswith(("celery_task_", "task_wait"))}
    assert sums(stack.url).items() >= counted.items()
    stack.worker()
    running.run("echo")
    await_total(running, 2, "succeeded", "echo")
    after = sums(stack.url)
    assert all(after[name] >= value for name, value in counted.items())
    assert f'celery_worker_up{{hostname="{node_name(worker)}"}}' not in after  # it has stopped
