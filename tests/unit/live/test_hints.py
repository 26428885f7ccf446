"""Hints of changes: none while no process listens; errors of Redis are swallowed, those of the body are not."""

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator
from uuid import UUID

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from redis.exceptions import ConnectionError as RedisConnectionError, TimeoutError as RedisTimeoutError

from app.core.ids import new_id
from app.errors import TaskCancelled
from app.messaging import hints
from app.messaging.application import celery_app
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
    return found


@pytest.fixture
def sender(channel: Channel) -> Iterator[hints.HintSender]:
    """This process's, in memory that says that a process listens."""
    del channel
    before = hints.hint_sender.made
    sender = hints.HintSender(memoryview(bytearray(b"\1")))
    hints.hint_sender.replace(sender)
    yield sender
    sender.stop()
    hints.hint_sender.replace(before)


def test_unheard_nothing_is_sent(channel: Channel, sender: hints.HintSender) -> None:
    hints.hint_sender.replace(hints.HintSender())
    assert not hints.hint_sender().has_listeners
    hints.changed(new_id())
    assert channel.tries == 0


@pytest.mark.usefixtures("sender")
class TestSending:
    def test_tells_of_what_has_changed(self, channel: Channel) -> None:
        ids = [new_id(), new_id()]
        hints.changed(*ids)
        assert channel.published == [ids]

    @pytest.mark.parametrize("failure", [RedisConnectionError("x"), RedisTimeoutError("x"), OSError("x")], ids=repr)
    def test_a_failure_is_one_line_and_a_pause(
        self, channel: Channel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, failure: Exception
    ) -> None:
        channel.failure = failure
        for _ in range(10):
            hints.changed(new_id())
        assert (channel.tries, channel.closed, len(caplog.records)) == (1, 1, 1)
        channel.failure = None
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + hints.PAUSE_SECONDS + 1)
        hints.changed(new_id())
        assert len(channel.published) == 1

    @pytest.mark.parametrize("failure", [SoftTimeLimitExceeded(), TaskCancelled(), SystemExit(1)], ids=repr)
    def test_what_a_signal_raises_here_reaches_the_body(self, channel: Channel, failure: BaseException) -> None:
        """Celery's soft time limit is an Exception: swallowed here, it would be lost."""
        channel.failure = failure
        with pytest.raises(type(failure)):
            hints.changed(new_id())
        assert channel.closed == 1, "an answer that is still on the way must not be the next one's"


class TestTheThread:
    @pytest.fixture(autouse=True)
    def _started(self, sender: hints.HintSender, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hints, "LOOK_SECONDS", 0.02)
        sender.start()

    def test_notes_whether_a_process_listens(self, channel: Channel, sender: hints.HintSender) -> None:
        for listens in (True, False, True):
            channel.listened = listens
            self._look_twice(channel)
            assert sender.has_listeners == listens

    def test_no_answer_counts_as_none_listening_and_is_logged_once(
        self, channel: Channel, sender: hints.HintSender, caplog: pytest.LogCaptureFixture
    ) -> None:
        channel.failure = RedisConnectionError("x")
        self._look_twice(channel)
        self._look_twice(channel)
        assert not sender.has_listeners
        assert len(caplog.records) == 1

    def test_sends_what_its_process_reports_each_task_once(self, channel: Channel, sender: hints.HintSender) -> None:
        channel.listened = True
        self._look_twice(channel)
        ids = [new_id(), new_id()]
        hints.changed(*ids, ids[0])
        wait_for(lambda: sum(map(len, channel.published)) >= 2, 10, "both to be sent")
        sender.stop()
        assert [task_id for message in channel.published for task_id in message] == ids

    def test_goes_on_after_any_error_and_logs_it(
        self, channel: Channel, sender: hints.HintSender, caplog: pytest.LogCaptureFixture
    ) -> None:
        channel.failure = SystemExit(1)
        wait_for(lambda: "live events: an unexpected error" in caplog.text, 10, "the error")
        channel.failure, channel.listened = None, True
        self._look_twice(channel)
        hints.changed(new_id())
        wait_for(lambda: len(channel.published) == 1, 10, "the hint")

    @staticmethod
    def _look_twice(channel: Channel) -> None:
        """The second look has begun after what was set before the call, and the first one is over."""
        for _ in range(3):
            channel.looked.clear()
            assert channel.looked.wait(10)


@pytest.mark.parametrize(
    ("url", "why"), [(None, "no broker is set"), ("amqp://nowhere", "the broker is no Redis")], ids=["none", "other"]
)
def test_without_redis_a_line_says_why(
    channel: Channel,
    sender: hints.HintSender,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    url: str | None,
    why: str,
) -> None:
    channel.exists = False
    monkeypatch.setattr(celery_app.conf, "broker_url", url)
    with caplog.at_level(logging.INFO):
        sender.start()
        sender.stop()
    assert caplog.messages == [f"{why}: live events come from comparing versions"]


def test_a_forked_child_reads_its_parents_memory_and_has_a_sender_of_its_own(sender: hints.HintSender) -> None:
    pid = os.fork()
    if pid == 0:
        childs = hints.hint_sender()
        os._exit(0 if childs is not sender and childs.has_listeners else 1)
    assert os.waitpid(pid, 0)[1] == 0
