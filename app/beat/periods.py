"""Beat's schedule in the database: when an entry fired last, and which beat fires it next."""

from datetime import datetime, timedelta

from sqlalchemy import literal, select, update
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements.expressions import greatest
from app.db.statements.writes import changed_rows, upsert
from app.ddl.clock import NOW
from app.ddl.columns import Base
from app.models.worker import Period

_MICROSECOND = timedelta(microseconds=1)
_TABLE = Base.metadata.tables[Period.__tablename__]


def last_fired(db: Session, name: str) -> tuple[datetime, datetime]:
    """Return when the entry fired last (a new one: now), and the present time, both by the database's clock."""
    query = select(Period.fired_at, NOW).where(Period.name == name)
    with transaction(db):
        row = db.execute(query).one_or_none()
        if row is None:
            upsert(db, _TABLE, [{"name": name}])
            row = db.execute(query).one()
    return row[0], row[1]


def seconds_since_fired(db: Session) -> dict[str, float]:
    """Return how many seconds ago each entry fired last; a new one counts from when a beat first saw it."""
    with transaction(db):
        rows = db.execute(select(Period.name, Period.fired_at, NOW)).all()
    return {name: (now - fired_at).total_seconds() for name, fired_at, now in rows}


def take(db: Session, name: str, fired_at: datetime) -> datetime | None:
    """Fire the period that follows `fired_at`. Returns the new time to one caller, None to all others."""
    # Another time than before also within a millisecond, which is all that SQLite's clock tells.
    later = greatest(NOW, literal(fired_at + _MICROSECOND, Period.fired_at.type))
    statement = update(Period).where(Period.name == name, Period.fired_at == fired_at).values({"fired_at": later})
    with transaction(db):
        if not changed_rows(db.execute(statement.execution_options(synchronize_session=False))):
            return None
        return db.scalar(select(Period.fired_at).where(Period.name == name))


def give_back(db: Session, name: str, taken_at: datetime, fired_at: datetime) -> bool:
    """Make a period due again that could not be sent. False when a later one has fired since."""
    statement = update(Period).where(Period.name == name, Period.fired_at == taken_at).values({"fired_at": fired_at})
    with transaction(db):
        return changed_rows(db.execute(statement)) > 0
