"""What a new schedule is, and what a change makes of it: its columns."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import inspect

from app.core.ids import new_id
from app.core.moments import MICROSECOND
from app.core.redaction import MASK, holds_mask, restore_secrets
from app.core.validation_errors import Model, parsed
from app.errors import InvalidSchedule
from app.models.schedule import Schedule
from app.schemas.schedule import ScheduleCreate, SchedulePatch
from app.services.schedules.scheduled_tasks import (
    TIMING,
    changed_task,
    check_timing,
    next_columns,
    stored_request,
    timing_of,
    whole_second,
)

_ATTRIBUTES = tuple(attribute.key for attribute in inspect(Schedule).column_attrs)
# The columns that take a field of the request as it is.
_PLAIN = ("name", *TIMING, "jitter_seconds", "overlap", "catch_up", "catch_up_seconds", "paused", "tags")


def parse_fields(model: type[Model], fields: Mapping[str, Any]) -> Model:
    """Return the fields as this model. Raises InvalidSchedule, which names the invalid fields."""
    return parsed(model, fields, InvalidSchedule)


def new_schedule(wanted: ScheduleCreate, user_id: UUID, now: datetime) -> Schedule:
    """Return the row of a new schedule: times before now are not missed. Raises InvalidSchedule."""
    task = stored_request(wanted.task)
    schedule = Schedule(
        id=new_id(),
        user_id=user_id,
        task=task,
        celery_task_name=task["celery_task_name"],
        metadata_=wanted.metadata,
        # The second has not begun: an interval fires at its own start.
        done_until=whole_second(now) - MICROSECOND,
        created_at=now,
        updated_at=now,
        **{name: getattr(wanted, name) for name in _PLAIN},
    )
    _begin(schedule, now)
    return schedule


def changed_schedule(before: Schedule, changes: Mapping[str, Any], now: datetime, *, by_owner: bool) -> Schedule:
    """Return a copy of a schedule with what a PATCH says, and the times that follow. `write_changes` has it written.

    Raises InvalidSchedule, InvalidTask.
    """
    wanted = parse_fields(SchedulePatch, changes)
    schedule = Schedule(**{name: getattr(before, name) for name in _ATTRIBUTES})
    named = {name: getattr(wanted, name) for name in _PLAIN if name in wanted.model_fields_set}
    was_over = schedule.next_run_at is None and not schedule.paused
    if wanted.task is not None:
        fields = wanted.task.model_dump(mode="json", exclude_unset=True)
        schedule.task = stored_request(changed_task(schedule, fields, by_owner=by_owner))
        schedule.celery_task_name = schedule.task["celery_task_name"]
    if wanted.metadata is not None:
        schedule.metadata_ = _restored(schedule.metadata_, wanted.metadata)
    pausing = named.pop("paused", schedule.paused)
    _exchange(schedule, named)
    moved = {name for name in TIMING if name in named and named[name] != getattr(schedule, name)}
    for name, value in named.items():
        setattr(schedule, name, value)
    if moved - {"end_at"} or (moved and was_over):
        _begin(schedule, now)
    elif moved:
        check_timing(schedule)
    if pausing != schedule.paused:
        set_paused(schedule, now, paused=pausing)
    elif moved:
        _set_next(schedule, now)
    schedule.updated_at = now
    schedule.version += 1
    return schedule


def write_changes(schedule: Schedule, changed: Schedule) -> None:
    """Set what differs in the copy. Only now: what is refused must not be written by the caller's commit."""
    for name in _ATTRIBUTES:
        if getattr(schedule, name) != getattr(changed, name):
            setattr(schedule, name, getattr(changed, name))


def set_paused(schedule: Schedule, now: datetime, *, paused: bool) -> None:
    """Pause, or resume: the times of the pause count as missed. Raises InvalidSchedule where its zone is gone."""
    if not paused:
        check_timing(schedule)
        schedule.resumed_at = now
        schedule.pause_reason = None
    schedule.paused = paused
    _set_next(schedule, now)


def _begin(schedule: Schedule, now: datetime) -> None:
    """Have the times count from now on, also where the clock was ahead. See `runs.take_back`."""
    done_until, schedule.done_until = min(schedule.done_until, now), now
    if schedule.held_for is not None and schedule.held_for > now:
        schedule.held_for = None
    starts_now = schedule.every_seconds is not None and schedule.start_at is None
    if starts_now:
        schedule.start_at = whole_second(now)
        # At once, unless this second is dealt with: it has its row.
        schedule.done_until = max(schedule.start_at - MICROSECOND, done_until)
    check_timing(schedule, starts_now=starts_now)
    _set_next(schedule, now)


def _set_next(schedule: Schedule, now: datetime) -> None:
    for name, value in next_columns(schedule, timing_of(schedule), now).items():
        setattr(schedule, name, value)


def _exchange(schedule: Schedule, named: dict[str, Any]) -> None:
    """A cron line takes the place of an interval, and the other way round. Raises InvalidSchedule for both, or none."""
    if named.get("cron") is not None:
        named.setdefault("every_seconds", None)
    elif named.get("every_seconds") is not None:
        named.setdefault("cron", None)
    cron, every = (named.get(name, getattr(schedule, name)) for name in ("cron", "every_seconds"))
    if (cron is None) == (every is None):
        raise InvalidSchedule.at(["cron"], "Send exactly one of cron and every_seconds", "one_timing")


def _restored(before: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    metadata: dict[str, Any] = restore_secrets(before, sent)
    if holds_mask(metadata):
        message = f"{MASK} replaces a hidden value, but none is stored here: send the value itself"
        raise InvalidSchedule.at(["metadata"], message, "hidden_value")
    return metadata
