"""Telling of a change: nothing unheard, never an error of Redis, and never one of the body's swallowed."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from app.core.ids import new_id
from app.errors import TaskCancelled
from app.messaging import hints
from tests.support.waiting import wait_for


class Channel:
    """Stands for Redis: notes what was published, and fails as it is told."""

    exists = True

    def __init__(self) -> None:
        self.published: list[list[UUID]] = []
        self.tries = self.closed = 0
        self.failure: BaseException | None = None
        self.listened = False
        self.looked = threading.Event()

    def publish(self, task_ids: Iterable[UUID]) -> None:
        self.tries += 1
        if self.failure is not None:
            raise self.failure
        self.published.append(list(task_ids))

    def has_listeners(self) -> bool:
        self.looked.set()
        if self.failure is not None:
            raise self.failure
        return self.listened

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Channel:
    found = Channel()
    monkeypatch.setattr(hints, "Channel", lambda seconds: found)
    monkeypatch.setattr(hints, "_sender", hints.Sender())
    monkeypatch.setattr(hints, "attendant", hints.Attendant())
    return found


@pytest.fixture
def listened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "_listened", memoryview(bytearray(b"\1")))


def test_unheard_nothing_is_sent(channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hints, "_listened", memoryview(bytearray(1)))
    hints.changed(new_id())
    assert channel.tries == 0


@pytest.mark.usefixtures("listened")
class TestSending:
    def test_tells_of_what_has_changed(self, channel: Channel) -> None:
        ids = [new_id(), new_id()]
        hints.changed(*ids)
        assert channel.published == [ids]

    @pytest.mark.parametrize("failure", [RedisConnectionError("x"), RedisTimeoutError("x"), OSError("x")], ids=repr)
    def test_a_failure_is_one_line_and_a_pause(
        self, channel: Channel, caplog: pytest.LogCaptureFixture, failure: Exception
    ) -> None:
        channel.failure = failure
        for _ in range(10):
            hints.changed(new_id())
        assert (channel.tries, channel.closed, len(caplog.records)) == (1, 1, 1)

    def test_it_is_tried_again_after_the_pause(self, channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
        channel.failure = RedisConnectionError("x")
        hints.changed(new_id())
        channel.failure = None
        now = hints.time.monotonic()
        monkeypatch.setattr(hints.time, "monotonic", lambda: now + hints.PAUSE_SECONDS + 1)
        hints.changed(new_id())
        assert len(channel.published) == 1

    @pytest.mark.parametrize("failure", [SoftTimeLimitExceeded(), TaskCancelled(), SystemExit(1)], ids=repr)
    def test_what_a_signal_raises_here_reaches_the_body(self, channel: Channel, failure: BaseException) -> None:
        """Celery's soft time limit is an Exception: swallowed here, it would be lost."""
        channel.failure = failure
        with pytest.raises(type(failure)):
            hints.changed(new_id())
        assert channel.closed == 1, "an answer that is still on the way must not be the next one's"


class TestTheAttendant:
    @pytest.fixture
    def attendant(self, channel: Channel, listened: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
        del channel, listened
        monkeypatch.setattr(hints, "LOOK_SECONDS", 0.02)
        attendant = hints.attendant
        attendant.start()
        yield attendant
        attendant.stop()

    def test_notes_whether_somebody_listens(self, channel: Channel, attendant: Any) -> None:
        del attendant
        for listens in (True, False, True):
            channel.listened = listens
            self._look_twice(channel)
            assert hints._listened[0] == listens

    def test_an_unknown_answer_counts_as_nobody_and_is_told_once(
        self, channel: Channel, attendant: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        del attendant
        channel.failure = RedisConnectionError("x")
        self._look_twice(channel)
        self._look_twice(channel)
        assert hints._listened[0] == 0
        assert len(caplog.records) == 1

    def test_sends_what_its_process_tells_each_task_once(self, channel: Channel, attendant: Any) -> None:
        channel.listened = True
        self._look_twice(channel)
        ids = [new_id(), new_id()]
        hints.changed(*ids, ids[0])
        wait_for(lambda: sum(map(len, channel.published)) >= 2, 10, "both to be sent")
        attendant.stop()
        assert [task_id for message in channel.published for task_id in message] == ids

    @staticmethod
    def _look_twice(channel: Channel) -> None:
        """The second look has begun after what was set before the call, and the first one is over."""
        for _ in range(3):
            channel.looked.clear()
            assert channel.looked.wait(10)
