"""Refused logins that a process remembers."""

import pytest

from app.api.http import password_limits
from app.api.http.password_limits import Refusals
from app.errors import TooManyRequests


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def refused(known: Refusals, block: str, name: str) -> int | None:
    try:
        known.check(block, name)
    except TooManyRequests as refusal:
        return refusal.retry_after if refusal.detail == "wait" else -1
    return None


def test_a_refusal_holds_for_its_wait_its_name_and_its_address_block() -> None:
    clock = Clock()
    known = Refusals(clock)
    assert refused(known, "192.0.2.1", "anna") is None
    known.note("192.0.2.1", "anna", TooManyRequests("wait", retry_after=8))
    assert refused(known, "192.0.2.1", "anna") == 8
    assert refused(known, "192.0.2.1", "bob") is None
    assert refused(known, "192.0.2.2", "anna") is None
    clock.now += 6.5
    assert refused(known, "192.0.2.1", "anna") == 2
    clock.now += 1.5
    assert refused(known, "192.0.2.1", "anna") is None


def test_a_long_wait_is_asked_for_again_after_a_while() -> None:
    """A reset of the password ends it, in whatever process."""
    clock = Clock()
    known = Refusals(clock)
    known.note("192.0.2.1", "anna", TooManyRequests("wait", retry_after=600))
    clock.now += password_limits.LONGEST_REFUSAL_SECONDS - 1
    assert refused(known, "192.0.2.1", "anna") == 600 - password_limits.LONGEST_REFUSAL_SECONDS + 1
    clock.now += 1
    assert refused(known, "192.0.2.1", "anna") is None


def test_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_limits, "MAX_REFUSALS", 2)
    known = Refusals(Clock())
    for name in ("a", "b", "a", "c", "\ud800"):
        known.note("192.0.2.1", name, TooManyRequests("wait", retry_after=8))
    assert [refused(known, "192.0.2.1", name) for name in ("a", "b", "c", "\ud800")] == [None, None, 8, 8]
