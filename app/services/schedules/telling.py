"""Tells the receivers of webhooks of skipped times (`schedule.skipped`), in the transaction that skips them."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models.schedule import Schedule
from app.models.webhook import EventType
from app.schemas.schedule import ScheduleRead
from app.services.schedules.runs import Run
from app.services.webhooks import recording
from app.services.webhooks.recording import Event


def tell_skips(db: Session, runs: Sequence[Run]) -> None:
    """Record one event for each schedule of which some of these times, all of one user, were skipped.

    The schedules' rows are written already: `data` is the schedule as GET shows it from now on.
    """
    ids = {run.schedule.id for run in runs if run.skipped is not None}
    if not ids:
        return
    user_id = runs[0].schedule.user_id
    endpoints = recording.find_endpoints(db, user_id, EventType.SCHEDULE_SKIPPED)
    if endpoints:
        found = select(Schedule).where(Schedule.id.in_(ids)).order_by(Schedule.id)
        skipped = db.scalars(found.execution_options(populate_existing=True)).all()
        recording.record_events(
            db, user_id, EventType.SCHEDULE_SKIPPED, endpoints, [_event_of(each) for each in skipped]
        )


def _event_of(schedule: Schedule) -> Event:
    return Event(
        ScheduleRead.model_validate(schedule).model_dump(mode="json"),
        schedule.task.get("task_type"),
        schedule.celery_task_name,
        {*schedule.tags, *schedule.task.get("tags", ())},
    )
