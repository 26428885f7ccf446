"""The entries of `beat_schedule` as schedules of the service: what a schedule cannot have, and the import of each once.

`python -m app import-beat-schedule` runs it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from celery import Celery
from celery.schedules import crontab, schedule, solar
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.nearest import did_you_mean
from app.db.session import transaction
from app.db.statements import workers
from app.errors import InvalidInput, ServiceError
from app.messaging.application import MESSAGE_PRIORITY, QUEUE_OF, QUEUES, celery_app
from app.models.schedule import Schedule
from app.models.user import User
from app.schedules.cron_lines import PARTS, Part, parse_line
from app.schedules.words import in_words
from app.schedules.zones import InvalidTiming
from app.schemas.schedule import ScheduleCreate
from app.services.accounts.users import Rights
from app.services.operations.worker_service import worker_lease
from app.services.schedules import definitions, scheduled_tasks
from app.services.schedules.scheduled_tasks import now_of, timing_of
from app.services.schedules.service import ScheduleFilter, schedule_service
from app.services.tasks.permissions import check_may_create

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
    yield Source(celery_app.conf.beat_schedule, str(celery_app.conf.timezone or "UTC"))
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
    texts = [
        _text(part, getattr(value, f"_orig_{name}"), getattr(value, name))
        for part, name in zip(PARTS, _FIELDS, strict=True)
    ]
    if not texts[2].startswith("*") and not texts[4].startswith("*"):
        raise CannotCarryOver("crontab: both day_of_month and day_of_week, of which a cron line needs one alone")
    return " ".join(texts)


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


# -- Makes schedules of the entries of `beat_schedule`, each once: `python -m app import-beat-schedule` ----------------

# A schedule that was made of an entry has this tag, and the entry's name in its metadata.
TAG, ENTRY = "beat", "beat_entry"
_PAGE = 200


class Outcome(StrEnum):
    """What becomes of an entry."""

    CREATE = "create"
    EXISTS = "exists"
    LEAVE = "leave"


@dataclass(frozen=True)
class PlannedEntry:
    """An entry and what becomes of it.

    text      its times and task in words, the schedule that it has, or why it is left with beat
    left_out  what of it the schedule does not have
    is_known  whether a worker knows its task; True while none runs
    """

    entry: str
    outcome: Outcome
    text: str
    left_out: list[str] = field(default_factory=list)
    is_known: bool = True


def import_entries(
    db: Session, user_id: UUID, sources: Iterable[Source], *, apply: bool, paused: bool = False
) -> list[PlannedEntry]:
    """Return what becomes of each entry, and with `apply` make the schedules: all, or none where one raises an error.

    Entries that have one already, whatever was changed about it, make no second one. An entry that cannot be carried
    over is left. Raises TooManySchedules.
    """
    with transaction(db):
        # Two imports at a time would each find none of the other's.
        found = select(User.id, User.role, User.max_priority).where(User.id == user_id).with_for_update()
        owner = db.execute(found).one()
        imported = {str(schedule.metadata_.get(ENTRY)): schedule for schedule in _imported(db, user_id)}
        now = now_of(db)
        served = [worker.task_names for worker in workers.live(db, worker_lease())]
        seen: set[str] = set()
        lines: list[PlannedEntry] = []
        for source in sources:
            for name, entry in source.entries.items():
                wanted = None
                if name in seen:
                    line = PlannedEntry(
                        name, Outcome.LEAVE, "another beat_schedule has an entry of this name too: rename one"
                    )
                elif name in imported:
                    line = PlannedEntry(
                        name, Outcome.EXISTS, f"has {_state(imported[name])} schedule {imported[name].id}"
                    )
                else:
                    line, wanted = _planned(name, entry, source.timezone, owner, now)
                    line = replace(line, is_known=wanted is None or _is_known(wanted.task.celery_task_name, served))
                seen.add(name)
                lines.append(line)
                if wanted is not None and apply:
                    wanted.paused = paused
                    schedule_service.accept(db, wanted, user_id, rights=_rights(owner), commit=False)
    return lines


def _imported(db: Session, user_id: UUID) -> Iterator[Schedule]:
    cursor = None
    while True:
        found = schedule_service.list_schedules(db, ScheduleFilter(user_id=user_id, tag=TAG), _PAGE, cursor=cursor)
        yield from found.items
        cursor = found.last
        if cursor is None:
            return


def _state(schedule: Schedule) -> str:
    if schedule.paused:
        return "the paused"
    return "the ended" if schedule.next_run_at is None else "the active"


def _is_known(name: str, served: Sequence[Iterable[str] | None]) -> bool:
    """Return whether a live worker knows the task; also True where none runs, or one does not list its tasks."""
    return not served or any(names is None or name in names for names in served)


def _rights(owner: Any) -> Rights:
    return Rights(owner.id, owner.role, owner.max_priority)


def _planned(name: str, entry: Any, timezone: str, owner: Any, now: Any) -> tuple[PlannedEntry, ScheduleCreate | None]:
    """Return what becomes of the entry, and the schedule that it is; checked as when one is made."""
    try:
        converted = convert(name, entry, timezone)
        fields = converted.fields | {"tags": [TAG], "metadata": {ENTRY: name}}
        wanted: ScheduleCreate = definitions.parse_fields(ScheduleCreate, fields)
        schedule = definitions.new_schedule(wanted, owner.id, now)
        scheduled_tasks.check_request(schedule.task, owner.id, schedule.id, now)
        check_may_create([wanted.task], _rights(owner))
    except CannotCarryOver as error:
        return PlannedEntry(name, Outcome.LEAVE, str(error)), None
    except InvalidInput as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))} {each['msg']}".strip() for each in error.errors)
        return PlannedEntry(name, Outcome.LEAVE, told or error.detail), None
    except ServiceError as error:
        return PlannedEntry(name, Outcome.LEAVE, error.detail), None
    words = f"{in_words(timing_of(schedule), 'en')}: {schedule.celery_task_name}"
    return PlannedEntry(name, Outcome.CREATE, words, converted.left_out), wanted
