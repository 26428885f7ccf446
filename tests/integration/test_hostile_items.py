"""Whatever stands in the broker, one real worker drops it in one line and serves what comes after it.

Without `app/messaging/guard` most of the items of `RAW` and `ENVELOPES` end Celery's worker, and each ends the next one as well.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis

from app.messaging.routing import PRIORITY_STEPS, QUEUES
from tests.support import hostile_items as hostile
from tests.support.running import Running, example_stack, fresh_connections, lines
from tests.support.services import Services
from tests.support.settings import settings
from tests.support.stack import Part
from tests.support.waiting import wait_for

SECONDS = 20.0
# The same in every process of a parallel run, as the names of tests must be.
RECORD = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"
LINE = 400  # a line of the log tells no more
DROPPED = "dropped an item of "
USUAL = ("Task tests.note_down[", "maintenance")


class Serving:
    """The worker that all of these share: the same process from the first to the last."""

    def __init__(self, running: Running, ledger: Path) -> None:
        self.running, self.ledger = running, ledger
        self.worker: Part = running.stack.worker(concurrency=1)
        self.pid = self.worker.pid
        self.broker: redis.Redis = redis.Redis.from_url(running.stack.broker_url)
        self.number = running.stack.broker_url.rsplit("/", 1)[1]

    def put(self, item: bytes, queue: str = hostile.QUEUE) -> None:
        self.broker.lpush(queue, item)

    def tell(self, command: bytes) -> None:
        """On the channel of remote control."""
        assert self.broker.publish(f"/{self.number}.celery.pidbox", command) == 1

    def good(self, line: str) -> bytes:
        return json.dumps(hostile.envelope([[str(self.ledger), line], {}, {}])).encode()

    def still_serves(self) -> list[str]:
        """It runs a good task, sent now; what else ran since the ledger was last empty."""
        mark = str(uuid4())
        self.put(self.good(mark))
        wait_for(lambda: mark in lines(self.ledger) or not self.worker.running, SECONDS, "the good task to run")
        assert self.worker.running, self.worker.tail()
        assert self.worker.pid == self.pid
        return [line for line in lines(self.ledger) if line != mark]

    def log_since(self, position: int) -> list[str]:
        return self.worker.output()[position:].splitlines()

    def drops(self, acts: dict[str, Callable[[], object]]) -> list[str]:
        """What its log says of acts whose items must be dropped: a line each, and nothing of what stood in the item."""
        position = len(self.worker.output())
        for act in acts.values():
            act()

        def dropped() -> int:
            return self.worker.output()[position:].count(DROPPED)

        wait_for(lambda: dropped() >= len(acts) or not self.worker.running, 60, "the items to be dropped")
        assert dropped() == len(acts), f"{[*acts][: dropped() + 1][-1]} was not dropped:\n{self.worker.tail()}"
        assert self.still_serves() == []
        said = [line for line in self.log_since(position) if not any(usual in line for usual in USUAL)]
        assert [line for line in said if DROPPED not in line] == []
        for name, line in zip(acts, said, strict=True):
            assert len(line) < LINE, name
            assert not any(text in line for text in ("forged", "garbage", "hostile", "no_such", "/nowhere")), name
        return said


@pytest.fixture(scope="module")
def serving(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    directory = tmp_path_factory.mktemp("hostile")
    with example_stack(services, directory) as running:
        started = Serving(running, directory / "ledger")
        yield started
        started.broker.close()


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

    def test_a_thousand_of_them(self, serving: Serving) -> None:
        position = len(serving.worker.output())
        with serving.broker.pipeline() as pipe:
            for _ in range(1000):
                pipe.lpush(hostile.QUEUE, b"garbage")
            pipe.execute()
        assert serving.still_serves() == []
        assert sum(DROPPED in line for line in serving.log_since(position)) == 1000

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

    def test_a_key_that_holds_something_else_is_waited_for(self, serving: Serving) -> None:
        key = f"{hostile.QUEUE}\x06\x169"
        position = len(serving.worker.output())
        serving.broker.set(key, "no list")
        try:
            met = "Connection to broker lost"
            wait_for(lambda: met in serving.worker.output()[position:], SECONDS, "the worker to meet it")
        finally:
            serving.broker.delete(key)
        assert serving.still_serves() == []


class TestRecords:
    def test_wrong_records_are_dropped(self, serving: Serving) -> None:
        wrong = [("no uuid", 1), (1, 1), ([], 1), ({}, {}), ("", 1), (RECORD, "x"), (RECORD, -1), (RECORD, [])]
        serving.drops({repr(pair): lambda pair=pair: serving.put(hostile.record_item(*pair)) for pair in wrong})

    @pytest.mark.parametrize(
        "more",
        [
            {"embed": {"callbacks": [{"task": hostile.NOTE_DOWN, "args": []}]}}, {"embed": {"chain": [{"task": "x"}]}},
            {"embed": {"chord": {"task": "x"}}}, {"eta": "2100-01-01T00:00:00"}, {"expires": "2020-01-01T00:00:00"},
            {"group": "x"}, {"shadow": "another name"},
        ],
    )  # fmt: skip
    def test_a_record_message_says_nothing_more(self, serving: Serving, more: dict[str, Any]) -> None:
        """Also where the record is real and due: its task runs by its own message alone."""
        task_id = serving.running.create("note_down", str(serving.ledger), "the record ran")
        serving.running.ended(task_id)
        wait_for(lambda: lines(serving.ledger) == ["the record ran"], SECONDS, "its own message to run it")
        serving.ledger.unlink()
        serving.drops({"more": lambda: serving.put(hostile.record_item(task_id, 1, **more))})


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
