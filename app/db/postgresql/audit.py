"""Deletes old audit records: for the owner of the table alone, who lifts its protection within one transaction."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.db.rows import changed_rows

# Nobody else sees the table without its protection: ALTER TABLE keeps other writers waiting until the commit.
_UNPROTECT = (
    text("SET LOCAL lock_timeout = '5s'"),
    text("ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only"),
    text("GRANT DELETE ON audit_events TO CURRENT_USER"),
)
_PROTECT = (
    text("REVOKE DELETE ON audit_events FROM CURRENT_USER"),
    text("ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only"),
)
_DELETE = text("""
DELETE FROM audit_events WHERE id IN (SELECT id FROM audit_events WHERE at < :before ORDER BY at LIMIT :limit)
""")
_COUNT = text("SELECT count(*) FROM audit_events WHERE at < :before")
_MOMENT = text("SELECT now() - :age")
_ROLE = text("SELECT current_user")


def moment(db: Session, age: timedelta) -> datetime:
    """Return the time so long ago, by the database's clock."""
    found: datetime = db.execute(_MOMENT, {"age": age}).scalar_one()
    return found.astimezone(UTC)


def role(db: Session) -> str:
    """Return the database role of this session."""
    return str(db.execute(_ROLE).scalar_one())


def count_before(db: Session, before: datetime) -> int:
    """Return how many records are older."""
    return int(db.execute(_COUNT, {"before": before}).scalar_one())


def delete_before(db: Session, before: datetime, limit: int) -> int:
    """Delete the oldest records before this time, at most `limit`. Returns how many.

    Raises ProgrammingError (insufficient privilege) for every role but the owner of the table.
    """
    for statement in _UNPROTECT:
        db.execute(statement)
    deleted = changed_rows(db.execute(_DELETE, {"before": before, "limit": limit}))
    for statement in _PROTECT:
        db.execute(statement)
    return deleted
