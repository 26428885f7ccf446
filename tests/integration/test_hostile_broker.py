"""What a client that may write to the broker can do beside single items: numbers, floods, keys of another type.

One real worker, one API process and one client of remote control meet it, and go on.
"""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from app.messaging.application import QUEUES
from app.messaging.guard.items import MOST_LINES
from app.messaging.guard.redis_client import ASIDE
from app.worker.parent.consumer import KEPT_SECONDS, MAX_SCHEDULED
from tests.support import hostile_items as hostile
from tests.support.running import Running, example_stack, fresh_connections, lines, messages
from tests.support.services import Services
from tests.support.serving import DROPPED, SECONDS, Serving, serving_worker
from tests.support.settings import settings
from tests.support.waiting import wait_for

MEGABYTE = 1024 * 1024
VISIBILITY_SECONDS = 3600.0  # kombu's
PUT_ASIDE = "a key of the broker held another type: "


@pytest.fixture(scope="module")
def serving(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving_worker(services, tmp_path_factory.mktemp("hostile")) as started:
        yield started


@pytest.fixture(autouse=True)
def empty_ledger(serving: Serving) -> None:
    serving.ledger.unlink(missing_ok=True)


def serves(serving: Serving) -> bool:
    """It runs a good task that is sent now, and nothing else meanwhile."""
    serving.ledger.unlink(missing_ok=True)
    return serving.still_serves() == []


@contextmanager
def control(running: Running) -> Iterator[Any]:
    """Celery's client of remote control, as `celery inspect` has it."""
    with settings(running.stack.settings), fresh_connections():
        from app.celery_app import celery_app

        yield celery_app.control


def answers(client: Any) -> bool:
    return bool(client.ping(timeout=SECONDS, limit=1) == [{"worker1@test": {"ok": "pong"}}])


class TestNumbers:
    def test_no_clock_of_a_command_ends_the_answers(self, serving: Serving) -> None:
        for clock in (hostile.HUGE, 2**53, 2**63):
            serving.tell(hostile.command_body({"method": "ping", "arguments": {}}, {"clock": clock}))
        with control(serving.running) as client:
            assert answers(client)
            assert answers(client)

    def test_no_clock_of_an_answer_ends_the_questions(self, serving: Serving) -> None:
        with control(serving.running) as client:
            for clock in (hostile.HUGE, 2**53):
                with answering_first(serving, clock):
                    client.ping(timeout=2)
                assert answers(client)

    def test_a_forged_binding_does_not_end_the_answers(self, serving: Serving) -> None:
        serving.broker.sadd("_kombu.binding.reply.celery.pidbox", "no binding", b"\xff\xfe")
        with control(serving.running) as client:
            assert answers(client)


@contextmanager
def answering_first(serving: Serving, clock: int) -> Iterator[None]:
    """Whoever hears a question can answer it, beside the worker."""
    with redis.Redis.from_url(serving.running.stack.broker_url) as client, client.pubsub() as heard:
        heard.psubscribe(**{f"/{serving.number}.celery.pidbox": lambda message: answer(client, message["data"], clock)})
        wait_for(heard.get_message, SECONDS, "the subscription")
        thread = heard.run_in_thread(sleep_time=0.01, daemon=True)
        yield
        thread.stop()
        thread.join(SECONDS)


def answer(client: redis.Redis, question: bytes, clock: int) -> None:
    asked = json.loads(base64.b64decode(json.loads(question)["body"]))
    headers = {"clock": clock, "ticket": asked["ticket"]}
    forged = hostile.command_body({"worker9@test": {"ok": "pong"}}, headers)
    client.lpush(f"{asked['reply_to']['routing_key']}.reply.celery.pidbox", forged)


def at(moment: datetime, ledger: Path, line: str = "") -> bytes:
    """A plain message with an ETA."""
    return json.dumps(hostile.envelope([[str(ledger), line], {}, {}], {"eta": moment.isoformat()})).encode()


class TestTimes:
    """Messages with an ETA: `countdown=` and `eta=` of plain tasks."""

    def test_those_of_the_far_future_stay_in_the_broker(self, serving: Serving) -> None:
        """They took 12 KB each: 20,000 grew the worker from 117 to 351 MB.

        The worker reads one in 2 ms of a quiet machine, so that more would not be read in the time of a test.
        """
        number = 8_000
        assert serves(serving)
        process = psutil.Process(serving.pid)
        before = process.memory_info().rss
        message = at(datetime(2099, 1, 1, tzinfo=UTC), serving.ledger)
        with serving.broker.pipeline() as pipe:
            for each in range(number):
                pipe.lpush(hostile.QUEUE, message.replace(b'"delivery_tag": "', b'"delivery_tag": "%d-' % each))
            pipe.execute()
        wait_for(lambda: messages(serving.broker, hostile.QUEUE) == 0, 90, "the worker to read them")
        assert serves(serving)
        assert process.memory_info().rss - before < 24 * MEGABYTE  # 3 KB each
        # The worker acknowledges the good one once it has handed it to a child.
        wait_for(lambda: serving.broker.zcard("unacked_index") == number, SECONDS, "those of the far future alone")
        serving.broker.delete("unacked", "unacked_index")

    def test_what_is_far_comes_back_in_time(self, serving: Serving) -> None:
        serving.broker.delete("unacked", "unacked_index")
        moment = datetime.now(UTC) + timedelta(days=2)
        serving.put(at(moment, serving.ledger))
        back = moment.timestamp() - KEPT_SECONDS / 2 - VISIBILITY_SECONDS

        def scores() -> list[float]:
            return [*dict(serving.broker.zrange("unacked_index", 0, -1, withscores=True)).values()]

        wait_for(lambda: scores() == [pytest.approx(back, abs=1)], SECONDS, "it to be put off")
        (tag,) = serving.broker.zrange("unacked_index", 0, -1)
        serving.broker.zadd("unacked_index", {tag: 1})  # as if it were time
        wait_for(lambda: scores() == [pytest.approx(back, abs=1)], 2 * SECONDS, "it to be read, and put off again")
        assert lines(serving.ledger) == []
        serving.broker.delete("unacked", "unacked_index")

    def test_more_than_a_worker_keeps_all_run_once(self, serving: Serving) -> None:
        """What is beyond its bound waits in the broker, and is a few seconds late."""
        serving.broker.delete("unacked", "unacked_index")
        moment, number = datetime.now(UTC) + timedelta(seconds=8), MAX_SCHEDULED + 150
        with serving.broker.pipeline() as pipe:
            for line in range(number):
                pipe.lpush(hostile.QUEUE, at(moment, serving.ledger, str(line)))
            pipe.execute()
        wait_for(lambda: messages(serving.broker, hostile.QUEUE) == 0, 60, "the worker to read them")
        wait_for(lambda: len(lines(serving.ledger)) >= number, 90, "all to run")
        assert sorted(map(int, lines(serving.ledger))) == [*range(number)]
        wait_for(lambda: not serving.broker.exists("unacked", "unacked_index"), SECONDS, "nothing to be left")


class TestSizes:
    def test_an_item_of_hundreds_of_megabytes_is_not_kept(self, serving: Serving) -> None:
        """Read as any answer is, 300 MB took 880 MB of memory before they were found to be too large."""
        assert serves(serving)
        before, position = peak(serving.pid), len(serving.worker.output())
        serving.put(b"x" * 300_000_000)
        assert serves(serving)
        told = [line for line in serving.log_since(position) if DROPPED in line]
        assert len(told) == 1
        assert "queue default: too large" in told[0]
        assert peak(serving.pid) - before < 100 * MEGABYTE


def peak(pid: int) -> int:
    """The most memory that the process has had, in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) * 1024


class TestFloods:
    def test_a_flood_of_garbage_is_few_lines(self, serving: Serving) -> None:
        position = len(serving.worker.output())
        with serving.broker.pipeline() as pipe:
            for _ in range(3000):
                pipe.lpush(hostile.QUEUE, b"garbage")
            pipe.execute()
        assert serves(serving)
        told = [line for line in serving.log_since(position) if DROPPED in line]
        assert 0 < len(told) <= MOST_LINES + 120

    def test_a_flood_of_commands_does_not_keep_the_worker_from_its_queues(self, serving: Serving) -> None:
        """kombu's loop reads the control channel for as long as it holds anything."""
        position = len(serving.worker.output())
        with flooding(
            lambda pipe: pipe.publish(f"/{serving.number}.celery.pidbox", hostile.command("no_such")), serving
        ):
            wait_for(lambda: DROPPED in serving.worker.output()[position:], SECONDS, "the flood to arrive")
            for _ in range(5):
                assert serves(serving)
        with control(serving.running) as client:
            wait_for(lambda: answers(client), SECONDS, "commands to be answered again")


@contextmanager
def flooding(send: Callable[[Any], object], serving: Serving) -> Iterator[None]:
    """As much of it as one connection can send."""
    over = threading.Event()

    def run() -> None:
        with redis.Redis.from_url(serving.running.stack.broker_url) as client:
            while not over.is_set():
                with client.pipeline(transaction=False) as pipe:
                    for _ in range(500):
                        send(pipe)
                    pipe.execute()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(SECONDS)


KEYS = (
    *(f"{queue}{step}" for queue in QUEUES for step in ("", "\x06\x163", "\x06\x166", "\x06\x169")),
    *(f"_kombu.binding{kind}.{queue}" for queue in QUEUES for kind in ("", "_permanent")),
    "_kombu.binding_deadlines", "_kombu.binding.celery.pidbox", "_kombu.binding.reply.celery.pidbox",
    "unacked", "unacked_index", "unacked_mutex", "task_service:live",
)  # fmt: skip


def occupy(broker: redis.Redis, key: str) -> None:
    """Put something else there, whatever stood there before."""
    broker.delete(key)
    if key.startswith("task_service:"):
        broker.hset(key, "no", "text")
    else:
        broker.set(key, "no list")


class TestKeysOfAnotherType:
    @pytest.mark.parametrize("key", KEYS)
    def test_stop_nothing(self, serving: Serving, key: str) -> None:
        """Records in each queue, plain messages, remote control: all within the time that they may take anyway."""
        running, position = serving.running, len(serving.worker.output())
        key = f"{key}:{serving.number}" if key == "task_service:live" else key
        occupy(serving.broker, key)
        for priority in ("high", "normal", "low"):
            task_id = running.create("note_down", str(serving.ledger), priority, priority=priority)
            running.until(task_id, "succeeded")
        assert set(serving.still_serves()) == {"high", "normal", "low"}
        with control(running) as client:
            assert answers(client)
        assert "Traceback" not in serving.worker.output()[position:]

    def test_is_told_in_one_line_and_kept_aside(self, serving: Serving) -> None:
        position = len(serving.worker.output())
        occupy(serving.broker, "default\x06\x166")
        assert serves(serving)

        def told() -> list[str]:
            return [line for line in serving.log_since(position) if f"{PUT_ASIDE}'default" in line]

        wait_for(told, SECONDS, "the worker to meet it")
        assert serves(serving)
        assert len(told()) == 1
        assert "'default\\x06\\x166' was a string, not a list" in told()[0]
        assert serving.broker.get(f"{ASIDE}default\x06\x166") == b"no list"

    def test_nothing_accepted_is_lost(self, serving: Serving) -> None:
        """Plain messages, of which only the broker knows, while the keys for unacknowledged ones change their type."""
        for number in range(200):
            serving.put(serving.good(str(number)))
            if number % 10 == 0:
                occupy(serving.broker, ("unacked", "unacked_index")[number % 20 // 10])
        wait_for(lambda: len(lines(serving.ledger)) >= 200, SECONDS, "all to run")
        assert sorted(map(int, lines(serving.ledger))) == [*range(200)]

    def test_a_worker_starts_among_them(self, serving: Serving) -> None:
        for key in KEYS:
            if not key.startswith(QUEUES):
                occupy(serving.broker, key)
        second = serving.running.stack.worker(concurrency=1, queues="low_priority")
        assert second.stop(20) == 0
        assert "Traceback" not in second.output()
        assert serves(serving)

    def test_the_publisher_of_the_api_puts_them_aside_by_itself(self, services: Services, tmp_path: Path) -> None:
        with example_stack(services, tmp_path) as running, redis.Redis.from_url(running.stack.broker_url) as broker:
            assert running.http.get("/api/v1/tasks/").status_code == 200
            for queue in QUEUES:
                occupy(broker, f"_kombu.binding.{queue}")
                occupy(broker, f"{queue}\x06\x166" if queue == "default" else queue)
            for priority in ("critical", "normal"):
                running.create("echo", priority=priority)
            wait_for(
                lambda: messages(broker, "default") == messages(broker, "high_priority") == 1, SECONDS, "both messages"
            )

    def test_a_key_that_is_not_the_services_stays(self, serving: Serving) -> None:
        """An answer goes where its question says, as far as that is a mailbox."""
        serving.broker.delete("_kombu.binding.reply.celery.pidbox")
        serving.broker.hset("customers", "1", "of another application")
        member = "x\x06\x16\x06\x16customers"
        serving.broker.sadd("_kombu.binding.reply.celery.pidbox", member)
        reply_to = {"exchange": "reply.celery.pidbox", "routing_key": "x"}
        serving.tell(hostile.command("ping", reply_to=reply_to, ticket="x"))
        assert serves(serving)
        assert serving.broker.hgetall("customers") == {b"1": b"of another application"}
