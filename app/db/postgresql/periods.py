"""The statements of beat's schedule: several beats compete for each period."""

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.clock import NOW
from app.models.period import Period


def add(db: Session, name: str) -> None:
    """Add the entry, which then counts as fired now, unless there is one."""
    db.execute(insert(Period).values(name=name).on_conflict_do_nothing())


def fire(db: Session, name: str, fired_at: datetime) -> datetime | None:
    """Move the entry from `fired_at` to now. Returns its new time to one caller, None to all others."""
    statement = update(Period).where(Period.name == name, Period.fired_at == fired_at).values({"fired_at": NOW})
    return db.scalar(statement.returning(Period.fired_at))
