"""Timings: intervals, the bounds of a schedule, what is refused, jitter. Cron lines in zones: test_cron_times.py."""

import math
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest

from app.core.languages import in_language
from app.schedules.times import MAX_EVERY_SECONDS, Span, Timing, jitter, problems
from app.schedules.zones import InvalidTiming, zone_info
from tests.support.properties import given, st

START = datetime(2026, 1, 1, 12, 0, 5, 250_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
DAILY = Timing(
    "0 9 * * *", None, "Europe/Berlin", datetime(2026, 6, 1, 7, tzinfo=UTC), datetime(2026, 6, 4, 7, tzinfo=UTC)
)
NINES = [datetime(2026, 6, day, 7, tzinfo=UTC) for day in (1, 2, 3, 4)]
LONG_AGO, FAR = datetime(1970, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)


def check(timing: Timing, *, starts_now: bool = False) -> None:
    """Raise the first of its problems."""
    for problem in problems(timing, starts_now=starts_now):
        raise problem


def every(seconds: float, **changes: Any) -> Timing:
    return replace(Timing(None, seconds, "UTC", START, None), **changes)


class TestAnInterval:
    def test_starts_at_the_start(self) -> None:
        assert every(90).after(LONG_AGO, 2) == [START, START + 90 * SECOND]
        assert every(90).after(START) == [START + 90 * SECOND]
        assert every(90).after(START + 89.5 * SECOND) == [START + 90 * SECOND]

    def test_ends_at_the_end(self) -> None:
        its = every(90, end_at=START + 180 * SECOND)
        assert its.between(LONG_AGO, FAR, 10) == [START, START + 90 * SECOND, START + 180 * SECOND]
        assert its.after(START + 180 * SECOND) == []
        assert its.span(LONG_AGO, FAR, 10) == Span(START, START + 180 * SECOND, 3)

    def test_is_elapsed_time_whatever_the_zone(self) -> None:
        """The clock of Berlin is put forward in between, and a `start_at` in that zone counts as the instant it is."""
        start = datetime(2026, 3, 28, 12, tzinfo=zone_info("Europe/Berlin"))
        its = every(86_400, timezone="Europe/Berlin", start_at=start)
        assert its.after(start, 1) == [datetime(2026, 3, 29, 11, tzinfo=UTC)]
        assert its.between(start, start + timedelta(days=1), 5) == []

    def test_of_a_second_is_counted_over_years_at_once(self) -> None:
        its, until = every(1), START + timedelta(days=3650)
        began = time.process_time()
        assert its.span(LONG_AGO, until, 1000) == Span(START, until, 3650 * 86_400 + 1)
        assert its.latest(LONG_AGO, until + 0.5 * SECOND) == until
        assert its.after(until - SECOND) == [until]
        assert time.process_time() - began < 1

    @given(
        seconds=st.floats(1, 5000), start=st.datetimes(START.replace(tzinfo=None), FAR.replace(tzinfo=None)),
        after=st.integers(-5000, 50_000), span=st.integers(-10, 20_000),
    )  # fmt: skip
    def test_is_what_adding_up_gives(self, seconds: float, start: datetime, after: int, span: int) -> None:
        its = every(seconds, start_at=start.replace(tzinfo=UTC))
        first = its.start_at + after * SECOND
        until, step, at = first + span * SECOND, timedelta(seconds=seconds), its.start_at
        expected = []
        while at <= until:
            expected += [at] if at > first else []
            at += step
        assert its.between(first, until, 10**6) == expected
        assert its.span(first, until, 1) == (Span(expected[0], expected[-1], len(expected)) if expected else None)
        assert its.latest(first, until) == (expected[-1] if expected else None)


class TestALine:
    def test_starts_and_ends_with_the_schedule(self) -> None:
        assert DAILY.after(LONG_AGO, 10) == NINES
        assert DAILY.between(LONG_AGO, FAR, 10) == NINES
        assert DAILY.between(LONG_AGO, FAR, 3) == NINES[:3]
        assert DAILY.latest(LONG_AGO, FAR) == NINES[-1]
        assert DAILY.latest(NINES[-1], FAR) is None
        assert DAILY.span(LONG_AGO, FAR, 10) == Span(NINES[0], NINES[-1], 4)
        assert DAILY.span(LONG_AGO, FAR, 3) == Span(NINES[0], NINES[2], 3)
        assert replace(DAILY, start_at=NINES[0] + SECOND).after(LONG_AGO) == [NINES[1]]
        assert replace(DAILY, end_at=NINES[3] - SECOND).latest(LONG_AGO, FAR) == NINES[2]

    def test_is_after_the_one_and_not_after_the_other(self) -> None:
        assert DAILY.between(NINES[0], NINES[2], 10) == NINES[1:3]
        assert DAILY.between(NINES[0], NINES[0], 10) == DAILY.between(NINES[2], NINES[0], 10) == []
        assert DAILY.latest(NINES[2], NINES[0]) is None
        assert DAILY.span(NINES[2], NINES[0], 10) is None

    def test_takes_instants_of_any_zone(self) -> None:
        tokyo = ZoneInfo("Asia/Tokyo")
        assert DAILY.after(NINES[0].astimezone(tokyo)) == [NINES[1]]
        # Both in one zone, where the clock shows 02:30 twice: the second is later.
        berlin = zone_info("Europe/Berlin")
        first = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
        its = Timing("*/30 2 * * *", None, "Europe/Berlin", first.replace(fold=1), None)
        assert its.after(first) == [datetime(2026, 10, 25, 1, 30, tzinfo=UTC)]

    def test_of_every_minute_has_its_latest_over_years_at_once(self) -> None:
        its = Timing("* * * * *", None, "Europe/Berlin", START, None)
        began = time.process_time()
        until = START + timedelta(days=3650)
        assert its.latest(LONG_AGO, until) == until.replace(second=0, microsecond=0)
        assert time.process_time() - began < 1

    def test_may_be_decades_away(self) -> None:
        """29 February is a Sunday in 2032 and 2060, and around 2100, no leap year, 40 years pass."""
        its = Timing("0 0 29 2 */7", None, "UTC", START, None)
        assert [each.year for each in its.after(START, 4)] == [2032, 2060, 2088, 2128]
        assert its.latest(START, datetime(2031, 1, 1, tzinfo=UTC)) is None

    def test_ends_with_the_calendar(self) -> None:
        its = Timing("* * * * *", None, "UTC", datetime(8850, 1, 1, tzinfo=UTC), None)
        last = datetime.max.replace(tzinfo=UTC)
        assert its.after(last) == []
        assert its.between(last - SECOND, last, 5) == []
        assert every(MAX_EVERY_SECONDS).after(last) == []


GOOD = Timing("0 9 * * *", None, "UTC", START, None)
TIME = "must be a time with an offset, such as 2030-01-02T03:04:05Z (RFC 3339)"
INTERVAL = "must be from 1 to 316224000 seconds"
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"timezone": "Mars/Olympus"}, "timezone",
     "is no time zone: write an IANA name, such as Europe/Berlin"),
    ({"cron": None}, "cron", "give either cron or every_seconds"),
    ({"every_seconds": 5}, "cron", "give either cron or every_seconds"),
    *(({"cron": None, "every_seconds": seconds}, "every_seconds", INTERVAL) for seconds in (0.99, 0, -5, math.nan, math.inf, 1e12)),
    ({"start_at": START.replace(tzinfo=None)}, "start_at", TIME),
    ({"end_at": START.replace(tzinfo=None)}, "end_at", TIME),
    ({"end_at": START - SECOND}, "end_at", "must not be before start_at"),
    ({"start_at": datetime(1899, 1, 1, tzinfo=UTC)}, "start_at", "must be a time of the years 1900 to 8900"),
    ({"start_at": datetime(9999, 1, 1, tzinfo=UTC)}, "start_at", "must be a time of the years 1900 to 8900"),
    ({"cron": "0 9 * *"}, "cron", "must have five fields (minute, hour, day of month, month, day of week) and no seconds, not 4"),
    # On 31 March, if it is a Sunday, Berlin's clock skips two o'clock.
    ({"cron": "* 2 31 3 */7", "timezone": "Europe/Berlin"}, "cron",
     "never fires: its times are all skipped where Europe/Berlin changes its clock"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "field", "text"), REFUSED)
def test_what_is_wrong_is_said_with_its_field(changes: dict[str, Any], field: str, text: str) -> None:
    with pytest.raises(InvalidTiming) as refused:
        check(replace(GOOD, **changes))
    assert (refused.value.field, refused.value.message, str(refused.value)) == (field, text, text)
    assert in_language(str(refused.value), "zh") != text


def test_an_end_before_a_start_that_nobody_has_named_is_in_the_past() -> None:
    with pytest.raises(InvalidTiming) as refused:
        check(replace(GOOD, end_at=START - SECOND), starts_now=True)
    assert (refused.value.field, refused.value.message) == ("end_at", "must not be in the past")
    assert in_language(refused.value.message, "zh") != refused.value.message


def test_the_zone_the_bounds_and_the_line_are_wrong_at_once() -> None:
    wrong = replace(GOOD, timezone="Mars", cron="61 * * * *", end_at=START - SECOND)
    assert [each.field for each in problems(wrong)] == ["timezone", "end_at", "cron"]
    assert [each.field for each in problems(replace(GOOD, cron="* 2 31 3 */7", timezone="Mars"))] == ["timezone"]
    assert problems(GOOD) == []


def test_good_ones_pass() -> None:
    for changes in (
        {}, {"end_at": START}, {"cron": None, "every_seconds": 1}, {"cron": None, "every_seconds": MAX_EVERY_SECONDS},
        {"cron": "0 0 29 2 */7"}, {"cron": "30 2 31 3 */7", "timezone": "Europe/Berlin"}, {"cron": "* 2 31 3 */7"},
    ):  # fmt: skip
        check(replace(GOOD, **changes))


class TestJitter:
    SCHEDULE = UUID("0197f3a0-0000-7000-8000-000000000001")

    def test_is_the_same_for_a_schedule_and_a_time(self) -> None:
        assert jitter(self.SCHEDULE, NINES[0], 60) == timedelta(seconds=49, microseconds=295_709)
        assert jitter(self.SCHEDULE, NINES[0].astimezone(zone_info("Asia/Tokyo")), 60) == jitter(
            self.SCHEDULE, NINES[0], 60
        )
        assert (
            jitter(self.SCHEDULE, NINES[1], 60) != jitter(self.SCHEDULE, NINES[0], 60) != jitter(uuid4(), NINES[0], 60)
        )

    def test_is_spread_over_its_range_and_below_its_end(self) -> None:
        found = [jitter(uuid4(), NINES[0], 10) for _ in range(2000)]
        assert min(found) >= timedelta()
        assert max(found) < 10 * SECOND
        tenths = [sum(1 for each in found if int(each.total_seconds()) == tenth) for tenth in range(10)]
        assert min(tenths) > 100
        assert max(tenths) < 320

    def test_of_nothing_is_nothing(self) -> None:
        assert jitter(self.SCHEDULE, NINES[0], 0) == jitter(self.SCHEDULE, NINES[0], 1e-7) == timedelta()
        assert jitter(self.SCHEDULE, NINES[0], 1e-6) == timedelta()
