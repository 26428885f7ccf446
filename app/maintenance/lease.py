"""The lease of the leading process: one row with a time limit, renewed at each pass.

A beat takes it from a worker at once, a worker takes one that has run out: so a worker leads while no beat lives.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Update, bindparam, case, select, update
from sqlalchemy.orm import Session

from app.core.config import Settings
from app.db.session import transaction
from app.db.sql import prepared
from app.db.statements.writes import assign, changed_rows, upsert
from app.ddl.clock import NOW
from app.ddl.columns import Base
from app.models.worker import LEASE_ROW, MaintenanceLease

_LEASES = Base.metadata.tables[MaintenanceLease.__tablename__]
_ROW = _LEASES.c
_ME = bindparam("me", type_=_ROW.holder.type)
_AS_BEAT = bindparam("as_beat", type_=Boolean())
# At its very end too: SQLite tells milliseconds, and a release ends the lease at once.
_MAY_TAKE = (_ROW.holder == _ME) | (_ROW.expires_at <= NOW) | (_AS_BEAT & _ROW.beat.is_distinct_from(_ROW.holder))
_READ = select(_MAY_TAKE).where(_ROW.id == LEASE_ROW)
_MAY_RESCUE = select(_ROW.rescue_after <= NOW).where(_ROW.id == LEASE_ROW)


@dataclass(frozen=True)
class Lease:
    """What the leader knows at the start of a pass."""

    may_rescue: bool


def acquire(db: Session, me: UUID, settings: Settings, *, as_beat: bool = False) -> Lease | None:
    """Take or renew the lease; None while another process holds it. `as_beat`: this process is a beat.

    After a third of the workers' lease without a renewal, the database or all processes were away, and every heartbeat
    is stale. Rescuing then waits for one lease, in which living workers send a heartbeat.
    """
    by = {"me": me, "as_beat": as_beat}
    may_take = _may_take(db, by)
    if may_take is False:
        return None
    times = (timedelta(seconds=settings.maintenance_lease_seconds), timedelta(seconds=settings.worker_lease_seconds))
    with transaction(db):
        if may_take is None:
            _insert(db, by, *times)
        may_rescue = _take_lease(db, by, *times)
    return None if may_rescue is None else Lease(may_rescue)


def release(db: Session, me: UUID) -> None:
    """Let another process take the lease at once."""
    with transaction(db):
        db.execute(update(MaintenanceLease).where(MaintenanceLease.holder == me).values({"expires_at": NOW}))


def _may_take(db: Session, by: dict[str, Any]) -> bool | None:
    """Return whether this process may take or renew the lease; None where there is no row yet.

    Without a lock, and in one round trip: most processes stand by, and do no more.
    """
    if db.bind is not None:
        return db.execute(_READ, by).scalar_one_or_none()
    with prepared.prepared_connection() as connection:
        row = connection.execute(_READ, by).one_or_none()
    return None if row is None else bool(row[0])


def _take_lease(db: Session, by: dict[str, Any], lease: timedelta, rescue_pause: timedelta) -> bool | None:
    """Take or renew the lease for the time `lease`; None while another process holds it.

    After a gap of a third of `rescue_pause` without a renewal, and in a new row, rescuing waits for `rescue_pause`.
    Returns whether rescuing is allowed now.
    """
    if not changed_rows(db.execute(_renewal(lease, rescue_pause), by)):
        return None
    return db.execute(_MAY_RESCUE).scalar_one()


def _insert(db: Session, by: dict[str, Any], lease: timedelta, rescue_pause: timedelta) -> None:
    now = db.execute(select(NOW)).scalar_one()
    held = {"holder": by["me"], "beat": by["me"] if by["as_beat"] else None}
    upsert(db, _LEASES, [{"id": LEASE_ROW, **held, "expires_at": now + lease, "rescue_after": now + rescue_pause}])


@cache
def _renewal(lease: timedelta, rescue_pause: timedelta) -> Update:
    gap = _ROW.renewed_at < NOW - rescue_pause / 3
    renewed = {
        "holder": _ME,
        "beat": case((_AS_BEAT, _ME)),
        "renewed_at": NOW,
        "expires_at": NOW + lease,
        "rescue_after": case((gap, NOW + rescue_pause), else_=_ROW.rescue_after),
    }
    return assign(update(_LEASES).where(_ROW.id == LEASE_ROW, _MAY_TAKE), renewed)
