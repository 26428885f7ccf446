"""When a cron line fires, by the definitions of crontab(5) and cron(8) alone: minute by minute, as Debian's cron walks.

Nothing of `app.schedules` and no library for cron is used. Minutes are numbers: since 1970 in UTC, or what the zone's
clock shows, counted the same way.
"""

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from itertools import accumulate
from zoneinfo import ZoneInfo

NAMES = {
    name: str(number)
    for names, first in (("jan feb mar apr may jun jul aug sep oct nov dec", 1), ("sun mon tue wed thu fri sat", 0))
    for number, name in enumerate(names.split(), start=first)
}
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def model_zone(name: str) -> ZoneInfo:
    with files("tzdata").joinpath("zoneinfo", name).open("rb") as file:
        return ZoneInfo.from_file(file)


def minute_of(instant: datetime) -> int:
    return (instant - EPOCH) // timedelta(minutes=1)


def instant_of(minute: int) -> datetime:
    return EPOCH + timedelta(minutes=minute)


def local_minute(zone: ZoneInfo, minute: int) -> int:
    offset = instant_of(minute).astimezone(zone).utcoffset()
    assert offset is not None
    return minute + offset // timedelta(minutes=1)


@cache
def fields_of(local: int) -> tuple[int, int, int, int, int]:
    """Minute, hour, day of month, month, day of week, Sunday being 0."""
    shown = instant_of(local)
    return shown.minute, shown.hour, shown.day, shown.month, shown.isoweekday() % 7


class Model:
    """A line of five fields."""

    def __init__(self, line: str) -> None:
        self.texts = line.lower().split()
        self.values = [self._values(text, *bounds) for text, bounds in zip(self.texts, BOUNDS, strict=True)]
        if 7 in self.values[4]:
            self.values[4].add(0)
        self.starred = [text[0] == "*" for text in self.texts]

    @staticmethod
    def _values(text: str, low: int, high: int) -> set[int]:
        values = set[int]()
        for term in text.split(","):
            span, _, step = term.partition("/")
            first, _, last = span.partition("-")
            if span == "*":
                first, last = str(low), str(high)
            first = NAMES.get(first, first)
            values.update(range(int(first), int(NAMES.get(last, last) or first) + 1, int(step or 1)))
        return values

    def matches(self, local: int) -> bool:
        """Whether the clock shows a time of the line (cron.c of Debian, find_jobs)."""
        minute, hour, day, month, weekday = fields_of(local)
        minutes, hours, days, months, weekdays = self.values
        if minute not in minutes or hour not in hours or month not in months:
            return False
        if self.starred[2] or self.starred[4]:
            return day in days and weekday in weekdays
        return day in days or weekday in weekdays

    @property
    def exists(self) -> bool:
        """Whether any year has a day of the line: day of week alone is in every month."""
        either = not (self.starred[2] or self.starred[4])
        return either or any(day <= monthrange(2028, month)[1] for day in self.values[2] for month in self.values[3])

    @property
    def wild(self) -> bool:
        return self.starred[0] or self.starred[1]


class Window:
    """The minutes from `start` to `end`, and what a zone's clock shows in them; `seen` is the latest that it showed before."""

    def __init__(self, zone: str, start: datetime, end: datetime) -> None:
        before = 6 * 60
        first = minute_of(start) - before
        shown = [local_minute(model_zone(zone), minute) for minute in range(first, minute_of(end) + 1)]
        self.zone, self.first = zone, first + before
        self.shown = shown[before:]
        self.seen = [*accumulate(shown, max)][before - 1 : -1]

    def fires(self, model: Model, after: datetime) -> Iterator[datetime]:
        """Each instant after `after`, which is within the window, at which the line fires, up to the window's end.

        A wild line looks at the clock. Any other takes each minute that the clock has not shown yet, up to what it shows
        now: none while a part of an hour is repeated, several where some are skipped.
        """
        at = bisect_right(range(self.first, self.first + len(self.shown)), minute_of(after)) - 1
        for place in range(at + 1, len(self.shown)):
            shown, seen = self.shown[place], self.seen[place]
            if shown == seen + 1 or model.wild:
                fires = model.matches(shown)
            else:
                fires = any(map(model.matches, range(seen + 1, shown + 1)))
            if fires:
                yield instant_of(self.first + place)


@cache
def clock_changes(zone: str, start: datetime, end: datetime) -> list[datetime]:
    """The minutes in which the zone's UTC offset becomes another."""
    its_zone, hours = model_zone(zone), 6 * 60
    found, before = [], local_minute(its_zone, minute_of(start))
    for minute in range(minute_of(start) + hours, minute_of(end) + 1, hours):
        shown = local_minute(its_zone, minute)
        if shown != before + hours:
            steps = range(minute - hours + 1, minute + 1)
            found += [
                instant_of(at) for at in steps if local_minute(its_zone, at) != local_minute(its_zone, at - 1) + 1
            ]
        before = shown
    return found
