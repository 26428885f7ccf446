"""When a cron line fires in a time zone, as cron(8) of Debian treats daylight saving.

cronsim yields the line's local times, without a zone; here they become instants, period by period of one UTC offset.

A line that follows elapsed time fires whenever the clock shows one of its times: twice if an hour is repeated, never in
a gap. Any other line fires once for each of its times: a repeated one at its first pass, and those that are skipped at
the first instant after the gap, together. Debian's cron does so for changes below three hours, here for all.

Naive datetimes are instants in UTC, or local.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from cronsim import CronSim

from app.schedules.lines import Line
from app.schedules.zones import Period, periods_before, periods_from

# A line that is due at all is due within 40 years: 29 February, if it is a Sunday, around 2100.
HORIZON = timedelta(days=366 * 45)
_TICK = timedelta(microseconds=1)


class _LocalTimes:
    """The local times of a line, ascending. The last one is kept, since the next period often asks for it again."""

    def __init__(self, line: Line) -> None:
        self._text = str(line)
        self._asked = self._found = datetime.max  # noqa: DTZ901 (local)
        self._times: Iterator[datetime] = iter(())

    def after(self, local: datetime) -> datetime:
        """Return the first time after `local`; `datetime.max` if there is none."""
        if self._asked <= local < self._found:
            return self._found
        if local != self._found:
            self._times = CronSim(self._text, local)
        self._asked, self._found = local, _next(self._times, datetime.max)  # noqa: DTZ901 (local)
        return self._found


def _next(times: Iterator[datetime], otherwise: datetime) -> datetime:
    """Return the next time. cronsim ends after 50 years without one, and overflows at the last year of datetime."""
    try:
        return next(times, otherwise)
    except (OverflowError, ValueError):
        return otherwise


def ascending(line: Line, zone: str, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the instants `after` < t <= `until` at which the line fires."""
    times = _LocalTimes(line)
    for period in periods_from(zone, after, until):
        local = period.start + _lowest(line, period) - _TICK
        if period.start <= after:
            local = max(local, after + period.offset)
        elif _fires_at_the_start(line, period, times):
            yield period.start
            local = period.start + period.offset
        end = min(period.end - _TICK, until) + period.offset
        while (found := times.after(local)) <= end:
            yield found - period.offset
            local = found


def latest(line: Line, zone: str, after: datetime, until: datetime) -> datetime | None:
    """Return the last instant `after` < t <= `until` at which the line fires."""
    asked = found = datetime.min  # noqa: DTZ901 (local)
    times = _LocalTimes(line)
    for period in periods_before(zone, until, after):
        local = min(until, period.end - _TICK) + period.offset
        if not found <= local <= asked:
            asked = local
            # With a microsecond more, a time that equals `local` is found too.
            found = _next(CronSim(str(line), local + _TICK, reverse=True), datetime.min)  # noqa: DTZ901 (local)
        if found >= period.start + _lowest(line, period):
            instant = found - period.offset
        elif _fires_at_the_start(line, period, times):
            instant = period.start
        else:
            continue
        return instant if instant > after else None
    return None


def _lowest(line: Line, period: Period) -> timedelta:
    """Return what added to its start gives the first local time of the period at which the line may fire there.

    A clock that is put back shows times again, which only a line that follows elapsed time takes.
    """
    return period.offset if line.follows_elapsed_time else max(period.offset, period.before)


def _fires_at_the_start(line: Line, period: Period, times: _LocalTimes) -> bool:
    """Whether a clock that is put forward there skips a time that the line makes up for."""
    if line.follows_elapsed_time or period.before >= period.offset:
        return False
    return times.after(period.start + period.before - _TICK) < period.start + period.offset
