"""The tasks of schedules: their nominal times, the request that is stored, and the row for one time."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.catalogue import catalogue, redact_args
from app.core.redaction import MASK, redact
from app.core.validation_errors import errors_of_model
from app.ddl.clock import STATEMENT_TIME
from app.errors import FieldError, InvalidInput, InvalidSchedule, InvalidTask
from app.models.schedule import Schedule
from app.schedules import zones
from app.schedules.times import Timing, jitter, problems
from app.schedules.zones import InvalidTiming
from app.schemas.schedule import NOT_OF_SCHEDULES, ScheduledTask
from app.services.tasks import task_edits
from app.services.tasks.new_rows import NewTask, rows_of
from app.services.tasks.task_edits import SCHEDULED_FOR

# What decides the times.
TIMING = ("cron", "every_seconds", "timezone", "start_at", "end_at")
# A cron line without `start_at` has times in the past, which a backfill may want.
_ALWAYS_BEGUN = datetime(1970, 1, 1, tzinfo=UTC)


class Timed(Protocol):
    """What has the fields of TIMING."""

    cron: str | None
    every_seconds: float | None
    timezone: str
    start_at: datetime | None
    end_at: datetime | None


def timing_of(of: Timed) -> Timing:
    """Return what decides the times. Methods of it raise InvalidTiming where the zone is gone."""
    return Timing(of.cron, of.every_seconds, of.timezone, of.start_at or _ALWAYS_BEGUN, of.end_at)


def check_timing(of: Timed, *, starts_now: bool = False) -> None:
    """Raise InvalidSchedule, which names the fields, for a timing that no schedule can have: it has a time to come.

    By this process's clock: a line that has no time within the decades that are looked at has none. `starts_now` as in
    `problems`.
    """
    if errors := [timing_error(each) for each in problems(timing_of(of), datetime.now(UTC), starts_now=starts_now)]:
        raise InvalidSchedule(errors=errors)


def timing_error(error: InvalidTiming) -> FieldError:
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
    columns: dict[str, Any] = {"next_run_at": None, "due_at": None, "tzdata": zones.tzdata_version()}
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


# -- The task that a schedule makes: the request that is stored, and the row of it for one nominal time ----------------

_SECRETS = ("args", "kwargs", "metadata")


def stored_request(wanted: ScheduledTask) -> dict[str, Any]:
    """Return the request as it is stored: with the fields that the client named."""
    fields = wanted.model_dump(mode="json", exclude_unset=True)
    return {name: value for name, value in fields.items() if name not in NOT_OF_SCHEDULES}


def time_text(time: datetime) -> str:
    """Return a time as answers show it (RFC 3339)."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def row_for(schedule: Schedule, time: datetime, *, jittered: bool = True) -> NewTask:
    """Return the row of the task for a nominal time.

    Raises InvalidTask, UnknownTask, InvalidArguments where the request does not fit the task any more.
    """
    start = start_of(schedule.id, time, schedule.jitter_seconds if jittered else 0)
    return _row_of_request(
        schedule.task, schedule.user_id, schedule.id, time, {} if start == time else {"run_at": start}
    )


def is_made_alone(schedule: Schedule) -> bool:
    """Return whether its task has a key or a limit, which may refuse it for a reason of its own."""
    kind = catalogue().get(schedule.celery_task_name)
    return bool({"unique_key", "limit"} & schedule.task.keys()) or (kind is not None and kind.limit is not None)


def check_request(task: dict[str, Any], user_id: UUID, schedule_id: UUID, now: datetime) -> NewTask:
    """Check a request as a submit does, and return the row that it would make now.

    Raises InvalidTask, UnknownTask, InvalidArguments, whose fields stand below `task`.
    """
    try:
        return _row_of_request(task, user_id, schedule_id, now, {})
    except InvalidInput as error:
        raise error.below("task") from None


def changed_task(schedule: Schedule, changes: dict[str, Any], *, by_owner: bool) -> ScheduledTask:
    """Return the stored request with these fields replaced; None takes a field out. A `***` keeps its secret.

    `by_owner` as in `task_edits.restored_changes`. Raises InvalidTask, whose fields stand below `task`.
    """
    before = {"args": [], "kwargs": {}, "metadata": {}, "webhook_url": None, **schedule.task}
    try:
        values = {**schedule.task, **_restored_fields(before, changes, by_owner=by_owner)}
        if values.get("unique_key") is None and "on_conflict" not in changes:
            values.pop("on_conflict", None)
        return ScheduledTask.model_validate({name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        raise InvalidTask(errors=errors_of_model(ScheduledTask, error)).below("task") from None
    except InvalidTask as error:
        raise error.below("task") from None


def _restored_fields(before: dict[str, Any], changes: dict[str, Any], *, by_owner: bool) -> dict[str, Any]:
    task: Any = SimpleNamespace(**before, metadata_=before["metadata"])
    values = task_edits.restored_changes(task, changes, by_owner=by_owner)
    moves = changes.get("celery_task_name", before["celery_task_name"]) != before["celery_task_name"]
    if moves and not by_owner and _keeps_secret(before, changes, values):
        message = f"{MASK} keeps a hidden value only for the same task: send the value itself"
        raise InvalidTask.at(["celery_task_name"], message, "hidden_value")
    return values


def _keeps_secret(before: dict[str, Any], changes: dict[str, Any], values: dict[str, Any]) -> bool:
    """Return whether a secret that is stored stays, which another task would be given."""
    shown = {
        "args": redact_args(before["celery_task_name"], before["args"]),
        "kwargs": redact(before["kwargs"]),
        "metadata": redact(before["metadata"]),
    }
    return any(values[name] != changes[name] if name in changes else shown[name] != before[name] for name in _SECRETS)


def _row_of_request(
    task: dict[str, Any], user_id: UUID, schedule_id: UUID, time: datetime, more: dict[str, Any]
) -> NewTask:
    metadata = {**task.get("metadata", {}), SCHEDULED_FOR: time_text(time)}
    (row,) = rows_of([{**task, **more, "metadata": metadata}], user_id, schedule_id=schedule_id)
    return row
