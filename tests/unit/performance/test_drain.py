"""Draining is timed over what was really waiting, and over nothing that was sent twice."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.performance.drain import Drained, drain


class Broker:
    """A queue that is shorter at each look."""

    def __init__(self, *waiting: int) -> None:
        self._waiting = iter(waiting)

    def scan_iter(self, pattern: str) -> Iterator[str]:
        yield "default"

    def type(self, key: str) -> bytes:
        return b"list"

    def llen(self, key: str) -> int:
        return next(self._waiting)


def drained(*waiting: int, running: bool = True, **more: Any) -> Drained:
    meter = SimpleNamespace(read=lambda: {"worker": 3.0, "parent": 1.0, "broker": 0.5})
    worker = SimpleNamespace(pid=1, running=running, name="worker", tail=lambda: "its last words")
    return drain(SimpleNamespace(meter=lambda **_: meter), Broker(*waiting), "default", 100, worker, **more)


def test_counts_from_when_a_tenth_is_gone_until_all_has_ended() -> None:
    ended = iter([False, True])
    looks: list[int] = []
    found = drained(100, 95, 90, 88, 40, 0, 0, ended=lambda: next(ended), look=lambda: looks.append(1))
    assert found.tasks == 88
    assert [waiting for _, waiting in found.moments] == [88, 40, 0, 0]
    assert found.microseconds() == {"parent": 1e6 / 88, "children": 2e6 / 88, "broker": 5e5 / 88}
    assert len(looks) == 2


def test_refuses_messages_that_were_sent_twice() -> None:
    with pytest.raises(AssertionError, match="200 messages wait for 100 tasks"):
        drained(200)


def test_a_worker_that_has_ended_drains_nothing() -> None:
    with pytest.raises(AssertionError, match="its last words"):
        drained(100, 100, running=False)
