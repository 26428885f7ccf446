"""The nominal times of a schedule: what a cron line or an interval, a zone, a start and an end give together."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import blake2b
from itertools import islice
from uuid import UUID

from app.errors import Text
from app.schedules import cron_lines, zones
from app.schedules.zones import InvalidTiming

MAX_EVERY_SECONDS = 366 * 86_400.0 * 10
# Nominal times are between these two: there are no zones before, and datetime ends soon after.
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Span:
    """Times that follow each other, from the first to the last."""

    first: datetime
    last: datetime
    count: int


@dataclass(frozen=True, slots=True)
class Timing:
    """What decides the nominal times. It is valid if `check` says so; all datetimes have a zone, results are in UTC.

    cron         a line of `app.schedules.cron_lines`, or None
    every_seconds  1 or more of elapsed time, to the microsecond, or None; the first time is `start_at`
    timezone     an IANA name, in which the cron line is read
    start_at     no time is before it
    end_at       no time is after it, or None
    """

    cron: str | None
    every_seconds: float | None
    timezone: str
    start_at: datetime
    end_at: datetime | None

    def after(self, instant: datetime, count: int = 1) -> list[datetime]:
        """Return the first times after the instant, ascending, `count` or fewer."""
        start = min(max(_utc(instant), _utc(self.start_at)), _LAST)
        # A line may have lost its times since it was checked, by a change of its zone: the search ends nevertheless.
        until = _LAST if self.cron is None else start + cron_lines.HORIZON * min(count, 10)
        return list(islice(self._times(instant, until), count))

    def between(self, after: datetime, until: datetime, most: int) -> list[datetime]:
        """Return the times `after` < t <= `until`, ascending, of more than `most` the first ones."""
        return list(islice(self._times(after, until), most))

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """Return the last time `after` < t <= `until`, without computing those before it."""
        after, until = self._within(after, until)
        if until <= after:
            return None
        if self.cron is None:
            first, last = self._numbers(after, until)
            return self._numbered(last) if first <= last else None
        found = cron_lines.latest_time(cron_lines.parse_line(self.cron), self.timezone, _naive(after), _naive(until))
        return None if found is None else found.replace(tzinfo=UTC)

    def span(self, after: datetime, until: datetime, most: int) -> Span | None:
        """Return the times `after` < t <= `until` as one: those of an interval by division, whatever their number.

        Of a cron line they are the first `most` ones, each of which takes some microseconds.
        """
        if self.cron is not None:
            times = self.between(after, until, most)
            return Span(times[0], times[-1], len(times)) if times else None
        first, last = self._numbers(*self._within(after, until))
        return None if last < first else Span(self._numbered(first), self._numbered(last), last + 1 - first)

    def _times(self, after: datetime, until: datetime) -> Iterator[datetime]:
        after, until = self._within(after, until)
        if until <= after:
            return
        if self.cron is None:
            first, last = self._numbers(after, until)
            yield from map(self._numbered, range(first, last + 1))
            return
        line = cron_lines.parse_line(self.cron)
        for found in cron_lines.ascending_times(line, self.timezone, _naive(after), _naive(until)):
            yield found.replace(tzinfo=UTC)

    def _within(self, after: datetime, until: datetime) -> tuple[datetime, datetime]:
        """Return the bounds in UTC, with those of the schedule."""
        start, end = _utc(self.start_at), _LAST if self.end_at is None else _utc(self.end_at)
        return max(_utc(after), start - _TICK, _FIRST), min(_utc(until), end, _LAST)

    def _numbers(self, after: datetime, until: datetime) -> tuple[int, int]:
        """Return the first and the last number of an interval's times `after` < t <= `until`; `start_at` has 0."""
        start, step = _utc(self.start_at), self._step()
        return (after - start) // step + 1, (until - start) // step

    def _numbered(self, number: int) -> datetime:
        return _utc(self.start_at) + number * self._step()

    def _step(self) -> timedelta:
        assert self.every_seconds is not None
        return timedelta(seconds=self.every_seconds)


def _utc(instant: datetime) -> datetime:
    """Return the instant in UTC: datetimes of one and the same zone are compared and subtracted by what clocks show."""
    return instant.astimezone(UTC)


def _naive(instant: datetime) -> datetime:
    return instant.replace(tzinfo=None)


def problems(timing: Timing, since: datetime = _FIRST, *, starts_now: bool = False) -> list[InvalidTiming]:
    """Return what is wrong with the zone, with the bounds and with the line or interval.

    Where these are valid, whether the cron line ever fires in its zone, `since` that time: zones have had other rules
    before. `starts_now`: nobody has named a start, so it is the present.
    """
    bounds = partial(_check_bounds, starts_now=starts_now)
    found = _raised_by(timing, _check_zone, bounds, _check_rule)
    return found or _raised_by(timing, partial(_check_that_it_fires, since=since))


def _raised_by(timing: Timing, *checks: Callable[[Timing], None]) -> list[InvalidTiming]:
    found = []
    for each in checks:
        try:
            each(timing)
        except InvalidTiming as error:
            found.append(error)
    return found


def _check_zone(timing: Timing) -> None:
    zones.zone_info(timing.timezone)


def _check_bounds(timing: Timing, *, starts_now: bool) -> None:
    for field, instant in (("start_at", timing.start_at), ("end_at", timing.end_at)):
        if instant is not None and instant.tzinfo is None:
            raise InvalidTiming(field, "must be a time with an offset, such as 2030-01-02T03:04:05Z (RFC 3339)")
    if not _FIRST < timing.start_at < _LAST - cron_lines.HORIZON:
        raise InvalidTiming("start_at", "must be a time of the years 1900 to 8900")
    if timing.end_at is not None and _utc(timing.end_at) < _utc(timing.start_at):
        raise InvalidTiming("end_at", "must not be in the past" if starts_now else "must not be before start_at")


def _check_rule(timing: Timing) -> None:
    if (timing.cron is None) == (timing.every_seconds is None):
        raise InvalidTiming("cron", "give either cron or every_seconds")
    seconds = timing.every_seconds
    if seconds is not None and not (math.isfinite(seconds) and 1 <= seconds <= MAX_EVERY_SECONDS):
        raise InvalidTiming("every_seconds", Text("must be from 1 to {} seconds", f"{MAX_EVERY_SECONDS:.0f}"))
    if timing.cron is not None:
        cron_lines.parse_line(timing.cron)


def _check_that_it_fires(timing: Timing, *, since: datetime) -> None:
    if timing.cron is None:
        return
    line, start = cron_lines.parse_line(timing.cron), _naive(max(_utc(timing.start_at), since))
    if next(cron_lines.ascending_times(line, timing.timezone, start, start + cron_lines.HORIZON), None) is None:
        raise InvalidTiming(
            "cron", Text("never fires: its times are all skipped where {} changes its clock", timing.timezone)
        )


def jitter(schedule_id: UUID, scheduled_for: datetime, jitter_seconds: float) -> timedelta:
    """Return by how much later a task starts: 0 <= x < `jitter_seconds`, equal for equal schedules and times."""
    microseconds = (_utc(scheduled_for) - _FIRST) // _TICK
    hashed = blake2b(schedule_id.bytes + microseconds.to_bytes(8, "big", signed=True), digest_size=8).digest()
    return timedelta(microseconds=int.from_bytes(hashed, "big") * int(jitter_seconds * 1_000_000) >> 64)
