"""The entries of `beat_schedule` as schedules of the service, and what of them a schedule cannot have."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from celery import Celery
from celery.schedules import crontab, schedule, solar

from app.core.nearest import did_you_mean
from app.messaging.application import MESSAGE_PRIORITY, QUEUE_OF, QUEUES, celery_app
from app.schedules.cron_lines import PARTS, Part, parse_line
from app.schedules.zones import InvalidTiming

# The service's own entries stay with beat.
_OWN = frozenset({"app.tasks.common_tasks.purge_finished_tasks", "app.tasks.common_tasks.purge_expired_logins"})
_KNOWN = frozenset({"task", "schedule", "args", "kwargs", "options", "relative"})
_PRIORITIES = {number: priority for priority, number in MESSAGE_PRIORITY.items()}
_OF_QUEUE = {queue: priority for priority, queue in QUEUE_OF.items()}
# What of these options becomes the priority of the task.
_VALUES = {"priority": sorted(_PRIORITIES), "queue": QUEUES}
# As crontab names them, in the order of a line.
_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")


class CannotCarryOver(Exception):
    """An entry that is no schedule of the service. The text says why."""


class Source(NamedTuple):
    """A `beat_schedule`, and the time zone in which its crontabs are read."""

    entries: Mapping[str, Any]
    timezone: str


@dataclass
class Converted:
    """An entry as the fields of ScheduleCreate, and what of it these leave out."""

    fields: dict[str, Any]
    left_out: list[str] = field(default_factory=list)


def sources(modules: Mapping[str, Any]) -> Iterator[Source]:
    """Yield the `beat_schedule` of the service's application, and those that the modules of tasks bring.

    These are of a Celery application that a module has besides, or the module's own `beat_schedule`, as of a
    `celeryconfig`.
    """
    own = {name: entry for name, entry in celery_app.conf.beat_schedule.items() if not _is_own(entry)}
    yield Source(own, str(celery_app.conf.timezone or "UTC"))
    seen = {id(celery_app)}
    for module in modules.values():
        for value in list(vars(module).values()):
            if isinstance(value, Celery) and id(value) not in seen:
                seen.add(id(value))
                yield Source(value.conf.beat_schedule, str(value.conf.timezone or "UTC"))
        if isinstance(entries := getattr(module, "beat_schedule", None), dict):
            yield Source(entries, str(getattr(module, "timezone", None) or "UTC"))


def convert(name: str, entry: Any, timezone: str) -> Converted:
    """Return an entry as a schedule. Raises CannotCarryOver."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("task"), str):
        raise CannotCarryOver("it names no task")
    left_out = [f"{each}{did_you_mean(str(each), _KNOWN)}" for each in entry if each not in _KNOWN]
    if entry.get("relative"):
        left_out.append("relative: the first time is the import")
    task = {
        "name": name[:200],
        "task_type": "periodic",
        "celery_task_name": entry["task"],
        "args": list(entry.get("args") or ()),
        "kwargs": dict(entry.get("kwargs") or {}),
    }
    task |= _options(entry.get("options") or {}, left_out)
    return Converted({"name": name[:200], "task": task, **_timing(entry.get("schedule"), timezone)}, left_out)


def _is_own(entry: Any) -> bool:
    return isinstance(entry, Mapping) and entry.get("task") in _OWN


def _timing(value: Any, timezone: str) -> dict[str, Any]:
    """Raises CannotCarryOver."""
    if isinstance(value, solar):
        raise CannotCarryOver("solar: a schedule does not know the sun")
    if isinstance(value, schedule) and type(value) not in {schedule, crontab}:
        raise CannotCarryOver(f"{type(value).__name__}: a schedule class of its own")
    if type(value) is crontab:
        return {"cron": _line(value), "timezone": timezone}
    every = value.run_every if type(value) is schedule else value
    seconds = every.total_seconds() if isinstance(every, timedelta) else every
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise CannotCarryOver(f"{type(value).__name__}: a schedule class of its own")
    return {"every_seconds": float(seconds)}


def _line(value: crontab) -> str:
    """Return the cron line with the same times. Raises CannotCarryOver where cron's rule for days is another one.

    A crontab fires on days that match both of its fields of days, a cron line on those that match one of them, unless
    one begins with `*` (crontab(5)).
    """
    texts = [_text(part, getattr(value, f"_orig_{name}"), getattr(value, name)) for part, name in _pairs()]
    if not texts[2].startswith("*") and not texts[4].startswith("*"):
        raise CannotCarryOver("crontab: both day_of_month and day_of_week, of which a cron line needs one alone")
    return " ".join(texts)


def _pairs() -> Iterator[tuple[Part, str]]:
    return zip(PARTS, _FIELDS, strict=True)


def _text(part: Part, typed: Any, values: set[int]) -> str:
    """Return a field as it was typed, if a cron line has the same values by it, and else its values one by one."""
    at = PARTS.index(part)
    if isinstance(typed, str):
        text = "".join(typed.split())
        try:
            found = parse_line(" ".join(text if each == at else "*" for each in range(len(PARTS))))
        except InvalidTiming:  # such as a range of days that goes on behind Sunday
            pass
        else:
            fields = (found.minute, found.hour, found.day, found.month, found.weekday)
            if set(fields[at].values) == values:
                return text
    return ",".join(map(str, sorted(values)))


def _options(options: Mapping[str, Any], left_out: list[str]) -> dict[str, Any]:
    """Return the options as fields of the task. What it has none for is added to `left_out`."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name == "time_limit" and value is not None:
            found["timeout_seconds"] = value
        elif name == "queue" and value in _OF_QUEUE:
            found.setdefault("priority", _OF_QUEUE[value].value)
        elif name == "priority" and value in _PRIORITIES:
            found["priority"] = _PRIORITIES[value].value
        elif name in _VALUES and value is not None:
            left_out.append(f"option {name}: {value} is none of {', '.join(map(str, _VALUES[name]))}")
        elif value is not None:
            left_out.append(f"option {name}")
    return found
