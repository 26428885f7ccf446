"""The statements of beat's schedule: several beats compete for each period."""

from datetime import datetime, timedelta

from sqlalchemy import literal, select, update
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.clock import NOW
from app.db.rows import changed_rows
from app.db.statements.expressions import greatest
from app.db.statements.upserting import upsert
from app.models.period import Period

_MICROSECOND = timedelta(microseconds=1)
_TABLE = Base.metadata.tables[Period.__tablename__]


def add(db: Session, name: str) -> None:
    """Add the entry, which then counts as fired now, unless there is one."""
    upsert(db, _TABLE, [{"name": name}])


def fire(db: Session, name: str, fired_at: datetime) -> datetime | None:
    """Move the entry from `fired_at` to now. Returns its new time to one caller, None to all others."""
    # Another time than before also within a millisecond, which is all that SQLite's clock tells.
    later = greatest(NOW, literal(fired_at + _MICROSECOND, Period.fired_at.type))
    statement = update(Period).where(Period.name == name, Period.fired_at == fired_at).values({"fired_at": later})
    if not changed_rows(db.execute(statement.execution_options(synchronize_session=False))):
        return None
    return db.scalar(select(Period.fired_at).where(Period.name == name))
