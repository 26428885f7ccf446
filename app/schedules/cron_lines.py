"""Cron lines as crontab(5) of Debian has them, and when they fire in a time zone, as cron(8) treats daylight saving.

Five fields, or `@daily` and the like. What crontab(5) has not is refused: no seconds, and none of Quartz' `L`, `W`, `#`
and `5/15`: a line means here what it means in a crontab.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from cronsim import CronSim

from app.core.nearest import did_you_mean
from app.errors import Text
from app.schedules.zones import InvalidTiming, Period, periods_before, periods_from

MAX_CHARACTERS = 250
MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_TERM = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\w+))?", re.ASCII)
# None in particular, the last day, the nearest workday, the second Friday of a month.
_OF_QUARTZ = re.compile(r"\?|L(-\d+)?|L?W|\d+[LW]|[A-Z]{3}L|\w+#\d+", re.ASCII)
_DAYS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True, slots=True)
class Part:
    """The name of a field, its bounds, and the names of its values, the first of which is `low`."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


PARTS = (
    Part("minute", 0, 59),
    Part("hour", 0, 23),
    Part("day of month", 1, 31),
    Part("month", 1, 12, _MONTHS),
    Part("day of week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Field:
    """The values of a field, sorted, Sunday being 0, and its text, in which names are numbers."""

    values: tuple[int, ...]
    text: str

    @property
    def star(self) -> bool:
        """Return whether it begins with `*`, which cron looks at, and not at whether it has all values."""
        return self.text.startswith("*")


@dataclass(frozen=True, slots=True)
class Line:
    """The five fields of a cron line."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    def __str__(self) -> str:
        return " ".join(each.text for each in (self.minute, self.hour, self.day, self.month, self.weekday))

    @property
    def follows_elapsed_time(self) -> bool:
        """Return whether a change of the clock is nothing to it (cron(8): a minute or an hour that begins with `*`)."""
        return self.minute.star or self.hour.star

    @property
    def needs_both_days(self) -> bool:
        """Return whether day of month and of week must both match: one of them begins with `*` (crontab(5))."""
        return self.day.star or self.weekday.star


@lru_cache(maxsize=4096)
def parse_line(cron: str) -> Line:
    """Return the line; `InvalidTiming` says what is wrong in which of its fields, or that it never fires."""
    if len(cron) > MAX_CHARACTERS:
        raise InvalidTiming("cron", Text("must have {} characters at most", MAX_CHARACTERS))
    texts = (_written_out(cron.strip()) if cron.lstrip().startswith("@") else cron).upper().split()
    if len(texts) != len(PARTS):
        raise InvalidTiming(
            "cron",
            Text(
                "must have five fields (minute, hour, day of month, month, day of week) and no seconds, not {}",
                len(texts),
            ),
        )
    line = Line(*(_field(part, text) for part, text in zip(PARTS, texts, strict=True)))
    day = line.day.values[0]
    if line.needs_both_days and all(day > _DAYS[month] for month in line.month.values):
        raise InvalidTiming("cron", "never fires: none of its months has such a day")
    return line


def _written_out(cron: str) -> str:
    if cron.lower() == "@reboot":
        raise InvalidTiming("cron", "@reboot has no times: a schedule does not know when a machine starts")
    if (line := MACROS.get(cron.lower())) is None:
        raise InvalidTiming("cron", Text("is none of {}{}", ", ".join(MACROS), did_you_mean(cron, MACROS)))
    return line


def _field(part: Part, text: str) -> Field:
    terms = [_term(part, term) for term in text.split(",")]
    values = {value for _, term in terms for value in term}
    if part.names is _WEEKDAYS:
        values = {value % len(_WEEKDAYS) for value in values}
    return Field(tuple(sorted(values)), ",".join(text for text, _ in terms))


def _term(part: Part, term: str) -> tuple[str, range]:
    """Return a term in numbers, and its values. `5-5/2` becomes `5`: cronsim 2.8 would take it for `5-59/2`."""
    if _OF_QUARTZ.fullmatch(term):
        raise _refused(
            part, "{}: L, W, # and ? are of Quartz, and no cron line has them: write values, ranges (1-5) or *"
        )
    found = _TERM.fullmatch(term)
    if found is None:
        raise _refused(part, "{}: must have values, ranges (1-5) or steps (*/5, 10-50/5), separated by commas")
    step = _number(part, found["step"]) if found["step"] else 1
    if step == 0:
        raise _refused(part, "{}: a step is 1 or more")
    if found["all"]:
        return "*" if step == 1 else f"*/{step}", range(part.low, part.high + 1, step)
    first = _value(part, found["first"])
    if found["step"] and not found["last"]:
        raise _refused(part, "{}: a step needs a range, such as {}", f"{part.low}-{part.high}/2")
    last = _value(part, found["last"]) if found["last"] else first
    if last < first:
        raise _refused(part, "{}: a range runs backwards")
    text = str(first) if first == last else f"{first}-{last}" + ("" if step == 1 else f"/{step}")
    return text, range(first, last + 1, step)


def _value(part: Part, text: str) -> int:
    if text in part.names:
        return part.low + part.names.index(text)
    value = _number(part, text)
    if not part.low <= value <= part.high:
        raise _refused(part, "{}: must be from {} to {}", part.low, part.high)
    return value


def _number(part: Part, text: str) -> int:
    if not text.isdigit():
        if part.names:
            raise _refused(part, "{}: must have numbers, or names: {}", ", ".join(part.names))
        raise _refused(part, "{}: must have numbers")
    return int(text)


def _refused(part: Part, template: str, *gaps: object) -> InvalidTiming:
    return InvalidTiming("cron", Text(template, part.name, *gaps))


# -- When a cron line fires in a time zone, as cron(8) of Debian treats daylight saving --------------------------------
# cronsim yields the line's local times, without a zone; here they become instants, period by period of one UTC offset.
#
# A line that follows elapsed time fires whenever the clock shows one of its times: twice if an hour is repeated, never
# in a gap. Any other line fires once for each of its times: a repeated one at its first pass, and those that are
# skipped at the first instant after the gap, together. Debian's cron does so for changes below three hours, here for
# all.
#
# Naive datetimes are instants in UTC, or local.

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
        self._asked, self._found = local, _next_time(self._times, datetime.max)  # noqa: DTZ901 (local)
        return self._found


def _next_time(times: Iterator[datetime], otherwise: datetime) -> datetime:
    """Return the next time. cronsim ends after 50 years without one, and overflows at the last year of datetime."""
    try:
        return next(times, otherwise)
    except (OverflowError, ValueError):
        return otherwise


def ascending_times(line: Line, zone: str, after: datetime, until: datetime) -> Iterator[datetime]:
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


def latest_time(line: Line, zone: str, after: datetime, until: datetime) -> datetime | None:
    """Return the last instant `after` < t <= `until` at which the line fires."""
    asked = found = datetime.min  # noqa: DTZ901 (local)
    times = _LocalTimes(line)
    for period in periods_before(zone, until, after):
        local = min(until, period.end - _TICK) + period.offset
        if not found <= local <= asked:
            asked = local
            # With a microsecond more, a time that equals `local` is found too.
            found = _next_time(CronSim(str(line), local + _TICK, reverse=True), datetime.min)  # noqa: DTZ901 (local)
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
    """Return whether a clock that is put forward there skips a time that the line makes up for."""
    if line.follows_elapsed_time or period.before >= period.offset:
        return False
    return times.after(period.start + period.before - _TICK) < period.start + period.offset
