"""Messages wake, and name no row: forged and plain ones, the order of rows, and the times that rows keep."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from app.messaging.guard.messages import WAKEUP
from tests.support.running import TASKS, Running, Start, fresh_connections, lines, messages, started
from tests.support.services import Services
from tests.support.settings import settings
from tests.support.shared import module_running
from tests.support.waiting import wait_for

ordinary = module_running(worker=1)


class TestMessages:
    @pytest.fixture
    def running(self, start: Start) -> Iterator[Running]:
        running = start()
        with settings(running.stack.settings), fresh_connections():
            yield running

    def _send(self, name: str, *args: Any, **headers: Any) -> None:
        from app.celery_app import celery_app

        celery_app.send_task(name, args=args, headers=headers, queue="default")

    def test_a_forged_one_starts_nothing(self, running: Running, ledger: Path) -> None:
        running.stack.server()
        task_id = running.create("note_down", str(ledger), run_at="2100-01-01T00:00:00Z")
        other = running.create("echo", priority="low")  # due, on a queue without a worker
        before = running.get(task_id)
        for _ in range(3):
            self._send(WAKEUP)
        self._send(WAKEUP, task_id)
        self._send("tests.note_down", task_record=task_id)  # as a message of former versions
        self._send("tests.note_down", str(ledger), task_record=str(uuid4()), task_generation=1)
        wait_for(lambda: self._waiting(running) == 6, 20, "all of them to wait")
        worker = running.stack.worker(concurrency=1, queues="default")
        self._see_the_queue_served(running)
        assert lines(ledger) == []
        assert running.get(task_id) == before
        assert running.get(other)["status"] == "pending"
        assert worker.output().count("dropped an item of the task queues") == 3

    def test_a_worker_with_older_code_leaves_the_task_that_it_lacks(self, running: Running) -> None:
        running.stack.worker(concurrency=1, env={"TASK_MODULES": "app.tasks"})
        task_id = running.create("echo")
        assert running.run("app.tasks.common_tasks.long_running_task", 0.1)["status"] == "succeeded"
        assert (running.get(task_id)["status"], running.get(task_id)["attempt"]) == ("pending", 0)
        running.stack.worker(concurrency=1)
        assert running.ended(task_id)["attempt"] == 1

    @staticmethod
    def _waiting(running: Running) -> int:
        with redis.Redis.from_url(running.stack.broker_url) as broker:
            return messages(broker, "default")

    def _see_the_queue_served(self, running: Running) -> None:
        """Nothing waits, and as many tasks as there are processes, and one more, have been served after that."""
        wait_for(lambda: self._waiting(running) == 0, 20, "the queue to be empty")
        for _ in range(3):
            assert running.run("echo")["status"] == "succeeded"


class TestAResultBackend:
    def test_is_filled_for_celerys_own_clients_and_for_a_plain_call(self, start: Start, services: Services) -> None:
        backend = services.new_broker()
        running = start(CELERY_RESULT_BACKEND=backend)
        running.stack.worker(concurrency=1)
        ended = running.run("echo", 1)
        with settings(running.stack.settings), fresh_connections():
            from tests.support.example_tasks import echo

            called = echo.delay(1, two=2)
        with redis.Redis.from_url(backend) as connection:
            first, second = (
                json.loads(wait_for(lambda key=key: connection.get(f"celery-task-meta-{key}"), 20, "the result"))
                for key in (ended["celery_id"], called.id)
            )
        assert first["status"] == "SUCCESS"
        assert second["result"] == {"args": [1], "kwargs": {"two": 2}}


class TestPriorities:
    def test_the_higher_go_first_on_a_worker_without_queues(self, start: Start, ledger: Path) -> None:
        running = start()
        order = ["low", "normal", "high", "critical"]
        ids = [
            running.create("note_down", str(ledger), priority, priority=priority)
            for priority in [*order, *reversed(order), *order]
        ]
        running.stack.worker(concurrency=1)
        for task_id in ids:
            running.ended(task_id)
        assert lines(ledger) == ["critical"] * 3 + ["high"] * 3 + ["normal"] * 3 + ["low"] * 3


class TestOnAnOrdinaryWorker:
    def test_without_a_record_it_is_an_ordinary_celery_task(self, ordinary: Running, ledger: Path) -> None:
        before = ordinary.http.get(TASKS + "count").json()["total"]
        with settings(ordinary.stack.settings), fresh_connections():
            from tests.support.example_tasks import hold, note_down

            note_down.delay(str(ledger), line="plain")
            assert started(ledger) == ["plain"]
            hold.delay("/", str(ledger))  # progress and task_id with no record behind them
            started(ledger, 2)
        assert ordinary.http.get(TASKS + "count").json()["total"] == before

    def test_nothing_starts_before_its_time_nor_after_its_expiry(self, ordinary: Running, ledger: Path) -> None:
        expiring = ordinary.create("note_down", str(ledger), "expired", expires_at="2020-01-01T00:00:00Z")
        delayed = ordinary.create("note_down", str(ledger), "delayed", delay_seconds=1.5)
        planned = ordinary.create("note_down", str(ledger), "planned", run_at="2100-01-01T00:00:00Z")
        past = ordinary.create("note_down", str(ledger), "past", run_at="2020-01-01T00:00:00Z")
        ended = ordinary.ended(expiring)
        assert (ended["status"], ended["status_reason"], ended["attempt"]) == ("revoked", "expired", 0)
        assert ordinary.ended(past)["status"] == "succeeded"
        task = ordinary.ended(delayed)
        assert task["started_at"] >= task["run_at"] > task["created_at"]
        assert ordinary.get(planned)["status"] == "pending"
        assert lines(ledger) in (["past", "delayed"], ["delayed", "past"])
        assert ordinary.http.patch(TASKS + planned, json={"run_at": None}).status_code == 200
        assert ordinary.ended(planned)["status"] == "succeeded"
