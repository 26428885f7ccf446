"""A user causes so many records of the audit and no more; what exceeds that is refused, and said once."""

from collections.abc import Callable

import pytest

from app.errors import TooManyDeeds
from app.services import audit
from app.services.audit import (
    ANONYMOUS,
    ANONYMOUS_PER_MINUTE,
    DAY_SECONDS,
    MAX_CALLERS,
    MINUTE_SECONDS,
    NEVER_REFUSED,
    DeedLimits,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


MANY = 10**9
# `bound(minute=3)`: so many deeds in a minute.
Bound = Callable[..., None]


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Bound:
    def set_them(minute: int = 3, day: int = MANY) -> None:
        monkeypatch.setattr(audit, "DEEDS_PER_MINUTE", minute)
        monkeypatch.setattr(audit, "DEEDS_PER_DAY", day)

    set_them()
    return set_them


def refusal(limits: DeedLimits, caller: str) -> TooManyDeeds:
    with pytest.raises(TooManyDeeds) as refused:
        limits.admit(caller)
    return refused.value


@pytest.mark.usefixtures("bound")
class TestDeedLimits:
    def test_so_many_a_minute_and_the_first_refusal_is_marked(self) -> None:
        clock = Clock()
        limits = DeedLimits(clock)
        for _ in range(3):
            limits.admit("anna")
        clock.now += 20
        refused = [refusal(limits, "anna") for _ in range(3)]
        assert [each.first for each in refused] == [True, False, False]
        assert {(each.limit, each.retry_after) for each in refused} == {(3, MINUTE_SECONDS - 20)}
        limits.admit("bob")
        clock.now += MINUTE_SECONDS - 20
        limits.admit("anna")

    def test_so_many_a_day(self, bound: Bound) -> None:
        bound(minute=2, day=5)
        clock = Clock()
        limits = DeedLimits(clock)
        for _ in range(5):
            limits.admit("anna")
            clock.now += MINUTE_SECONDS
        refused = refusal(limits, "anna")
        assert refused.retry_after == DAY_SECONDS - 5 * MINUTE_SECONDS
        clock.now += DAY_SECONDS
        limits.admit("anna")

    def test_what_is_refused_does_not_count(self, bound: Bound) -> None:
        bound(minute=1)
        limits = DeedLimits(Clock())
        limits.admit("anna")
        refusal(limits, "anna")
        bound(minute=2)
        limits.admit("anna")

    def test_without_an_account_each_address_block_has_a_count(self, bound: Bound) -> None:
        bound(minute=10**6)
        limits = DeedLimits(Clock())
        for _ in range(ANONYMOUS_PER_MINUTE):
            limits.admit(f"{ANONYMOUS}192.0.2.1")
        assert refusal(limits, f"{ANONYMOUS}192.0.2.1").limit == ANONYMOUS_PER_MINUTE
        limits.admit(f"{ANONYMOUS}192.0.2.2")

    def test_remembers_no_more_callers_than_so_many(self, bound: Bound) -> None:
        bound(minute=1)
        limits = DeedLimits(Clock())
        for number in range(MAX_CALLERS + 10):
            limits.admit(f"user {number}")
        limits.admit("user 0")  # forgotten
        refusal(limits, f"user {MAX_CALLERS}")

    def test_strangers_have_no_user_forgotten(self, bound: Bound) -> None:
        """Of blocks of addresses anybody may have many."""
        bound(minute=1)
        limits = DeedLimits(Clock())
        limits.admit("a user")
        for number in range(MAX_CALLERS + 10):
            limits.admit(f"{ANONYMOUS}2001:db8:0:{number:x}::/64")
        refusal(limits, "a user")


def test_only_these_are_never_refused() -> None:
    """A new event is limited by itself. One that is not needs a reason beside its name in `app/services/audit.py`."""
    assert sorted(NEVER_REFUSED) == [
        *("access.denied", "api_key.revoked", "api_key.used", "audit.pruned", "deeds.throttled"),
        *("login.failed", "login.throttled", "logout", "session.ended", "token.replayed"),
    ]
