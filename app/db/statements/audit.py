"""Deletes old audit records: their protection lets the transaction pass that says so."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, func, or_, select, text
from sqlalchemy.orm import Session

from app.core.engines import MYSQL, POSTGRESQL, SQLITE
from app.db.statements.writes import changed_rows, engine_name
from app.ddl.clock import NOW
from app.ddl.mysql import PRUNES
from app.ddl.sqlite import PRUNING
from app.models.audit import AuditRecord

# To let a transaction pass, and to end that. On SQLite no other transaction sees the row; on MySQL the variable is the
# connection's own. On PostgreSQL only the owner of the table may, and nobody else sees it without its protection: ALTER
# TABLE keeps other writers waiting until the commit.
_LET: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    SQLITE: ([f"INSERT INTO {PRUNING} (id) VALUES (1)"], [f"DELETE FROM {PRUNING}"]),  # noqa: S608  # nosec B608
    MYSQL: ([f"SET {PRUNES} = 1"], [f"SET {PRUNES} = NULL"]),
    POSTGRESQL: (
        [
            "SET LOCAL lock_timeout = '5s'",
            "ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only",
            "GRANT DELETE ON audit_events TO CURRENT_USER",
        ],
        [
            "REVOKE DELETE ON audit_events FROM CURRENT_USER",
            "ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only",
        ],
    ),
}


def moment(db: Session, age: timedelta) -> datetime:
    """Return the time so long ago, by the database's clock."""
    now: datetime = db.execute(select(NOW)).scalar_one()
    return now - age


def role(db: Session) -> str:
    """Return the database user of this session. SQLite has none."""
    return "sqlite" if engine_name(db) == SQLITE else str(db.execute(select(func.current_user())).scalar_one())


def count_before(db: Session, before: datetime) -> int:
    """Return how many records are older."""
    return db.execute(select(func.count()).where(AuditRecord.at < before)).scalar_one()


def delete_before(db: Session, before: datetime, limit: int) -> int:
    """Delete the oldest records before this time, at most `limit`. Returns how many.

    Raises DBAPIError for a database user who may not delete them: on PostgreSQL all but the owner of the table.
    """
    position = (AuditRecord.at, AuditRecord.id)
    older = select(*position).where(AuditRecord.at < before).order_by(*position)
    # Up to the last one to delete, which an index finds: a list of their ids may be too long.
    last = db.execute(older.offset(limit - 1).limit(1)).one_or_none()
    batch = AuditRecord.at < before
    if last is not None:
        at, record_id = last
        batch = and_(AuditRecord.at <= at, or_(AuditRecord.at < at, AuditRecord.id <= record_id))
    with _unprotected(db):
        return changed_rows(db.execute(delete(AuditRecord).where(batch).execution_options(synchronize_session=False)))


@contextmanager
def _unprotected(db: Session) -> Iterator[None]:
    engine, is_done = engine_name(db), False
    begin, end = _LET[engine]
    for statement in begin:
        db.execute(text(statement))
    try:
        yield
        is_done = True
    finally:
        if is_done or engine != POSTGRESQL:  # there the rollback ends it
            for statement in end:
                db.execute(text(statement))
