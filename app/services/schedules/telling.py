"""Tells the receivers of webhooks which times were skipped (`schedule.skipped`), in the transaction that skips them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models.schedule import Schedule
from app.models.webhook import EventType
from app.schemas.schedule import ScheduleRead
from app.services.schedules.runs import Run
from app.services.webhooks import recording


def tell_skips(db: Session, runs: Sequence[Run]) -> None:
    """Record an event for each of these runs, all of one user, that was skipped; several missed times are one.

    The schedules' rows are written already: `data` is the schedule as GET shows it from now on.
    """
    skips = [run for run in runs if run.skipped is not None]
    if not skips or not recording.is_followed(db, skips[0].schedule.user_id, EventType.SCHEDULE_SKIPPED):
        return
    ids = {run.schedule.id for run in skips}
    found = select(Schedule).where(Schedule.id.in_(ids)).execution_options(populate_existing=True)
    schedules = {schedule.id: schedule for schedule in db.scalars(found)}
    for run in skips:
        schedule = schedules[run.schedule.id]
        recording.record_event(
            db,
            schedule.user_id,
            EventType.SCHEDULE_SKIPPED,
            ScheduleRead.model_validate(schedule).model_dump(mode="json"),
            task_type=schedule.task.get("task_type"),
            celery_task_name=schedule.celery_task_name,
            tags={*schedule.tags, *schedule.task.get("tags", ())},
        )
