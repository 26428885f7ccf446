"""Live events on real processes: one task's states from the first to the last, and who may see them."""

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.event_reader import EventReader
from tests.support.running import TASKS, Running, example_stack
from tests.support.services import Services
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("events")
    with example_stack(services, directory, EVENTS_HEARTBEAT_SECONDS="1", EVENTS_STREAMS_PER_USER="3") as running:
        running.stack.server()
        running.stack.worker(concurrency=2)
        yield running


def token_of(running: Running) -> str:
    return str(running.http.headers["Authorization"]).removeprefix("Bearer ")


def listen(running: Running, task_id: str, last_id: str | None = None, token: str | None = None) -> EventReader:
    return EventReader(running.stack.url, f"{TASKS}{task_id}/events", token or token_of(running), last_id)


class TestOneTask:
    def test_shows_each_state_in_order_and_ends_with_the_last(self, running: Running, gate: Path, ledger: Path) -> None:
        task_id = running.create("hold", str(gate), str(ledger), delay_seconds=1)
        with listen(running, task_id) as events:
            assert (events.status, events.headers["content-type"]) == (200, "text/event-stream")
            events.await_state("running")
            events.until(lambda each: each.events[-1].state == ("running", 40), "its progress")
            gate.touch()
            states = [event.state for event in events.await_end()]
        assert states[0] == ("pending", 0)
        assert states[-1] == ("succeeded", 100)
        assert events.versions == sorted(set(events.versions))
        assert [event.id for event in events.events] == [str(version) for version in events.versions]
        assert {event.kind for event in events.events} == {"task"}

    def test_shows_what_reading_it_shows_with_secrets_hidden(self, running: Running) -> None:
        task_id = running.create("echo", kwargs={"password": "hunter2", "plain": "é\u2028\n"}, tags=["a"])
        with listen(running, task_id) as events:
            last = events.await_end()[-1].task
        assert last == running.get(task_id)
        assert last["kwargs"] == {"password": "***", "plain": "é\u2028\n"}
        assert last["result"]["kwargs"]["password"] == "***"

    def test_can_pass_through_proxies(self, running: Running) -> None:
        with listen(running, running.run("echo")["id"]) as events:
            assert events.headers["x-accel-buffering"] == "no"
            assert events.headers["cache-control"].startswith("no-store")
            assert "etag" not in events.headers

    def test_a_cancellation_a_change_and_a_retry_are_told(self, running: Running) -> None:
        task_id = running.create("echo", delay_seconds=3600)
        with listen(running, task_id) as events:
            running.http.patch(TASKS + task_id, json={"name": "renamed"})
            events.until(lambda each: each.events[-1].task["name"] == "renamed", "the new name", 2)
            running.post(task_id, "cancel")
            assert events.await_end(2)[-1].task["status"] == "revoked"
        running.post(task_id, "retry")
        with listen(running, task_id, last_id=events.last_id) as again:
            assert again.await_end()[-1].task["status"] == "succeeded"
        assert again.events[0].task["version"] > int(events.last_id)

    def test_a_task_that_is_deleted_ends_the_stream(self, running: Running) -> None:
        task_id = running.create("echo", delay_seconds=3600)
        with listen(running, task_id) as events:
            assert running.http.delete(TASKS + task_id, params={"force": True}).status_code == 204
            assert [event.task["status"] for event in events.await_end(2)] == ["pending"]
        with listen(running, task_id) as gone:
            assert gone.status == 404

    def test_a_heartbeat_comes_where_nothing_else_does(self, running: Running) -> None:
        with listen(running, running.create("echo", delay_seconds=3600)) as events:
            events.until(lambda each: each.pings >= 2, "two of them")
            assert len(events.events) == 1


class TestResuming:
    def test_the_terminal_version_is_204(self, running: Running) -> None:
        task = running.run("echo")
        with listen(running, task["id"], last_id=str(task["version"])) as events:
            events.await_end()
            assert (events.status, events.body) == (204, b"")

    def test_an_older_one_gets_the_current_state_at_once(self, running: Running) -> None:
        task = running.run("echo")
        with listen(running, task["id"], last_id=str(task["version"] - 1)) as events:
            assert [event.task for event in events.await_end()] == [task]

    @pytest.mark.parametrize("last_id", ["x", "-1", "9999999999", "1" * 50, "٣", ""])
    def test_what_is_no_version_of_it_counts_as_none(self, running: Running, last_id: str) -> None:
        task = running.run("echo")
        with EventReader(
            running.stack.url, f"{TASKS}{task['id']}/events", token_of(running), last_id.encode().decode("latin-1")
        ) as events:
            assert [event.task for event in events.await_end()] == [task]

    def test_the_current_one_gets_only_what_changes_then(self, running: Running) -> None:
        task_id = running.create("echo", delay_seconds=3600)
        with listen(running, task_id, last_id="1") as events:
            events.until(lambda each: each.pings, "a sign of life")
            assert events.events == []
            running.post(task_id, "cancel")
            assert [event.task["version"] for event in events.await_end()] == [2]


class TestWhoMay:
    def test_anothers_task_answers_as_one_that_does_not_exist(self, running: Running) -> None:
        _, stranger = running.stack.make_user()
        bodies = []
        for task_id in (running.create("echo", delay_seconds=3600), str(uuid4())):
            with listen(running, task_id, token=stranger) as events:
                events.await_end()
                assert events.status == 404
                bodies.append(json.loads(events.body))
        hidden, unknown = ({**body, "instance": "", "request_id": ""} for body in bodies)
        assert hidden == unknown

    def test_an_administrator_may_follow_anybodys(self, running: Running) -> None:
        _, admin = running.stack.make_user("admin")
        task = running.run("echo")
        with listen(running, task["id"], token=admin) as events:
            assert [event.task for event in events.await_end()] == [task]

    def test_a_token_in_the_query_is_none(self, running: Running) -> None:
        task_id = running.run("echo")["id"]
        for name in ("token", "access_token", "authorization"):
            assert (
                running.stack.api(token="").get(f"{TASKS}{task_id}/events?{name}={token_of(running)}").status_code
                == 401
            )

    def test_more_streams_than_allowed_are_429(self, running: Running) -> None:
        _, token = running.stack.make_user()
        task_id = (
            running.stack.api(token)
            .post(TASKS, json={"name": "x", "task_type": "x", "celery_task_name": "tests.echo", "delay_seconds": 3600})
            .json()["id"]
        )
        with listen(running, task_id, token=token) as first, listen(running, task_id, token=token):
            with EventReader(running.stack.url, f"{TASKS}events", token):
                for path in (f"{TASKS}{task_id}/events", f"{TASKS}events"):
                    with EventReader(running.stack.url, path, token) as refused:
                        refused.await_end()
                        assert (refused.status, json.loads(refused.body)["code"]) == (429, "too_many_streams")
                        assert int(refused.headers["retry-after"]) > 0
            # Whoever leaves makes room.
            assert not first.ended

            def fits() -> bool:
                with EventReader(running.stack.url, f"{TASKS}events", token) as again:
                    return again.status == 200

            wait_for(fits, 10, "room for another")
