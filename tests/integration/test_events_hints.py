"""Each kind of change is told by whoever makes it: here nothing but such a hint can bring an event.

Versions are compared so rarely that no test lives to see it, once the first seconds of the subscription are over.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.support.event_reader import EventReader
from tests.support.running import TASKS, Running, example_stack, started
from tests.support.services import Services
from tests.support.waiting import wait_for

NEVER = {"EVENTS_POLL_SECONDS": "3600", "EVENTS_STREAMS_PER_USER": "100"}
UNHEARD_SECONDS = 0.8


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with example_stack(services, tmp_path_factory.mktemp("hints"), **NEVER) as running:
        running.stack.server()
        running.stack.worker(concurrency=2)
        yield running


@pytest.fixture
def listen(running: Running) -> Iterator[Callable[[str], EventReader]]:
    """A stream of the task, once nothing is compared any more; one more stays open, and so does the subscription."""
    token = str(running.http.headers["Authorization"]).removeprefix("Bearer ")
    untold = running.create("echo", delay_seconds=3600)
    with EventReader(running.stack.url, f"{TASKS}{untold}/events", token) as events:
        wait_for(lambda: not _is_compared(running, untold, events), 20, "hints alone to count")
        yield lambda task_id: EventReader(running.stack.url, f"{TASKS}{task_id}/events", token)


def _is_compared(running: Running, task_id: str, events: EventReader) -> bool:
    """Whether a change that nobody tells of comes to be known."""
    ((version,),) = running.stack.sql(
        "UPDATE tasks SET version = version + 1 WHERE id = :id RETURNING version", id=task_id
    )
    try:
        events.until(lambda each: each.versions[-1] >= version, "what was not told", UNHEARD_SECONDS)
    except AssertionError:
        return False
    return True


class TestTheWorkerTells:
    def test_of_claim_progress_and_end(
        self, running: Running, listen: Callable[[str], EventReader], gate: Path, ledger: Path
    ) -> None:
        with listen(running.create("hold", str(gate), str(ledger), delay_seconds=1)) as events:
            events.until(lambda each: each.events[-1].state == ("running", 40), "its progress")
            gate.touch()
            assert events.await_end()[-1].task["status"] == "succeeded"

    def test_of_the_claim_before_any_progress(
        self, running: Running, listen: Callable[[str], EventReader], gate: Path, ledger: Path
    ) -> None:
        with listen(running.create("hold_deaf", str(gate), str(ledger), delay_seconds=1)) as events:
            events.await_state("running")

    def test_of_a_failure_and_the_next_attempt(
        self, running: Running, listen: Callable[[str], EventReader], ledger: Path
    ) -> None:
        task_id = running.create("fail_until", str(ledger), 2, delay_seconds=1, max_attempts=2, retry_backoff_seconds=1)
        with listen(task_id) as events:
            events.until(
                lambda each: any(e.task["error"] and e.task["status"] == "pending" for e in each.events), "the failure"
            )
            assert events.await_end()[-1].task["status"] == "succeeded"

    def test_of_what_its_body_says_through_the_service(
        self, running: Running, listen: Callable[[str], EventReader], gate: Path, ledger: Path
    ) -> None:
        task_id = running.create("end_itself_and_go_on", str(gate), str(ledger), delay_seconds=1)
        with listen(task_id) as events:
            started(ledger)
            assert events.await_end()[-1].task["status"] in {"succeeded", "failed", "revoked"}
            assert not gate.exists()

    def test_of_a_child_that_it_has_lost(
        self, running: Running, listen: Callable[[str], EventReader], ledger: Path
    ) -> None:
        with listen(running.create("kill_itself", str(ledger), delay_seconds=1)) as events:
            last = events.await_end()[-1].task
        assert (last["status"], last["error"]["type"]) == ("failed", "worker_lost")


class TestTheApiTells:
    def test_of_a_change_a_cancellation_and_a_retry(
        self, running: Running, listen: Callable[[str], EventReader]
    ) -> None:
        task_id = running.create("echo", delay_seconds=3600)
        with listen(task_id) as events:
            running.http.patch(TASKS + task_id, json={"name": "renamed"})
            events.until(lambda each: each.events[-1].task["name"] == "renamed", "the new name")
            running.post(task_id, "cancel")
            assert events.await_end()[-1].task["status"] == "revoked"

    def test_of_a_deletion(self, running: Running, listen: Callable[[str], EventReader]) -> None:
        task_id = running.create("echo", delay_seconds=3600)
        with listen(task_id) as events:
            assert running.http.delete(TASKS + task_id, params={"force": True}).status_code == 204
            events.await_end()

    def test_those_who_wait(self, running: Running, listen: Callable[[str], EventReader]) -> None:
        task_id = running.create("echo", delay_seconds=2)
        with listen(task_id):
            assert running.http.get(TASKS + task_id, params={"wait": 30}).json()["status"] == "succeeded"

    def test_of_new_tasks_and_of_retried_ones(self, running: Running, listen: Callable[[str], EventReader]) -> None:
        del listen
        user, token = running.stack.make_user()
        client = running.stack.api(token)
        body = {"name": "x", "task_type": "x", "celery_task_name": "tests.echo", "delay_seconds": 3600}
        with EventReader(running.stack.url, f"{TASKS}events", token) as events:
            task_id = str(client.post(TASKS, json=body).json()["id"])
            events.await_state("pending", task_id)
            client.post(f"{TASKS}{task_id}/cancel")
            events.await_state("revoked", task_id)
            client.post(f"{TASKS}{task_id}/retry")
            events.await_state("succeeded", task_id)
        assert {event.task["user_id"] for event in events.events} == {user["id"]}


def test_the_keeper_tells_of_what_has_expired(running: Running, listen: Callable[[str], EventReader]) -> None:
    ((soon,),) = running.stack.sql("SELECT clock_timestamp() + interval '2 seconds'")
    task_id = running.create("echo", delay_seconds=3600, expires_at=soon.isoformat())
    with listen(task_id) as events:
        assert events.await_end()[-1].task["status_reason"] == "expired"


def test_nothing_is_published_while_nobody_listens(services: Services, tmp_path: Path) -> None:
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
