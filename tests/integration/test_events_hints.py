"""Each process that changes a task sends a hint: here nothing but such a hint can bring an event.

Versions are compared so rarely that no test lives to see it, once the first seconds of the subscription are over.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from app.live import watcher
from tests.support.bounds import bounded
from tests.support.event_reader import EventReader
from tests.support.running import TASKS, Running, example_stack, started
from tests.support.services import Services
from tests.support.shared import LATER, Person, module_running
from tests.support.waiting import wait_for

MODULES = '["tests.support.example_tasks", "tests.support.logging_tasks"]'
running = module_running(TASK_MODULES=MODULES, **bounded({watcher: {"POLL_SECONDS": 3600, "STREAMS_PER_USER": 100}}))
UNHEARD_SECONDS = 0.8
Listen = Callable[[str], EventReader]


@pytest.fixture
def listen(running: Running) -> Iterator[Listen]:
    """A stream of the task, once nothing is compared any more; one more stays open, and so does the subscription."""

    def follow(task_id: str) -> EventReader:
        return EventReader(running.stack.url, f"{TASKS}{task_id}/events", running.token)

    untold = running.create("echo", delay_seconds=3600)
    with follow(untold) as events:
        wait_for(lambda: not _is_compared(running, untold, events), 20, "hints alone to count")
        yield follow


def _is_compared(running: Running, task_id: str, events: EventReader) -> bool:
    """Whether a change without a hint comes to be known."""
    running.stack.sql("UPDATE tasks SET version = version + 1 WHERE id = :id", id=task_id)
    ((version,),) = running.stack.sql("SELECT version FROM tasks WHERE id = :id", id=task_id)
    try:
        events.until(lambda each: max(each.versions, default=0) >= version, "what was not told", UNHEARD_SECONDS)
    except AssertionError:
        return False
    return True


class TestTheWorkerTells:
    def test_of_claim_progress_and_end(self, running: Running, listen: Listen, gate: Path, ledger: Path) -> None:
        with listen(running.create("hold", str(gate), str(ledger), delay_seconds=1)) as events:
            events.until(lambda each: each.events and each.events[-1].state == ("running", 40), "its progress")
            gate.touch()
            assert events.await_end()[-1].task["status"] == "succeeded"

    def test_of_the_claim_before_any_progress(self, running: Running, listen: Listen, gate: Path, ledger: Path) -> None:
        with listen(running.create("hold_deaf", str(gate), str(ledger), delay_seconds=1)) as events:
            events.await_state("running")

    def test_of_a_failure_and_the_next_attempt(self, running: Running, listen: Listen, ledger: Path) -> None:
        task_id = running.create("fail_until", str(ledger), 2, delay_seconds=1, max_attempts=2, retry_backoff_seconds=1)
        with listen(task_id) as events:
            events.until(
                lambda each: any(e.task["error"] and e.task["status"] == "pending" for e in each.events), "the failure"
            )
            assert events.await_end()[-1].task["status"] == "succeeded"

    def test_of_what_its_body_says_through_the_service(
        self, running: Running, listen: Listen, gate: Path, ledger: Path
    ) -> None:
        task_id = running.create("end_itself_and_go_on", str(gate), str(ledger), delay_seconds=1)
        with listen(task_id) as events:
            started(ledger)
            assert events.await_end()[-1].task["status"] in {"succeeded", "failed", "revoked"}
            assert not gate.exists()

    @pytest.mark.usefixtures("listen")
    def test_of_what_its_body_logs(self, running: Running, gate: Path) -> None:
        task_id = running.create("log_before_and_behind", str(gate), delay_seconds=1)
        with EventReader(running.stack.url, f"{TASKS}{task_id}/logs?follow=true", running.token) as events:
            events.until(lambda each: each.events, "the first line")
            gate.touch()
            assert [event.task["message"] for event in events.await_end()] == ["before", "behind"]

    def test_of_a_child_that_it_has_lost(self, running: Running, listen: Listen, ledger: Path) -> None:
        with listen(running.create("kill_itself", str(ledger), delay_seconds=1)) as events:
            last = events.await_end()[-1].task
        assert (last["status"], last["error"]["type"]) == ("failed", "worker_lost")


class TestTheApiTells:
    def test_of_a_change_and_a_cancellation(self, running: Running, listen: Listen) -> None:
        task_id = running.create("echo", delay_seconds=3600)
        with listen(task_id) as events:
            running.http.patch(TASKS + task_id, json={"name": "renamed"})
            events.until(lambda each: each.events and each.events[-1].task["name"] == "renamed", "the new name")
            running.post(task_id, "cancel")
            assert events.await_end()[-1].task["status"] == "revoked"

    def test_of_a_deletion_which_ends_the_stream(self, running: Running, listen: Listen) -> None:
        task_id = running.create("echo", delay_seconds=3600)
        with listen(task_id) as events:
            assert running.http.delete(TASKS + task_id, params={"force": True}).status_code == 204
            assert [event.task["status"] for event in events.await_end()] == ["pending"]
        with listen(task_id) as gone:
            assert gone.status == 404

    def test_requests_that_wait(self, running: Running, listen: Listen) -> None:
        task_id = running.create("echo", delay_seconds=2)
        with listen(task_id):
            assert running.http.get(TASKS + task_id, params={"wait": 30}).json()["status"] == "succeeded"

    @pytest.mark.usefixtures("listen")
    def test_of_new_tasks_and_of_retried_ones(self, running: Running) -> None:
        person = Person(running.stack)
        with person.feed() as events:
            task_id = person.create(**LATER)
            events.await_state("pending", task_id)
            person.http.post(f"{TASKS}{task_id}/cancel")
            events.await_state("revoked", task_id)
            person.http.post(f"{TASKS}{task_id}/retry")
            events.await_state("succeeded", task_id)
        assert {event.task["user_id"] for event in events.events} == {person.user["id"]}


def test_maintenance_tells_of_what_has_expired(running: Running, listen: Listen) -> None:
    soon = running.stack.now() + timedelta(seconds=2)
    task_id = running.create("echo", delay_seconds=3600, expires_at=soon.isoformat())
    with listen(task_id) as events:
        assert events.await_end()[-1].task["status_reason"] == "expired"


def test_nothing_is_published_without_a_listener(services: Services, tmp_path: Path) -> None:
    """By Redis's own count of the command. (Celery's own, of its heartbeat, go to channels of other names.)"""
    with example_stack(services, tmp_path) as running:
        running.stack.server()
        running.stack.worker(concurrency=1)
        with redis.Redis.from_url(running.stack.broker_url, single_connection_client=True) as client:
            number = int(client.connection_pool.connection_kwargs["db"])
            with client.pubsub() as heard:
                heard.subscribe(f"task_service:live:{number}")
                wait_for(lambda: heard.get_message(timeout=1), 10, "the subscription")
                running.run("echo")
                assert heard.get_message(timeout=0.5) is None
                client.set(f"task_service:live:{number}", 1)  # as an API process says that it listens
                wait_for(lambda: running.run("echo") and heard.get_message(timeout=0.1), 20, "a hint")
