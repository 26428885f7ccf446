"""Cron lines in time zones, against a model that walks minute by minute, around every change of a clock."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice

import pytest

from app.schedules.cron_lines import parse_line
from app.schedules.times import Span, Timing
from app.schedules.zones import InvalidTiming, clock_changes
from tests.support.cron_model import Model, Window, clock_changes as changes_of_the_model

ZONES = (
    "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns", "Africa/Casablanca", "Africa/Cairo",
    "Pacific/Chatham", "America/Santiago", "Asia/Gaza", "Antarctica/Troll", "Asia/Kathmandu",
)  # fmt: skip
START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
MARGIN = timedelta(hours=24)
# Without a change of a clock: a leap day, and the end of a year.
QUIET = (datetime(2028, 2, 29, 12, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
NAMES = {
    3: dict(enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)),  # noqa: SIM905
    4: dict(enumerate("sun mon tue wed thu fri sat".split())),  # noqa: SIM905
}


@cache
def windows() -> list[tuple[Window, datetime]]:
    """A window around each change of the years 2024 to 2030 in each zone, with the instant that it is about."""
    centres = [(zone, at) for zone in ZONES for at in (*changes_of_the_model(zone, START, END), *QUIET)]
    return [(Window(zone, at - MARGIN, at + MARGIN), at) for zone, at in centres]


def timing(line: str, zone: str, start: datetime = START - timedelta(days=9)) -> Timing:
    return Timing(line, None, zone, start, None)


def term(rng: random.Random, low: int, high: int, near: int) -> str:
    first = near if rng.random() < 0.5 else rng.randint(low, high)
    match rng.randrange(6):
        case 0 | 1 | 2:
            return str(first)
        case 3:
            return f"{first}-{rng.randint(first, high)}"
        case 4:
            return f"{first}-{rng.randint(first, high)}/{rng.randint(1, 12)}"
        case _:
            return f"*/{rng.randint(1, high)}"


def field(rng: random.Random, part: int, near: int, often_all: float) -> str:
    if rng.random() < often_all:
        return "*"
    text = ",".join(term(rng, *RANGES[part], near) for _ in range(rng.choice((1, 1, 1, 2, 3))))
    return NAMES.get(part, {}).get(int(text), text) if text.isdigit() and rng.random() < 0.3 else text


def random_line(rng: random.Random, window: Window) -> str:
    """A line of which a half of the fields has a value that the clock shows near the middle of the window."""
    local = datetime.fromtimestamp(60 * window.shown[len(window.shown) // 2 + rng.randint(-200, 200)], UTC)
    near = (rng.choice((0, 30, local.minute)), local.hour, local.day, local.month, local.isoweekday())
    often_all = (0.15, 0.25, 0.6, 0.75, 0.6)
    return " ".join(field(rng, part, near[part], often_all[part]) for part in range(5))


def triples(seed: int, count: int) -> Iterator[tuple[str, Window, datetime]]:
    """Lines, windows in turn, and instants in them: mostly within some hours of the change, some at it to the second."""
    rng, given = random.Random(seed), 0
    while given < count:
        window, at = windows()[given % len(windows())]
        seconds = rng.choice((0, 0, rng.uniform(-9000, 9000), 60 * rng.randint(-770, 770)))
        line = random_line(rng, window)
        if Model(line).exists:
            given += 1
            yield line, window, at + timedelta(seconds=seconds)
        else:
            with pytest.raises(InvalidTiming, match="never fires"):
                parse_line(line)


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.full)])
def test_the_next_times_are_those_of_the_model(count: int) -> None:
    wrong, fired = [], 0
    for line, window, instant in triples(2028, count):
        end = instant + timedelta(hours=11)
        expected = [*islice((each for each in window.fires(Model(line), instant) if each <= end), 30)]
        found = timing(line, window.zone).between(instant, end, 30)
        first = [each for each in timing(line, window.zone).after(instant, 3) if each <= end]
        fired += len(expected)
        if found != expected or first != expected[:3]:
            wrong.append((line, window.zone, instant.isoformat(), expected[:3], found[:3]))
    assert wrong == []
    assert fired > count


@pytest.mark.parametrize("count", [100, pytest.param(3000, marks=pytest.mark.full)])
def test_the_latest_and_the_span_are_those_of_the_list(count: int) -> None:
    rng = random.Random(7)
    for line, window, instant in triples(2029, count):
        its, until = timing(line, window.zone), instant + timedelta(minutes=rng.randint(0, 2000))
        listed = its.between(instant, until, 5000)
        assert its.latest(instant, until) == (listed[-1] if listed else None), (line, window.zone, instant, until)
        for most in (3, 5000):
            first = listed[:most]
            assert its.span(instant, until, most) == (Span(first[0], first[-1], len(first)) if first else None)


def test_every_change_of_a_clock_is_found() -> None:
    changes = {zone: [at for at, _, _ in clock_changes(zone, START, END)] for zone in ZONES}
    assert changes == {zone: changes_of_the_model(zone, START, END) for zone in ZONES}
    assert sum(map(len, changes.values())) > 130
    assert changes["Asia/Kathmandu"] == []


class TestAGap:
    """Berlin, 2026-03-29: after 01:59 the clock shows 03:00, which is 01:00 UTC."""

    DAY = (datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 21, 59, tzinfo=UTC))
    END = datetime(2026, 3, 29, 1, tzinfo=UTC)

    def fired(self, line: str) -> list[str]:
        return [f"{each:%H:%M}" for each in timing(line, "Europe/Berlin").between(*self.DAY, 2000)]

    def test_makes_a_skipped_time_up_at_its_end(self) -> None:
        assert self.fired("30 2 * * *") == ["01:00"]

    def test_makes_several_up_once(self) -> None:
        assert self.fired("0,20,40 2-3 * * *") == ["01:00", "01:20", "01:40"]

    def test_makes_nothing_up_for_a_line_that_follows_elapsed_time(self) -> None:
        assert self.fired("*/30 2 * * *") == []
        assert self.fired("*/30 1-3 * * *") == ["00:00", "00:30", "01:00", "01:30"]

    def test_is_over_once_its_end_has_passed(self) -> None:
        its = timing("30 2 * * *", "Europe/Berlin")
        assert its.after(self.END - timedelta(microseconds=1)) == [self.END]
        assert its.after(self.END) == [datetime(2026, 3, 30, 0, 30, tzinfo=UTC)]

    def test_may_skip_a_whole_day(self) -> None:
        """Apia had no 30 December 2011."""
        its = timing("0 9 30 12 *", "Pacific/Apia", datetime(2011, 12, 1, tzinfo=UTC))
        assert its.after(datetime(2011, 12, 20, tzinfo=UTC), 2) == [
            datetime(2011, 12, 30, 10, tzinfo=UTC), datetime(2012, 12, 29, 19, tzinfo=UTC),
        ]  # fmt: skip


class TestARepeatedHour:
    """Berlin, 2026-10-25: after 02:59 the clock shows 02:00 again; the second pass begins at 01:00 UTC."""

    DAY = (datetime(2026, 10, 24, 21, 59, tzinfo=UTC), datetime(2026, 10, 25, 22, 59, tzinfo=UTC))
    SECOND_PASS = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)

    def fired(self, line: str) -> list[str]:
        return [f"{each:%H:%M}" for each in timing(line, "Europe/Berlin").between(*self.DAY, 2000)]

    def test_fires_at_its_first_pass(self) -> None:
        assert self.fired("30 2 * * *") == ["00:30"]
        assert self.fired("0 2-3 * * *") == ["00:00", "02:00"]

    def test_fires_at_both_for_a_line_that_follows_elapsed_time(self) -> None:
        assert self.fired("*/30 2 * * *") == ["00:00", "00:30", "01:00", "01:30"]
        assert len(self.fired("0 * * * *")) == 25

    def test_never_answers_a_time_before_the_start(self) -> None:
        assert timing("30 2 * * *", "Europe/Berlin").after(self.SECOND_PASS) == [
            datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
        ]
        assert timing("*/30 2 * * *", "Europe/Berlin").after(self.SECOND_PASS) == [
            datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
        ]
        assert timing("30 2 * * *", "Europe/Berlin").latest(self.DAY[0], self.SECOND_PASS) == datetime(
            2026, 10, 25, 0, 30, tzinfo=UTC
        )


def test_lord_howe_skips_half_an_hour() -> None:
    """2026-10-04: after 01:59 the clock shows 02:30, which is 15:30 UTC of the day before."""
    (found,) = timing("15 2 * * *", "Australia/Lord_Howe").after(datetime(2026, 10, 3, 15, tzinfo=UTC))
    assert found == datetime(2026, 10, 3, 15, 30, tzinfo=UTC)


def test_nothing_is_passed_over_after_half_an_hour() -> None:
    """cronsim with a zone goes from 02:30 by hours, and misses 03:00, which is 16:00 UTC."""
    for line in ("0 */3 * * *", "*/30 3 * * *"):
        (found,) = timing(line, "Australia/Lord_Howe").after(datetime(2026, 10, 3, 15, tzinfo=UTC))
        assert found == datetime(2026, 10, 3, 16, tzinfo=UTC)


def test_troll_skips_two_hours() -> None:
    """2026-03-29: after 00:59 the clock shows 03:00, which is 01:00 UTC."""
    found = timing("30 1,2 * * *", "Antarctica/Troll").after(datetime(2026, 3, 29, tzinfo=UTC), 2)
    assert found == [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 29, 23, 30, tzinfo=UTC)]


def test_cairo_skips_midnight() -> None:
    """2026-04-24 begins at 01:00, which is 22:00 UTC: what is due at midnight of that day is due then."""
    assert timing("0 0 24 4 *", "Africa/Cairo").after(datetime(2026, 4, 1, tzinfo=UTC)) == [
        datetime(2026, 4, 23, 22, tzinfo=UTC)
    ]
