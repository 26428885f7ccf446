"""Computes the next times of schedules anew, once the time zones are of another version."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import schedules as statements
from app.models.schedule import Schedule
from app.schedules import zones
from app.schedules.zones import InvalidTiming
from app.services.schedules.firing import pause_broken
from app.services.schedules.timing import next_columns, now_of, timing_of

BATCH = 200


def rezone(db: Session, version: str) -> int:
    """Compute the next time of some schedules for which another version of the zones was used. Returns how many."""
    with transaction(db):
        now = now_of(db)
        ids = statements.with_other_zones(db, version, BATCH)
        found = db.scalars(select(Schedule).where(Schedule.id.in_(ids)).execution_options(populate_existing=True)).all()
    columns = {}
    for schedule in found:
        try:
            zones.zone_info(schedule.timezone)
            columns[schedule.id] = next_columns(schedule, timing_of(schedule), now)
        except InvalidTiming as error:
            if not schedule.paused:
                pause_broken(db, schedule, error)
            else:  # it says so when it is resumed
                columns[schedule.id] = {"tzdata": version}
    with transaction(db):
        locked = statements.lock(db, [schedule.id for schedule in found], paused_too=True)
        for schedule in found:
            unchanged = locked.get(schedule.id)
            if schedule.id in columns and unchanged == (schedule.version, schedule.done_until, schedule.held_for):
                statements.write(db, schedule.id, **columns[schedule.id])
    return len(found)
