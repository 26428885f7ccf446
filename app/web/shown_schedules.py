"""A schedule as pages of other things show it."""

from contextlib import suppress
from uuid import UUID

from sqlalchemy.orm import Session

from app.errors import ScheduleNotFound
from app.services.schedule_service import schedule_service


def name_of(db: Session, schedule_id: UUID | None) -> str | None:
    """Return the name of a schedule; None without one, or where it is deleted."""
    if schedule_id is None:
        return None
    with suppress(ScheduleNotFound):
        return schedule_service.get_schedule(db, schedule_id).name
    return None
