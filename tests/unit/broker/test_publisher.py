"""The publisher's thread: wakes slots for what was queued together, tries a lost connection again, and leaves a broker
that is down to maintenance."""

import logging
import sys
import threading
from typing import Any

import pytest

from app.db import background
from app.db.background import Background
from app.messaging import wakeups as module
from app.messaging.broker import BrokerLink
from app.messaging.wakeups import Woken, make_publisher
from tests.support.ahead import Ahead

SECONDS = 10
ROOM = 4
WARNING = "broker not reachable, waking slots is left to maintenance"


class Broker:
    """Stands for the broker: what was sent, and how many of the next tries fail."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.tries = 0
        self.failures = 0
        self.closed = 0
        self.asked = 0  # how often for the length of a queue
        # Holds the publisher's thread while it is cleared.
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.is_asked = threading.Event()

    def producer(self) -> Any:
        self.tries += 1
        self.is_asked.set()
        assert self.goes_on.wait(SECONDS)
        if self.failures:
            self.failures -= 1
            raise OSError("away")
        return self

    def close(self) -> None:
        self.closed += 1

    def wake(self, to: Any, queue: str, number: int) -> Woken:
        self.asked += 1
        self.send(to, queue, number)
        return Woken(number, ROOM - number)

    def send(self, to: Any, queue: str, number: int) -> None:
        assert to is self
        self.sent.append((queue, number))


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker()
    monkeypatch.setattr(BrokerLink, "producer", made.producer)
    monkeypatch.setattr(BrokerLink, "close", made.close)
    monkeypatch.setattr(module, "wake", made.wake)
    monkeypatch.setattr(module, "send", made.send)
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    moved = Ahead()
    monkeypatch.setattr(module, "time", moved)
    return moved


@pytest.fixture
def publisher() -> Background[str]:
    return make_publisher()


def sent(publisher: Background[str], *queues: str) -> None:
    publisher.enqueue(queues)
    assert publisher.flush(SECONDS)


class TestSending:
    def test_wakes_as_many_slots_of_each_queue_as_rows_came(self, broker: Broker, publisher: Background[str]) -> None:
        sent(publisher, "default", "low_priority", "default")
        assert sorted(broker.sent) == [("default", 2), ("low_priority", 1)]

    def test_takes_what_came_meanwhile_together(self, broker: Broker, publisher: Background[str]) -> None:
        broker.goes_on.clear()
        publisher.enqueue(["first"])
        assert broker.is_asked.wait(SECONDS)
        assert not publisher.flush(0)  # it is being sent
        for _ in range(3):
            publisher.enqueue(["default"])
        assert not publisher.flush(0)
        broker.goes_on.set()
        assert publisher.flush(SECONDS)
        assert broker.sent == [("first", 1), ("default", 3)]

    def test_ends_its_thread_when_nothing_comes_and_starts_another_one(
        self, broker: Broker, publisher: Background[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(background, "IDLE_SECONDS", 0.01)
        before = set(threading.enumerate())
        for number in (1, 2):
            sent(publisher, "default")
            for thread in set(threading.enumerate()) - before:
                thread.join(SECONDS)
                assert not thread.is_alive()
            assert (len(broker.sent), broker.closed) == (number, number)

    def test_goes_on_after_any_error_and_logs_it(
        self,
        broker: Broker,
        publisher: Background[str],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        before = set(threading.enumerate())
        with monkeypatch.context() as patched:
            patched.setattr(BrokerLink, "producer", lambda _: sys.exit())
            sent(publisher, "lost")
        (thread,) = set(threading.enumerate()) - before
        sent(publisher, "default")
        assert set(threading.enumerate()) - before == {thread}
        assert (broker.sent, broker.closed) == ([("default", 1)], 1)
        assert caplog.messages == ["waking slots is left to maintenance"]


class TestTheLengthOfAQueue:
    def test_is_asked_for_when_as_many_were_sent_as_had_room(self, broker: Broker, publisher: Background[str]) -> None:
        for number in range(2 * ROOM):
            sent(publisher, "default")
            assert broker.asked == 1 + number // ROOM
        sent(publisher, "low_priority")  # each queue by itself
        assert broker.asked == 3

    def test_is_asked_for_when_the_answer_is_old(
        self, broker: Broker, publisher: Background[str], clock: Ahead
    ) -> None:
        sent(publisher, "default")
        clock.passes(module.TRUSTED_SECONDS)
        sent(publisher, "default")
        assert broker.asked == 2


class TestFailures:
    def test_a_lost_connection_is_opened_anew_without_a_word(
        self, broker: Broker, publisher: Background[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        broker.failures = 1
        sent(publisher, "default")
        assert (broker.sent, broker.tries, broker.closed) == ([("default", 1)], 2, 1)
        assert WARNING not in caplog.text

    def test_a_broker_that_is_down_costs_one_warning_and_is_left_alone_for_a_while(
        self, broker: Broker, publisher: Background[str], clock: Ahead, caplog: pytest.LogCaptureFixture
    ) -> None:
        broker.failures = 2
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                sent(publisher, "default")
        assert (broker.sent, broker.tries) == ([], 2)
        assert [record.getMessage() for record in caplog.records] == [f"{WARNING}: away"]
        clock.passes(module.BROKER_PAUSE_SECONDS)
        sent(publisher, "default")
        assert broker.sent == [("default", 1)]


def test_nothing_to_publish_makes_no_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_publisher", lambda: pytest.fail("not needed"))
    module.publish([])
