"""The statements behind beat's schedule: when an entry fired last, and who fires it next."""

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.models.period import Period
from app.services.execution.transitions import NOW


def last_fired(db: Session, name: str) -> tuple[datetime, datetime]:
    """When the entry fired last (for a new one: now), and what time it is, both by the database's clock."""
    first = insert(Period).values(name=name).on_conflict_do_nothing()
    query = select(Period.fired_at, NOW).where(Period.name == name)
    with transaction(db):
        row = db.execute(query).one_or_none()
        if row is None:
            db.execute(first)
            row = db.execute(query).one()
    return row[0], row[1]


def take(db: Session, name: str, fired_at: datetime) -> datetime | None:
    """Fire the period that follows `fired_at`: what stands there instead for one caller, None for all others."""
    statement = update(Period).where(Period.name == name, Period.fired_at == fired_at).values({"fired_at": NOW})
    with transaction(db):
        return db.scalar(statement.returning(Period.fired_at))


def give_back(db: Session, name: str, taken_at: datetime, fired_at: datetime) -> bool:
    """What was taken could not be sent: the period is due again. False when a later one has been fired since."""
    statement = update(Period).where(Period.name == name, Period.fired_at == taken_at).values({"fired_at": fired_at})
    with transaction(db):
        return db.scalar(statement.returning(Period.name)) is not None
