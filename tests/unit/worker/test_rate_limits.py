"""The tokens that the processes of one worker share: across a real fork, and with a clock of the test's own."""

import os
import time
from collections.abc import Iterator

import pytest

from app.worker.shared.rate_limits import NOTHING, RateLimits


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


@pytest.fixture
def limits() -> Iterator[RateLimits]:
    made = RateLimits({"a": 10.0, "b": 0.5})
    yield made
    made.close()


def test_a_name_has_one_token_in_each_period(clock: Clock, limits: RateLimits) -> None:
    first = limits.take()
    assert (set(first.tokens), first.missing) == ({"a", "b"}, frozenset())
    second = limits.take()
    assert (second.tokens, second.missing, second.next_at) == ({}, {"a", "b"}, 1000.5)
    clock.now = 1000.5
    assert set(limits.take().tokens) == {"b"}
    clock.now = 1100.0  # what was not used in ten periods is one token
    assert set(limits.take().tokens) == {"a", "b"}
    assert limits.take().next_at == 1100.5


def test_what_a_claim_did_not_need_is_there_again(clock: Clock, limits: RateLimits) -> None:
    limits.give_back(limits.take(), used="a")
    clock.now += 1
    again = limits.take()
    assert (set(again.tokens), again.missing, again.next_at) == ({"b"}, {"a"}, 1010.0)
    limits.give_back(again, used=None)
    assert set(limits.take().tokens) == {"b"}


def test_what_comes_back_after_the_next_one_was_taken_lets_no_start_through(clock: Clock, limits: RateLimits) -> None:
    late = limits.take()
    clock.now += 0.5
    assert set(limits.take().tokens) == {"b"}
    limits.give_back(late, used=None)
    clock.now += 0.4
    again = limits.take()
    assert (set(again.tokens), again.missing, again.next_at) == ({"a"}, {"b"}, 1001.0)


def test_without_limits_there_is_nothing_to_take() -> None:
    limits = RateLimits({})
    limits.close()
    assert limits.take() is NOTHING
    limits.give_back(NOTHING, used=None)


def test_many_processes_get_one_token_together(limits: RateLimits) -> None:
    pids = []
    for _ in range(8):
        pid = os.fork()
        if pid == 0:
            os._exit("a" in limits.take().tokens)
        pids.append(pid)
    assert sum(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids) == 1
