"""Live events on real processes: the states of one task and of all of a user's, who may see them, and resuming."""

import json
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from app.live import watcher
from app.live.watcher import REPLAY_SECONDS, REPLAY_TASKS
from tests.support.bounds import bounded
from tests.support.event_reader import EventReader
from tests.support.running import TASKS, Running
from tests.support.shared import LATER, Person, module_running
from tests.support.waiting import wait_for

STREAMS = 4
running = module_running(**bounded({watcher: {"HEARTBEAT_SECONDS": 1, "STREAMS_PER_USER": STREAMS}}))


def listen(running: Running, task_id: str, last_id: str | None = None, token: str | None = None) -> EventReader:
    return EventReader(running.stack.url, f"{TASKS}{task_id}/events", token or running.token, last_id)


@pytest.fixture
def mine(running: Running) -> Person:
    return Person(running.stack)


def cursor_of_now(running: Running) -> int:
    """As it would be given out at this moment."""
    return (running.stack.now() - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class TestOneTask:
    def test_shows_each_state_in_order_and_ends_with_the_last(self, running: Running, gate: Path, ledger: Path) -> None:
        task_id = running.create("hold", str(gate), str(ledger), delay_seconds=3600)
        with listen(running, task_id) as events:
            events.await_state("pending")
            assert running.post(task_id, "run-now").status_code == 200
            assert (events.status, events.headers["content-type"]) == (200, "text/event-stream")
            # It can pass through proxies.
            assert events.headers["x-accel-buffering"] == "no"
            assert events.headers["cache-control"].startswith("no-store")
            assert "etag" not in events.headers
            events.await_state("running")
            events.until(lambda each: each.events and each.events[-1].state == ("running", 40), "its progress")
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

    def test_a_cancellation_a_change_and_a_retry_are_told(self, running: Running) -> None:
        task_id = running.create("echo", delay_seconds=3600)
        with listen(running, task_id) as events:
            running.http.patch(TASKS + task_id, json={"name": "renamed"})
            events.until(lambda each: each.events and each.events[-1].task["name"] == "renamed", "the new name")
            running.post(task_id, "cancel")
            assert events.await_end()[-1].task["status"] == "revoked"
        running.post(task_id, "retry")
        with listen(running, task_id, last_id=events.last_id) as again:
            assert again.await_end()[-1].task["status"] == "succeeded"
        assert again.events[0].task["version"] > int(events.last_id)

    def test_a_heartbeat_comes_where_nothing_else_does(self, running: Running) -> None:
        with listen(running, running.create("echo", delay_seconds=3600)) as events:
            events.until(lambda each: each.pings >= 2, "two of them")
            assert len(events.events) == 1


class TestResumingOneTask:
    def test_the_terminal_version_is_204(self, running: Running) -> None:
        task = running.run("echo")
        with listen(running, task["id"], last_id=str(task["version"])) as events:
            events.await_end()
            assert (events.status, events.body) == (204, b"")

    def test_an_older_one_gets_the_current_state_at_once(self, running: Running) -> None:
        task = running.run("echo")
        with listen(running, task["id"], last_id=str(task["version"] - 1)) as events:
            assert [event.task for event in events.await_end()] == [task]

    def test_what_is_no_version_of_it_counts_as_none(self, running: Running) -> None:
        task = running.run("echo")
        for last_id in ("x", "-1", "9999999999", "1" * 50, "٣", ""):
            with listen(running, task["id"], last_id=last_id.encode().decode("latin-1")) as events:
                assert (last_id, [event.task for event in events.await_end()]) == (last_id, [task])

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

    def test_an_administrator_may_follow_every_task(self, running: Running) -> None:
        _, admin = running.stack.make_user("admin")
        task = running.run("echo")
        with listen(running, task["id"], token=admin) as events:
            assert [event.task for event in events.await_end()] == [task]

    def test_a_token_in_the_query_is_none(self, running: Running) -> None:
        task_id = running.run("echo")["id"]
        for name in ("token", "access_token", "authorization"):
            answer = running.stack.api(token="").get(f"{TASKS}{task_id}/events", params={name: running.token})
            assert answer.status_code == 401

    def test_more_streams_than_allowed_are_429(self, mine: Person) -> None:
        task_id = mine.create(**LATER)
        with ExitStack() as opened:
            first, *_ = (opened.enter_context(mine.follow(task_id)) for _ in range(STREAMS - 1))
            with mine.feed():
                for too_many in (mine.follow(task_id), mine.feed()):
                    with too_many as refused:
                        refused.await_end()
                        assert (refused.status, json.loads(refused.body)["code"]) == (429, "too_many_streams")
                        assert int(refused.headers["retry-after"]) > 0
            assert not first.ended

            def fits() -> bool:
                with mine.feed() as again:
                    return again.status == 200

            wait_for(fits, 10, "room for another one")


class TestAllTasks:
    def test_shows_new_tasks_and_all_that_becomes_of_them(self, mine: Person, gate: Path, ledger: Path) -> None:
        with mine.feed() as events:
            first = mine.create(celery_task_name="tests.hold", args=[str(gate), str(ledger)])
            later = mine.create(**LATER)
            events.await_state("running", first)
            events.await_state("pending", later)
            gate.touch()
            ended = events.await_state("succeeded", first)
            assert mine.http.post(f"{TASKS}{later}/cancel").status_code == 200
            events.await_state("revoked", later)
            assert not events.ended
        assert ended.task == mine.http.get(TASKS + first).json()
        assert {event.kind for event in events.events} == {"task"}
        for task_id in (first, later):
            versions = [event.task["version"] for event in events.events if event.task["id"] == task_id]
            assert versions == sorted(set(versions))

    def test_shows_no_other_users_tasks(self, running: Running, mine: Person) -> None:
        other = Person(running.stack)
        with mine.feed() as events, other.feed() as others:
            theirs = other.create(**LATER)
            others.await_state("pending", theirs)
            own = mine.create(**LATER)
            events.await_state("pending", own)
        assert {event.task["id"] for event in events.events} == {own}

    def test_a_heartbeat_keeps_the_cursor_young(self, mine: Person) -> None:
        with mine.feed() as events:
            events.until(lambda each: each.last_id, "a cursor before any event")
            before = int(events.last_id, 16)
            events.until(lambda each: int(each.last_id, 16) > before, "a later one")
            assert events.pings
            assert events.events == []


class TestResumingAllTasks:
    def test_tells_what_has_changed_meanwhile(self, running: Running, mine: Person, gate: Path, ledger: Path) -> None:
        ended, edited, untouched = (mine.create(**LATER) for _ in range(3))
        with mine.feed() as events:
            going = mine.create(celery_task_name="tests.hold", args=[str(gate), str(ledger)])
            events.await_state("running", going)
            events.until(lambda each: each.pings, "a cursor after it")
        cursor = f"{cursor_of_now(running):x}"
        assert mine.http.post(f"{TASKS}{ended}/cancel").status_code == 200
        assert mine.http.patch(TASKS + edited, json={"name": "renamed"}).status_code == 200
        new = mine.create(**LATER)
        with mine.feed(last_id=cursor) as again:
            again.await_state("revoked", ended)
            again.await_state("pending", new)
            again.until(lambda each: any(event.task["name"] == "renamed" for event in each.events), "the edited one")
            assert untouched not in {event.task["id"] for event in again.events}
            gate.touch()
            again.await_state("succeeded", going)

    def test_each_cursor_of_an_event_leads_to_all_that_follow_it(self, mine: Person) -> None:
        with mine.feed() as events:
            ids = [mine.create() for _ in range(10)]
            for task_id in ids:
                events.await_state("succeeded", task_id)
        at = len(events.events) // 2
        missing = {event.task["id"] for event in events.events[at + 1 :] if event.task["status"] == "succeeded"}
        with mine.feed(last_id=events.events[at].id) as again:
            for task_id in missing:
                again.await_state("succeeded", task_id)
        assert not [event for event in again.events if event.kind != "task"]

    def test_a_change_that_came_to_be_seen_late_is_not_skipped(self, mine: Person) -> None:
        """Its time is that of its statement; its commit may come after a cursor that is later."""
        late = mine.create(**LATER)
        # Not one that a feed has been shown, and whose version is compared.
        mine.stack.sql("UPDATE tasks SET updated_at = now() - interval '1 hour' WHERE id = :id", id=late)
        with mine.feed() as events, mine.feed():  # the other one stays, and with it what is remembered of the user
            events.until(lambda each: each.pings >= 2, "a cursor of a heartbeat")
            mine.stack.sql(
                "UPDATE tasks SET name = 'late', version = version + 1,"
                " updated_at = clock_timestamp() - interval '3 seconds' WHERE id = :id",
                id=late,
            )
            with mine.feed(last_id=events.last_id) as again:
                again.until(lambda each: any(event.task["name"] == "late" for event in each.events), "it")

    def test_what_is_no_cursor_starts_anew(self, mine: Person) -> None:
        for last_id in ("zz", "-5", "f" * 40, "22;", "ffffffffffffffff"):
            with mine.feed(last_id=last_id) as events:
                task_id = mine.create(**LATER)
                events.await_state("pending", task_id)
            assert (last_id, {event.kind for event in events.events}) == (last_id, {"task"})

    def test_too_old_a_cursor_says_reset(self, running: Running, mine: Person) -> None:
        long_ago = cursor_of_now(running) - (REPLAY_SECONDS + 1) * 1_000_000
        with mine.feed(last_id=f"{long_ago:x}") as events:
            events.until(lambda each: each.events, "an event")
            assert (events.events[0].kind, events.events[0].task) == ("reset", {})
            assert int(events.last_id, 16) > long_ago

    def test_too_much_says_reset_and_as_much_as_fits_is_told(self, running: Running, mine: Person) -> None:
        cursor = f"{cursor_of_now(running):x}"
        mine.fill(REPLAY_TASKS)
        with mine.feed(last_id=cursor) as events:
            # By their ids: a state may come twice, once as missed and once as compared.
            events.until(lambda each: len({event.task.get("id") for event in each.events}) >= REPLAY_TASKS, "all")
            assert {event.kind for event in events.events} == {"task"}
        mine.fill(1)
        with mine.feed(last_id=cursor) as events:
            events.until(lambda each: each.events, "an event")
            assert events.events[0].kind == "reset"
