"""The stream of all of one's tasks: what it shows, whose, and from where it resumes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.live.watcher import REPLAY_SECONDS, REPLAY_TASKS
from tests.support.event_reader import EventReader
from tests.support.running import TASKS, Running, example_stack
from tests.support.services import Services

BODY: dict[str, Any] = {"name": "x", "task_type": "x", "celery_task_name": "tests.echo"}
HOUR = {"delay_seconds": 3600}


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with example_stack(services, tmp_path_factory.mktemp("feed"), EVENTS_HEARTBEAT_SECONDS="1") as running:
        running.stack.server()
        running.stack.worker(concurrency=2)
        yield running


class Client:
    """A user of a test's own."""

    def __init__(self, running: Running) -> None:
        self.stack = running.stack
        self.user, self.token = running.stack.make_user()
        self.http = running.stack.api(self.token)

    def create(self, **fields: Any) -> str:
        answer = self.http.post(TASKS, json=BODY | fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def feed(self, last_id: str | None = None) -> EventReader:
        return EventReader(self.stack.url, f"{TASKS}events", self.token, last_id)


@pytest.fixture
def mine(running: Running) -> Client:
    return Client(running)


def states(events: EventReader) -> list[tuple[str, str]]:
    return [(event.task["id"], event.task["status"]) for event in events.events]


class TestFeed:
    def test_shows_new_tasks_and_all_that_becomes_of_them(self, mine: Client, gate: Path, ledger: Path) -> None:
        with mine.feed() as events:
            first = mine.create(celery_task_name="tests.hold", args=[str(gate), str(ledger)])
            later = mine.create(**HOUR)
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

    def test_shows_nobody_elses(self, running: Running, mine: Client) -> None:
        other = Client(running)
        with mine.feed() as events, other.feed() as others:
            theirs = other.create(**HOUR)
            others.await_state("pending", theirs)
            own = mine.create(**HOUR)
            events.await_state("pending", own)
        assert {event.task["id"] for event in events.events} == {own}

    def test_a_heartbeat_keeps_the_cursor_young(self, mine: Client) -> None:
        with mine.feed() as events:
            events.until(lambda each: each.last_id, "a cursor before any event")
            before = int(events.last_id, 16)
            events.until(lambda each: int(each.last_id, 16) > before, "a later one")
            assert events.pings
            assert events.events == []


class TestResuming:
    def test_tells_what_has_changed_meanwhile(self, mine: Client, gate: Path, ledger: Path) -> None:
        ended, edited, untouched = (mine.create(**HOUR) for _ in range(3))
        with mine.feed() as events:
            going = mine.create(celery_task_name="tests.hold", args=[str(gate), str(ledger)])
            events.await_state("running", going)
            events.until(lambda each: each.pings, "a cursor after it")
        # As if the cursor had been given out just now: what follows is later than it, by much or little.
        cursor = f"{int(mine.stack.sql('SELECT extract(epoch FROM clock_timestamp()) * 1000000')[0][0]):x}"
        assert mine.http.post(f"{TASKS}{ended}/cancel").status_code == 200
        assert mine.http.patch(TASKS + edited, json={"name": "renamed"}).status_code == 200
        new = mine.create(**HOUR)
        with mine.feed(cursor) as again:
            again.await_state("revoked", ended)
            again.await_state("pending", new)
            again.until(lambda each: any(event.task["name"] == "renamed" for event in each.events), "the edited one")
            assert untouched not in {event.task["id"] for event in again.events}
            gate.touch()
            again.await_state("succeeded", going)

    def test_each_cursor_of_an_event_leads_to_all_that_follow_it(self, mine: Client) -> None:
        with mine.feed() as events:
            ids = [mine.create() for _ in range(10)]
            for task_id in ids:
                events.await_state("succeeded", task_id)
        at = len(events.events) // 2
        missing = {event.task["id"] for event in events.events[at + 1 :] if event.task["status"] == "succeeded"}
        with mine.feed(events.events[at].id) as again:
            for task_id in missing:
                again.await_state("succeeded", task_id)
        assert not [event for event in again.events if event.kind != "task"]

    def test_a_change_that_came_to_be_seen_late_is_not_skipped(self, mine: Client) -> None:
        """Its time is that of its statement; its commit may come after a cursor that is later."""
        late = mine.create(**HOUR)
        # Not one that a feed has been shown, and whose version is compared.
        mine.stack.sql("UPDATE tasks SET updated_at = now() - interval '1 hour' WHERE id = :id", id=late)
        with mine.feed() as events, mine.feed():  # the other one stays, and with it what is remembered of the user
            events.until(lambda each: each.pings >= 2, "a cursor of a heartbeat")
            self._change_late(mine, late)
            with mine.feed(events.last_id) as again:
                again.until(lambda each: any(event.task["name"] == "late" for event in each.events), "it")

    @staticmethod
    def _change_late(mine: Client, late: str) -> None:
        mine.stack.sql(
            "UPDATE tasks SET name = 'late', version = version + 1, updated_at = clock_timestamp() - interval '3 seconds' "
            "WHERE id = :id",
            id=late,
        )

    @pytest.mark.parametrize("last_id", ["zz", "-5", "f" * 40, "22;", "ffffffffffffffff"])
    def test_what_is_no_cursor_of_ours_starts_anew(self, mine: Client, last_id: str) -> None:
        with mine.feed(last_id) as events:
            task_id = mine.create(**HOUR)
            events.await_state("pending", task_id)
        assert {event.kind for event in events.events} == {"task"}

    def test_too_old_a_cursor_says_reset(self, mine: Client) -> None:
        long_ago = mine.stack.sql(
            "SELECT extract(epoch FROM clock_timestamp() - make_interval(secs => :s)) * 1000000", s=REPLAY_SECONDS + 1
        )[0][0]
        with mine.feed(f"{int(long_ago):x}") as events:
            events.until(lambda each: each.events, "an event")
            assert (events.events[0].kind, events.events[0].task) == ("reset", {})
            assert int(events.last_id, 16) > int(long_ago)

    def test_too_much_says_reset_and_as_much_as_fits_is_told(self, mine: Client) -> None:
        cursor = f"{int(mine.stack.sql('SELECT extract(epoch FROM clock_timestamp()) * 1000000')[0][0]):x}"
        fill = """
            INSERT INTO tasks (id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, celery_id,
                               status, dispatch_at)
            SELECT gen_random_uuid(), :user, 'x', 'x', 'tests.echo', '[]', '{}', 'low', 'low_priority', gen_random_uuid(),
                   'pending', now() + interval '1 day'
            FROM generate_series(1, :number)
        """
        mine.stack.sql(fill, user=mine.user["id"], number=REPLAY_TASKS)
        with mine.feed(cursor) as events:
            # By their ids: a state may come twice, once as missed and once as compared.
            events.until(lambda each: len({event.task.get("id") for event in each.events}) >= REPLAY_TASKS, "all")
            assert {event.kind for event in events.events} == {"task"}
        mine.stack.sql(fill, user=mine.user["id"], number=1)
        with mine.feed(cursor) as events:
            events.until(lambda each: each.events, "an event")
            assert events.events[0].kind == "reset"
