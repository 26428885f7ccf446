"""A schedule as pages show it: its name on those of other things, and its state on its own and in the list."""

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app.errors import ScheduleNotFound
from app.models.schedule import Schedule
from app.services.schedules import runs
from app.services.schedules.runs import Outcome
from app.services.schedules.service import schedule_service

# Runs by which a schedule is judged, and of the picture in a row of the list.
LAST_RUNS = 30
# What a schedule is in that the service has paused: its own reason is shown.
_PAUSED = Outcome("paused")


class Health(NamedTuple):
    """The kinds of the last outcomes of a schedule, what is wrong with them, and the error of the task that failed."""

    outcomes: list[str]
    trouble: Outcome | None
    error: str | None


def name_of(db: Session, schedule_id: UUID | None) -> str | None:
    """Return the name of a schedule; None without one, or where it is deleted."""
    if schedule_id is None:
        return None
    with suppress(ScheduleNotFound):
        return schedule_service.get_schedule(db, schedule_id).name
    return None


def health_of(db: Session, schedules: Sequence[Schedule]) -> dict[UUID, Health]:
    """Return whether each of these schedules works, by its id."""
    last = runs.last_outcomes(db, [schedule.id for schedule in schedules], LAST_RUNS)
    troubles = {schedule.id: _trouble_of(schedule, last[schedule.id]) for schedule in schedules}
    errors = runs.errors_of(db, {each.task_id for each in troubles.values() if each and each.task_id})
    return {
        schedule_id: Health(
            [each.kind for each in last[schedule_id]],
            trouble,
            errors.get(trouble.task_id) if trouble and trouble.task_id else None,
        )
        for schedule_id, trouble in troubles.items()
    }


def _trouble_of(schedule: Schedule, outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return why the schedule does not work. One that its owner has paused, or that has ended, is to do nothing."""
    if schedule.pause_reason is not None:
        return _PAUSED
    return None if schedule.next_run_at is None else runs.trouble_of(outcomes)
