"""A timing in words, English and Chinese, from the values of its fields: what it says is what fires.

Other libraries put the text of the fields into words: `*/7` minutes are no "every 7 minutes" when the hour ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType

from app.schedules.cron_lines import Field, Line, parse_line
from app.schedules.times import Timing

_MOST_TIMES = 6  # of a day that are listed one by one
_MOST_SPANS = 3  # of hours
_LONG_ROW = 5  # numbers
_MINUTES, _HOURS, _DAYS, _MONTHS, _WEEKDAYS = 60, 24, 31, 12, 7
_WORKING_DAYS = (1, 2, 3, 4, 5)


def in_words(timing: Timing, language: str) -> str:
    """Return a valid timing in words, such as `every weekday at 09:30, Europe/Berlin`, or `every 90 s`.

    In Chinese for `zh`, else in English.
    """
    speaker: _English | _Chinese = _Chinese() if language == "zh" else _English()
    if timing.cron is None:
        assert timing.every_seconds is not None
        return speaker.interval(timing.every_seconds)
    line = parse_line(timing.cron)
    return speaker.sentence(speaker.days(_days(line)), _clock(line), timing.timezone)


@dataclass(frozen=True, slots=True)
class _Clock:
    """When on a day: at `times`; else once in each hour between the two of `hourly`; else in `hours`, None being all of
    them, every `step` minutes from minute 0, or at `minutes`.
    """

    times: tuple[str, ...]
    hourly: tuple[str, str] | None
    hours: tuple[int, ...] | None
    step: int | None
    minutes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Days:
    """On which days, None being all of them. `either`: a day of the month or one of the week (1 to 7), else both."""

    days: tuple[int, ...] | None
    weekdays: tuple[int, ...] | None
    months: tuple[int, ...] | None
    either: bool


def _clock(line: Line) -> _Clock:
    minutes, hours = line.minute.values, line.hour.values
    few = len(minutes) * len(hours) <= _MOST_TIMES
    times = [f"{hour:02}:{minute:02}" for hour in hours for minute in minutes] if few or len(minutes) == 1 else []
    in_a_row = hours[-1] - hours[0] == len(hours) - 1
    step = _MINUTES // len(minutes)
    return _Clock(
        times=tuple(times) if few else (),
        hourly=(times[0], times[-1]) if times and in_a_row and len(hours) < _HOURS else None,
        hours=_some(line.hour, _HOURS),
        step=step if minutes == tuple(range(0, _MINUTES, step)) and (step < _MINUTES or len(hours) == _HOURS) else None,
        minutes=minutes,
    )


def _days(line: Line) -> _Days:
    day, weekday = _some(line.day, _DAYS), _some(line.weekday, _WEEKDAYS)
    if not line.needs_both_days and (day is None or weekday is None):
        day = weekday = None
    of_week = None if weekday is None else tuple(sorted(each or _WEEKDAYS for each in weekday))
    return _Days(day, of_week, _some(line.month, _MONTHS), not line.needs_both_days)


def _some(field: Field, all_values: int) -> tuple[int, ...] | None:
    return None if len(field.values) == all_values else field.values


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """Return what follows each other as first and last: three or more of them, the others one by one."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return [
        pair
        for run in runs
        for pair in ([(run[0], run[-1])] if len(run) > 2 else [(value, value) for value in run])  # noqa: PLR2004
    ]


def _is_long_row(values: Sequence[int]) -> bool:
    """Return whether it is enough to say the first two and the last."""
    step = values[1] - values[0] if len(values) >= _LONG_ROW else 1
    return step > 1 and tuple(values) == tuple(range(values[0], values[-1] + 1, step))


class _English:
    months = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
              "November", "December")  # fmt: skip
    weekdays = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

    def interval(self, seconds: float) -> str:
        number, unit = _in_largest_unit(seconds)
        return f"every {number} {unit}"

    def sentence(self, days: str, clock: _Clock, zone: str) -> str:
        if clock.times:
            return f"{days} at {_and(clock.times)}, {zone}"
        return f"{self.often(clock)}{'' if days == 'every day' else f', {days}'}, {zone}"

    def often(self, clock: _Clock) -> str:
        if clock.hourly:
            return f"every hour from {clock.hourly[0]} to {clock.hourly[1]}"
        if clock.step is None:
            minutes = f"at minute{'s' if len(clock.minutes) > 1 else ''} {self.numbers(clock.minutes)}"
            if clock.hours is None:
                return f"{minutes} of every hour"
            return f"{minutes} of {'the hours' if len(clock.hours) > 1 else 'hour'} {self.numbers(clock.hours)}"
        minutes = {1: "every minute", 60: "every hour"}.get(clock.step, f"every {clock.step} minutes")
        if clock.hours is None:
            return minutes
        spans = [f"from {first:02}:00 to {last:02}:59" for first, last in _runs(clock.hours)]
        return f"{minutes} {_and(spans) if len(spans) <= _MOST_SPANS else f'in the hours {self.numbers(clock.hours)}'}"

    def days(self, days: _Days) -> str:
        weekdays = None if days.weekdays is None else self.of_week(days.weekdays)
        months = None if days.months is None else _and([self.months[each - 1] for each in days.months])
        if days.days is None:
            return (weekdays or "every day") + (f" in {months}" if months else "")
        dates = f"on day{'s' if len(days.days) > 1 else ''} {self.numbers(days.days)}"
        if weekdays is not None and days.either:
            return f"{dates} and {weekdays} in {months}" if months else f"{dates} of each month and {weekdays}"
        one = days.months is not None and len(days.days) == len(days.months) == 1
        dates = f"on {days.days[0]} {months}" if one else f"{dates} of {months or 'each month'}"
        if days.weekdays is None:
            return dates
        return f"{dates}, if it is a {_list([self.weekdays[each - 1] for each in days.weekdays], 'or')},"

    def of_week(self, values: tuple[int, ...]) -> str:
        if values == _WORKING_DAYS:
            return "every weekday"
        return f"every {_and([self.weekdays[each - 1] for each in values])}"

    def numbers(self, values: Sequence[int]) -> str:
        if _is_long_row(values):
            return f"{values[0]}, {values[1]}, … {values[-1]}"
        return _and([str(first) if first == last else f"{first} to {last}" for first, last in _runs(values)])


class _Chinese:
    units = MappingProxyType({"s": "秒", "min": "分钟", "h": "小时"})
    weekdays = "一二三四五六日"

    def interval(self, seconds: float) -> str:
        number, unit = _in_largest_unit(seconds)
        return f"每 {number} {self.units[unit]}"

    def sentence(self, days: str, clock: _Clock, zone: str) -> str:
        if clock.times:
            return f"{days} {'、'.join(clock.times)}（{zone}）"
        return f"{'' if days == '每天' else f'{days}，'}{self.often(clock)}（{zone}）"

    def often(self, clock: _Clock) -> str:
        if clock.hourly:
            return f"{clock.hourly[0]} 至 {clock.hourly[1]} 每小时一次"
        if clock.step is None:
            hours = "每小时" if clock.hours is None else f"{self.numbers(clock.hours)} 时"
            return f"{hours}的第 {self.numbers(clock.minutes)} 分"
        minutes = {1: "每分钟", 60: "每小时整点"}.get(clock.step, f"每 {clock.step} 分钟")
        if clock.hours is None:
            return minutes
        spans = [f"{first:02}:00 至 {last:02}:59" for first, last in _runs(clock.hours)]
        if len(spans) > _MOST_SPANS:
            return f"{self.numbers(clock.hours)} 时内{minutes}"
        return f"{'、'.join(spans)} {minutes}"

    def days(self, days: _Days) -> str:
        weekdays = None if days.weekdays is None else self.of_week(days.weekdays)
        months = None if days.months is None else f"{self.numbers(days.months)} 月"
        if days.days is None:
            every = f"每{weekdays}" if weekdays else "每天" if months is None else "每一天"
            return every if months is None else f"{months}的{every}"
        dates = f"{self.numbers(days.days)} 日"
        if weekdays is not None and days.either:
            return f"{'每月' if months is None else f'{months}的'} {dates}以及每{weekdays}"
        return f"{'每月' if months is None else f'每年 {months}'} {dates}" + (
            "" if weekdays is None else f"中的{weekdays}"
        )

    def of_week(self, values: tuple[int, ...]) -> str:
        names = [(self.weekdays[first - 1], self.weekdays[last - 1]) for first, last in _runs(values)]
        return "、".join(f"周{first}" if first == last else f"周{first}至周{last}" for first, last in names)

    def numbers(self, values: Sequence[int]) -> str:
        if _is_long_row(values):
            return f"{values[0]}、{values[1]}、…、{values[-1]}"
        return "、".join(str(first) if first == last else f"{first} 至 {last}" for first, last in _runs(values))


def _in_largest_unit(seconds: float) -> tuple[str, str]:
    """Return the number and `h`, `min` or `s`: the largest unit of which it is a whole number."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds % length == 0:
            return f"{seconds / length:.0f}", unit
    return f"{seconds:.6f}".rstrip("0").rstrip("."), "s"


def _and(words: Sequence[str]) -> str:
    return _list(words, "and")


def _list(words: Sequence[str], last: str) -> str:
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else words[0]
