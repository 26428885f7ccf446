"""Who leads: one row with a time limit, renewed at each pass."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import case, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.session import transaction
from app.models.keeper import KeeperLease
from app.services.execution.transitions import NOW

ROW = 1


@dataclass(frozen=True)
class Lease:
    """What the leader knows at the start of a pass."""

    may_rescue: bool
    broker_epoch: str | None


def acquire(db: Session, me: UUID) -> Lease | None:
    """Take or renew the lease; None when another holds it.

    When nobody has renewed it for a third of the workers' lease, the database was away or everything was: every
    heartbeat is stale then, and rescuing waits until living workers have had one lease to beat again.
    """
    settings = get_settings()
    until = NOW + timedelta(seconds=settings.keeper_lease_seconds)
    workers = timedelta(seconds=settings.worker_lease_seconds)
    mine = (KeeperLease.holder == me) | (KeeperLease.expires_at < NOW)
    first = insert(KeeperLease).values(id=ROW, holder=me, expires_at=until, rescue_after=NOW + workers)
    statement = first.on_conflict_do_update(
        index_elements=[KeeperLease.id],
        set_={
            "holder": me,
            "renewed_at": NOW,
            "expires_at": until,
            "rescue_after": case(
                (KeeperLease.renewed_at < NOW - workers / 3, NOW + workers), else_=KeeperLease.rescue_after
            ),
        },
        where=mine,
    ).returning(KeeperLease.rescue_after <= NOW, KeeperLease.broker_epoch)
    with transaction(db):
        # The look before: ON CONFLICT locks the row even where it changes nothing, and most processes stand by.
        held = db.execute(select(~mine).where(KeeperLease.id == ROW)).scalar_one_or_none()
        row = None if held else db.execute(statement).one_or_none()
    return None if row is None else Lease(*row)


def release(db: Session, me: UUID) -> None:
    """Let the next one take over at once."""
    with transaction(db):
        db.execute(update(KeeperLease).where(KeeperLease.holder == me).values({"expires_at": NOW}))


def keep_epoch(db: Session, epoch: str) -> None:
    """Remember the broker's epoch, once everything that an earlier one held is due again."""
    with transaction(db):
        db.execute(update(KeeperLease).where(KeeperLease.id == ROW).values({"broker_epoch": epoch}))
