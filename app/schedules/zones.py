"""Time zones from the `tzdata` package alone, so that all hosts agree, and the changes of their clocks.

Naive datetimes are UTC where they are called instants, and what the zone's clock shows where they are called local. At
the top stand the errors of all timings, of which an unknown zone is one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from importlib import metadata
from importlib.resources import files
from zoneinfo import ZoneInfo

from app.core.nearest import nearest
from app.errors import Text


class InvalidTiming(ValueError):
    """A timing that no schedule can have. `field` is the attribute of `Timing`; the text can be shown to the caller."""

    def __init__(self, field: str, message: str) -> None:
        self.field, self.message = field, message
        super().__init__(message)


class UnknownZone(InvalidTiming):
    """The tzdata package has no zone of this name."""

    def __init__(self, message: str) -> None:
        super().__init__("timezone", message)


# -- The zones of the package, and their periods of one UTC offset -----------------------------------------------------

_A_DAY, _A_SECOND = timedelta(days=1), timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Period:
    """Instants with one UTC offset: `start` <= t < `end`, at most a year.

    `before` is the offset until `start`: less than `offset` if the clock is put forward there, more if it is put back.
    """

    start: datetime
    end: datetime
    offset: timedelta
    before: timedelta


@cache
def zone_info(name: str) -> ZoneInfo:
    """Return the zone of an IANA name; `UnknownZone` if the package has none. The files of the host are never read."""
    if name not in _known():
        meant = _meant(name)
        if meant is None:
            raise UnknownZone("is no time zone: write an IANA name, such as Europe/Berlin")
        raise UnknownZone(Text("is no time zone, did you mean {}", meant))
    with files("tzdata").joinpath("zoneinfo", *name.split("/")).open("rb") as file:
        return ZoneInfo.from_file(file, key=name)


def zone_names() -> list[str]:
    """Return the names that `zone` takes, sorted."""
    return sorted(_known())


@cache
def tzdata_version() -> str:
    """Return the version of the package, such as `2026.6`, which is IANA's 2026f."""
    return metadata.version("tzdata")


@cache
def _known() -> frozenset[str]:
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def _meant(name: str) -> str | None:
    """Return the zone that was probably meant: the nearest one, or that of a city alone.

    Abbreviations and offsets have no slash. Similar ones, such as CEST and EST, are hours apart.
    """
    if "/" in name:
        return nearest(name, _known(), 0.75)
    wanted = name.lower().replace(" ", "_")
    equal = [each for each in zone_names() if each.lower() == wanted]
    found = equal or [each for each in zone_names() if each.lower().endswith(f"/{wanted}")]
    return found[0] if len(found) == 1 else None


def clock_changes(name: str, after: datetime, until: datetime) -> list[tuple[datetime, timedelta, timedelta]]:
    """Return when the clock is changed, `after` < t <= `until` in UTC, with its UTC offsets before and from then on."""
    first, last = (each.astimezone(UTC).replace(tzinfo=None) for each in (after, until))
    return [
        (period.start.replace(tzinfo=UTC), period.before, period.offset)
        for year in range(first.year, last.year + 1)
        for period in periods(name, year)
        if first < period.start <= last and period.before != period.offset
    ]


@lru_cache(maxsize=8192)
def periods(name: str, year: int) -> tuple[Period, ...]:
    """Return the periods of a year of UTC, in order. Changes that are undone within a day are not seen."""
    its_zone = zone_info(name)
    start, end = datetime(year, 1, 1), datetime(year + 1, 1, 1)  # noqa: DTZ001 (an instant)
    before = _offset(its_zone, start - _A_SECOND)
    found = []
    while start < end:
        offset = _offset(its_zone, start)
        until = _next_change(its_zone, start, offset, end)
        found.append(Period(start, until, offset, before))
        start, before = until, offset
    return tuple(found)


def periods_from(name: str, instant: datetime, until: datetime) -> Iterator[Period]:
    """Yield the period that holds the instant, and those that follow, as far as one holds `until`."""
    for year in range(instant.year, until.year + 1):
        for period in periods(name, year):
            if period.end > instant and period.start <= until:
                yield period


def periods_before(name: str, instant: datetime, until: datetime) -> Iterator[Period]:
    """Yield the period that holds the instant, and earlier ones, as far back as one holds `until`."""
    for year in range(instant.year, until.year - 1, -1):
        for period in reversed(periods(name, year)):
            if period.start <= instant and period.end > until:
                yield period


def _next_change(its_zone: ZoneInfo, start: datetime, offset: timedelta, end: datetime) -> datetime:
    """Return the first instant after `start` of another offset, or `end`. zoneinfo does not tell: search by halves."""
    same, other = start, start
    while other < end and _offset(its_zone, other) == offset:
        same, other = other, min(other + _A_DAY, end)
    if other == end and _offset(its_zone, end - _A_SECOND) == offset:
        return end
    while other - same > _A_SECOND:
        middle = (same + (other - same) / 2).replace(microsecond=0)
        same, other = (middle, other) if _offset(its_zone, middle) == offset else (same, middle)
    return other


def _offset(its_zone: ZoneInfo, instant: datetime) -> timedelta:
    offset = instant.replace(tzinfo=UTC).astimezone(its_zone).utcoffset()
    assert offset is not None
    return offset


# -- Nominal times as the clock of their zone shows them, with the changes of that clock among them --------------------

_A_YEAR = timedelta(days=366)
# No nominal time is before it. In the year 1 a zone behind UTC has no clock.
_BEGIN = datetime(1900, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ClockChange:
    """A change of the clock: from what to what local time, and whether it is put forward."""

    at: datetime
    before: timedelta
    after: timedelta

    @property
    def is_forward(self) -> bool:
        return self.after > self.before

    @property
    def by(self) -> timedelta:
        return abs(self.after - self.before)

    @property
    def shown_before(self) -> datetime:
        """Return what the clock shows at that instant without the change."""
        return self.at + self.before

    @property
    def shown_after(self) -> datetime:
        return self.at + self.after


@dataclass(frozen=True, slots=True)
class Coming:
    """A nominal time in UTC, the same with its zone, and the change since the time before that makes them differ."""

    at: datetime
    local: datetime
    change: ClockChange | None


def times_with_changes(zone: str, since: datetime, times: Iterable[datetime]) -> list[Coming]:
    """Return these ascending times, the first of which follows `since`. Raises UnknownZone.

    A change that is undone before the next time is not told: of a time each year, there are two in between.
    """
    found: list[Coming] = []
    its_zone, before = zone_info(zone), max(since, _BEGIN)
    for at in times:
        local = at.astimezone(its_zone)
        differs = local.utcoffset() != before.astimezone(its_zone).utcoffset()
        changes = _changes_between(zone, max(before, at - _A_YEAR), at) if differs else []
        found.append(Coming(at, local, changes[-1] if changes else None))
        before = at
    return found


def next_clock_change(zone: str, after: datetime) -> ClockChange | None:
    """Return the next change of the clock within a year. Raises UnknownZone."""
    return next(iter(_changes_between(zone, after, after + _A_YEAR)), None)


def _changes_between(zone: str, after: datetime, until: datetime) -> list[ClockChange]:
    return [ClockChange(*each) for each in clock_changes(zone, after, until)]
