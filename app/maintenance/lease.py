"""The lease of the leading process: one row with a time limit, renewed at each pass."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.db.clock import NOW
from app.db.session import transaction
from app.db.sql import maintenance
from app.models.maintenance import MaintenanceLease


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
        may_rescue = maintenance.take_lease(
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
