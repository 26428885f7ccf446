"""The nominal times of stored schedules."""

from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.ddl.clock import STATEMENT_TIME
from app.errors import FieldError, InvalidSchedule
from app.models.schedule import Schedule
from app.schedules import zones
from app.schedules.times import Timing, jitter, problems
from app.schedules.zones import InvalidTiming

# What decides the times.
TIMING = ("cron", "every_seconds", "timezone", "start_at", "end_at")
# A cron line without `start_at` has times in the past, which a backfill may want.
_ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)


class Timed(Protocol):
    """What has the fields of TIMING."""

    cron: str | None
    every_seconds: float | None
    timezone: str
    start_at: datetime | None
    end_at: datetime | None


def timing_of(of: Timed) -> Timing:
    """Return what decides the times. Methods of it raise InvalidTiming where the zone is gone."""
    return Timing(of.cron, of.every_seconds, of.timezone, of.start_at or _ALWAYS, of.end_at)


def check_timing(of: Timed, *, starts_now: bool = False) -> None:
    """Raise InvalidSchedule, which names the fields, for a timing that no schedule can have: it has a time to come.

    By this process's clock: a line that has no time within the decades that are looked at has none. `starts_now` as in
    `problems`.
    """
    if errors := [field_error(each) for each in problems(timing_of(of), datetime.now(UTC), starts_now=starts_now)]:
        raise InvalidSchedule(errors=errors)


def field_error(error: InvalidTiming) -> FieldError:
    return {"loc": [error.field], "msg": error.message, "type": "timing"}


def now_of(db: Session) -> datetime:
    """Return the time of the database's clock."""
    moment: datetime = db.execute(sa.select(STATEMENT_TIME)).scalar_one()
    return moment


def first_after(timing: Timing, instant: datetime) -> datetime | None:
    """Return the next time, None if there is none any more."""
    return next(iter(timing.after(instant, 1)), None)


def next_columns(schedule: Schedule, timing: Timing, now: datetime) -> dict[str, Any]:
    """Return the columns that say when it is next, for a schedule that is changed now.

    `next_run_at` is a time to come, also while one of the past is still to be dealt with.
    """
    columns: dict[str, Any] = {"next_run_at": None, "due_at": None, "tzdata": zones.version()}
    if schedule.paused:
        return columns
    due = first_after(timing, schedule.done_until)
    following = due if due is None or due > now else first_after(timing, now)
    return columns | {"next_run_at": following, "due_at": due}


def start_of(schedule_id: UUID, time: datetime, jitter_seconds: float) -> datetime:
    """Return when the task of a nominal time starts."""
    return time + jitter(schedule_id, time, jitter_seconds) if jitter_seconds else time


def whole_second(moment: datetime) -> datetime:
    """Return the begin of the second: a schedule's own start has no fraction."""
    return moment - timedelta(microseconds=moment.microsecond)
