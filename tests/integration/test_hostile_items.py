"""Whatever stands in the broker, one real worker drops it in one line and serves what comes after it.

Without `app/messaging/guard` most of the items of `RAW` and `ENVELOPES` end Celery's worker, and each ends the next one as well.
"""

from collections.abc import Iterator

import pytest

from app.messaging.application import PRIORITY_STEPS, QUEUES
from tests.support import hostile_items as hostile
from tests.support.running import fresh_connections, lines, messages
from tests.support.services import Services
from tests.support.serving import DROPPED, SECONDS, Serving, serving_worker
from tests.support.settings import settings
from tests.support.waiting import wait_for


@pytest.fixture(scope="module")
def serving(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving_worker(services, tmp_path_factory.mktemp("hostile")) as started:
        yield started


@pytest.fixture(autouse=True)
def empty_ledger(serving: Serving) -> None:
    serving.ledger.unlink(missing_ok=True)


class TestQueues:
    @pytest.mark.parametrize("kind", hostile.TASK_ITEMS)
    def test_items_that_are_no_tasks_of_ours_are_dropped(self, serving: Serving, kind: str) -> None:
        items = hostile.TASK_ITEMS[kind]
        serving.drops({name: lambda make=make: serving.put(make(serving.ledger)) for name, make in items.items()})

    @pytest.mark.parametrize("queue", QUEUES)
    def test_in_each_list_of_each_queue(self, serving: Serving, queue: str) -> None:
        keys = [f"{queue}\x06\x16{priority}" if priority else queue for priority in PRIORITY_STEPS]
        for said in serving.drops({key: lambda key=key: serving.put(b"garbage", key) for key in keys}):
            assert f"{DROPPED}queue {queue}: no JSON (7 bytes)" in said

    @pytest.mark.parametrize("make", hostile.FOLLOWED.values(), ids=hostile.FOLLOWED.keys())
    def test_what_cannot_follow_a_plain_task_does_no_harm(self, serving: Serving, make: hostile.Make) -> None:
        serving.put(make(serving.ledger))
        assert set(serving.still_serves()) == {"a hostile item ran"}

    @pytest.mark.parametrize("make", hostile.FAILING.values(), ids=hostile.FAILING.keys())
    def test_wrong_arguments_of_celerys_own_tasks_do_no_harm(self, serving: Serving, make: hostile.Make) -> None:
        serving.put(make(serving.ledger))
        assert serving.still_serves() == []

    def test_no_worker_listens_to_what_others_say(self, serving: Serving) -> None:
        assert "mingle" not in serving.worker.output()
        assert serving.broker.pubsub_channels() == []
        assert serving.broker.pubsub_numpat() == 1  # the control channel


class TestWakeups:
    def test_any_number_of_them_starts_no_task_twice(self, serving: Serving) -> None:
        """A stranger's are as good as the service's own: they name no row."""
        for _ in range(20):
            serving.put(hostile.wakeup())
        task_id = serving.running.create("note_down", str(serving.ledger), "the record ran")
        assert serving.running.ended(task_id)["attempt"] == 1
        wait_for(lambda: not messages(serving.broker, hostile.QUEUE), SECONDS, "the wake-ups to be taken")
        assert lines(serving.ledger) == ["the record ran"]


class TestControl:
    def test_commands_that_are_not_followed_are_dropped(self, serving: Serving) -> None:
        serving.tell(b"")  # kombu skips it by itself
        commands = {name: command for name, command in hostile.COMMANDS.items() if command}
        serving.drops({name: lambda command=command: serving.tell(command) for name, command in commands.items()})

    def test_questions_are_answered(self, serving: Serving) -> None:
        with settings(serving.running.stack.settings), fresh_connections():
            from app.celery_app import celery_app

            assert celery_app.control.ping(timeout=5, limit=1) == [{"worker1@test": {"ok": "pong"}}]
            assert "worker1@test" in celery_app.control.inspect(timeout=5, limit=1).stats()


class TestLeftovers:
    def test_what_was_never_acknowledged_and_is_no_message_ends_no_worker_at_its_start(self, serving: Serving) -> None:
        for name, entry in hostile.leftovers().items():
            serving.broker.hset("unacked", name, entry)
            serving.broker.zadd("unacked_index", {name: 1})
        second = serving.running.stack.worker(concurrency=1, queues="low_priority")
        wait_for(lambda: not serving.broker.exists("unacked", "unacked_index"), SECONDS, "them to be cleared away")
        assert second.running
        assert second.stop(20) == 0
        assert "Traceback" not in second.output()
        assert serving.still_serves() == []
