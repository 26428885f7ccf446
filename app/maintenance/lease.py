"""The lease of the leading process: one row with a time limit, renewed at each pass."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.db.rows import changed_rows
from app.db.session import transaction
from app.db.statements.assigning import assign
from app.db.statements.upserting import upsert
from app.ddl.base import Base
from app.ddl.clock import NOW
from app.models.maintenance import LEASE_ROW, MaintenanceLease

_LEASES = Base.metadata.tables[MaintenanceLease.__tablename__]


@dataclass(frozen=True)
class Lease:
    """What the leader knows at the start of a pass."""

    may_rescue: bool


def acquire(db: Session, me: UUID, settings: Settings) -> Lease | None:
    """Take or renew the lease; None while another process holds it.

    After a third of the workers' lease without a renewal, the database or all processes were away, and every heartbeat
    is stale. Rescuing then waits for one lease, in which living workers send a heartbeat.
    """
    with transaction(db):
        may_rescue = _take_lease(
            db,
            me,
            timedelta(seconds=settings.maintenance_lease_seconds),
            timedelta(seconds=settings.worker_lease_seconds),
        )
    return None if may_rescue is None else Lease(may_rescue)


def release(db: Session, me: UUID) -> None:
    """Let another process take the lease at once."""
    with transaction(db):
        db.execute(update(MaintenanceLease).where(MaintenanceLease.holder == me).values({"expires_at": NOW}))


def _take_lease(db: Session, me: UUID, lease: timedelta, rescue_pause: timedelta) -> bool | None:
    """Take or renew the lease for the time `lease`; None while another process holds it.

    After a gap of a third of `rescue_pause` without a renewal, and in a new row, rescuing waits for `rescue_pause`.
    Returns whether rescuing is allowed now.
    """
    row = _LEASES.c
    # At its very end too: SQLite tells milliseconds, and a release ends the lease at once.
    mine = (row.holder == me) | (row.expires_at <= NOW)
    # Read first, without a lock: most processes stand by.
    is_mine = db.execute(select(mine).where(row.id == LEASE_ROW)).scalar_one_or_none()
    if is_mine is None:
        now = db.execute(select(NOW)).scalar_one()
        first = {"id": LEASE_ROW, "holder": me, "expires_at": now + lease, "rescue_after": now + rescue_pause}
        upsert(db, _LEASES, [first])
    elif not is_mine:
        return None
    gap = row.renewed_at < NOW - rescue_pause / 3
    renewed = {
        "holder": me,
        "renewed_at": NOW,
        "expires_at": NOW + lease,
        "rescue_after": case((gap, NOW + rescue_pause), else_=row.rescue_after),
    }
    renewal = assign(update(_LEASES).where(row.id == LEASE_ROW, mine), renewed)
    if not changed_rows(db.execute(renewal)):
        return None
    return db.execute(select(row.rescue_after <= NOW).where(row.id == LEASE_ROW)).scalar_one()
