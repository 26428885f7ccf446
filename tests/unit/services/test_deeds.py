"""A user causes so many records of the audit and no more; what exceeds that is refused, and said once."""

import pytest

from app.core.config import Settings
from app.errors import TooManyDeeds
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


def settings(minute: int = 3, day: int = 0) -> Settings:
    """It reads the environment: made once where many deeds are counted."""
    return Settings(audited_deeds_per_minute=minute, audited_deeds_per_day=day)


def refusal(limits: DeedLimits, caller: str, bounds: Settings) -> TooManyDeeds:
    with pytest.raises(TooManyDeeds) as refused:
        limits.admit(caller, bounds)
    return refused.value


class TestDeedLimits:
    def test_so_many_a_minute_and_the_first_refusal_is_marked(self) -> None:
        clock = Clock()
        limits = DeedLimits(clock)
        for _ in range(3):
            limits.admit("anna", settings())
        clock.now += 20
        refused = [refusal(limits, "anna", settings()) for _ in range(3)]
        assert [each.first for each in refused] == [True, False, False]
        assert {(each.limit, each.retry_after) for each in refused} == {(3, MINUTE_SECONDS - 20)}
        limits.admit("bob", settings())
        clock.now += MINUTE_SECONDS - 20
        limits.admit("anna", settings())

    def test_so_many_a_day(self) -> None:
        clock = Clock()
        limits = DeedLimits(clock)
        for _ in range(5):
            limits.admit("anna", settings(minute=2, day=5))
            clock.now += MINUTE_SECONDS
        refused = refusal(limits, "anna", settings(minute=2, day=5))
        assert refused.retry_after == DAY_SECONDS - 5 * MINUTE_SECONDS
        clock.now += DAY_SECONDS
        limits.admit("anna", settings(minute=2, day=5))

    def test_what_is_refused_does_not_count(self) -> None:
        limits = DeedLimits(Clock())
        limits.admit("anna", settings(minute=1))
        refusal(limits, "anna", settings(minute=1))
        limits.admit("anna", settings(minute=2))

    def test_zero_is_no_limit(self) -> None:
        limits, bounds = DeedLimits(Clock()), settings(0)
        for _ in range(1000):
            limits.admit("anna", bounds)

    def test_without_an_account_each_address_block_has_a_count(self) -> None:
        for bounds in (settings(0), settings(10**6)):
            limits = DeedLimits(Clock())
            for _ in range(ANONYMOUS_PER_MINUTE):
                limits.admit(f"{ANONYMOUS}192.0.2.1", bounds)
            assert refusal(limits, f"{ANONYMOUS}192.0.2.1", bounds).limit == ANONYMOUS_PER_MINUTE
            limits.admit(f"{ANONYMOUS}192.0.2.2", bounds)

    def test_remembers_no_more_callers_than_so_many(self) -> None:
        limits = DeedLimits(Clock())
        bounds = settings(1)
        for number in range(MAX_CALLERS + 10):
            limits.admit(f"user {number}", bounds)
        limits.admit("user 0", bounds)  # forgotten
        refusal(limits, f"user {MAX_CALLERS}", bounds)

    def test_strangers_have_no_user_forgotten(self) -> None:
        """Of blocks of addresses anybody may have many."""
        limits, bounds = DeedLimits(Clock()), settings(1)
        limits.admit("a user", bounds)
        for number in range(MAX_CALLERS + 10):
            limits.admit(f"{ANONYMOUS}2001:db8:0:{number:x}::/64", bounds)
        refusal(limits, "a user", bounds)


def test_only_these_are_never_refused() -> None:
    """A new event is limited by itself. One that is not needs a reason beside its name in `app/services/audit.py`."""
    assert sorted(NEVER_REFUSED) == [
        *("access.denied", "api_key.revoked", "api_key.used", "audit.pruned", "deeds.throttled"),
        *("login.failed", "login.throttled", "logout", "session.ended", "token.replayed"),
    ]
