"""Tells the receivers of webhooks of skipped times (`schedule.skipped`), in the transaction that skips them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.db.statements import schedules as statements
from app.models.schedule import Schedule
from app.models.webhook import EventType
from app.services.schedules.runs import Run
from app.services.tasks.quotas import quotas
from app.services.webhooks import new_deliveries
from app.services.webhooks.new_deliveries import Event

# Of one schedule: what is skipped each second would else be an event a second, with a row for each endpoint.
EVERY = timedelta(minutes=1)


def tell_skips(db: Session, runs: Sequence[Run], now: datetime) -> None:
    """Record one event for each schedule of which some of these times, all of one user, were skipped.

    None of a schedule that had one within EVERY, and none while the user keeps more than the quota allows: deliveries
    count there, and no call deletes them.
    """
    skipped = {run.schedule.id: run.schedule for run in runs if run.skipped is not None}
    events = [_event_of(each) for each in skipped.values() if _is_to_tell(each, now)]
    if not events:
        return
    user_id = runs[0].schedule.user_id
    endpoints = new_deliveries.find_endpoints(db, user_id, EventType.SCHEDULE_SKIPPED)
    if not endpoints or quotas.keeps_too_much(db, user_id):
        return
    told = new_deliveries.record_events(db, user_id, EventType.SCHEDULE_SKIPPED, endpoints, events)
    statements.write_told(db, [event.schedule_id for event in told], now)


def _is_to_tell(schedule: Schedule, now: datetime) -> bool:
    """Also where the clock was put back."""
    return schedule.skip_told_at is None or not schedule.skip_told_at <= now < schedule.skip_told_at + EVERY


def _event_of(schedule: Schedule) -> Event:
    return Event(
        schedule.id,
        schedule.task.get("task_type"),
        schedule.celery_task_name,
        {*schedule.tags, *schedule.task.get("tags", ())},
    )
