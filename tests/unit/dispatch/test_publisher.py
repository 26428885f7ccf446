"""The publisher's thread: sent at once, marked together, and not idle before both are done."""

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from app.messaging import publisher as module
from app.messaging.publisher import Publisher

SECONDS = 10


class Broker:
    """Stands for the broker and the database."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sent: list[Any] = []
        self.marked: list[list[Any]] = []
        self.has_sent = threading.Semaphore(0)
        self.away = False
        monkeypatch.setattr(module, "send", self._send)
        monkeypatch.setattr(module, "mark_dispatched", lambda _, batch: self.marked.append(list(batch)))
        monkeypatch.setattr(module, "autocommit_engine", lambda: SimpleNamespace(connect=nullcontext))

    def _send(self, _: Any, batch: Sequence[Any]) -> None:
        if self.away:
            raise OSError("away")
        self.sent += batch
        self.has_sent.release()

    def send_each(self, publisher: Publisher, *dispatches: Any) -> None:
        """Each as a batch."""
        for dispatch in dispatches:
            publisher.enqueue([dispatch])
            assert self.has_sent.acquire(timeout=SECONDS)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    return Broker(monkeypatch)


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(module.BrokerLink, "producer", lambda _: None)
    monkeypatch.setattr(module, "MARK_SECONDS", 3600.0)
    return Publisher()


def test_what_is_sent_within_a_while_is_marked_together(broker: Broker, publisher: Publisher) -> None:
    broker.send_each(publisher, 1, 2, 3)
    assert (broker.sent, broker.marked) == ([1, 2, 3], [])
    assert not publisher.flush(0)
    publisher._mark_at = 0.0  # the while is over
    broker.send_each(publisher, 4)
    assert publisher.flush(SECONDS)
    assert broker.marked == [[1, 2, 3, 4]]


def test_a_full_batch_is_marked_before(broker: Broker, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    broker.send_each(publisher, 1, 2)
    assert publisher.flush(SECONDS)
    assert broker.marked == [[1, 2]]


def test_a_steady_stream_does_not_put_the_mark_off(
    broker: Broker, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MARK_SECONDS", 0.0)
    broker.send_each(publisher, 1, 2, 3)
    assert publisher.flush(SECONDS)
    assert broker.marked == [[1], [2], [3]]


def test_what_cannot_be_sent_is_not_marked(broker: Broker, publisher: Publisher) -> None:
    broker.away = True
    publisher.enqueue([1])  # type: ignore[list-item]
    assert publisher.flush(SECONDS)
    assert broker.marked == []
