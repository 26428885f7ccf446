"""Nominal times with the changes of their zone's clock."""

from datetime import UTC, datetime, timedelta

import pytest

from app.schedules.times import Timing
from app.schedules.zones import UnknownZone, next_clock_change, times_with_changes

HOUR = timedelta(hours=1)


def shown(cron: str, zone: str, after: datetime, count: int) -> list[tuple[str, str]]:
    """The local times, each with the change before it."""
    times = Timing(cron, None, zone, datetime(2000, 1, 1, tzinfo=UTC), None).after(after, count)
    return [
        (
            f"{time.local:%m-%d %H:%M}",
            f"{time.change.shown_before:%H:%M} {time.change.shown_after:%H:%M}" if time.change else "",
        )
        for time in times_with_changes(zone, after, times)
    ]


def test_a_clock_that_is_put_forward_stands_before_the_first_time_after_it() -> None:
    assert shown("30 2 * * *", "Europe/Berlin", datetime(2027, 3, 26, 12, tzinfo=UTC), 3) == [
        ("03-27 02:30", ""), ("03-28 03:00", "02:00 03:00"), ("03-29 02:30", ""),
    ]  # fmt: skip


def test_a_clock_that_is_put_back_stands_between_the_passes_of_the_hour() -> None:
    assert shown("0 * * * *", "Europe/Berlin", datetime(2027, 10, 30, 23, 30, tzinfo=UTC), 3) == [
        ("10-31 02:00", ""), ("10-31 02:00", "03:00 02:00"), ("10-31 03:00", ""),
    ]  # fmt: skip


def test_a_change_since_now_is_told_and_one_that_is_undone_is_not() -> None:
    assert shown("0 0 1 6 *", "Europe/Berlin", datetime(2027, 1, 1, tzinfo=UTC), 2) == [
        ("06-01 00:00", "02:00 03:00"), ("06-01 00:00", ""),
    ]  # fmt: skip


def test_half_an_hour_is_half_an_hour() -> None:
    change = next_clock_change("Australia/Lord_Howe", datetime(2027, 1, 1, tzinfo=UTC))
    assert change is not None
    assert (change.by, change.is_forward) == (HOUR / 2, False)


def test_a_zone_without_changes_has_none_and_one_that_is_none_is_refused() -> None:
    assert next_clock_change("UTC", datetime(2027, 1, 1, tzinfo=UTC)) is None
    with pytest.raises(UnknownZone):
        next_clock_change("Mars", datetime(2027, 1, 1, tzinfo=UTC))
