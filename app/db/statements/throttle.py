"""Counts of the throttle: rows that are inserted where they are missing, and locked."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.engines import MYSQL
from app.db.base import Base
from app.db.clock import NOW
from app.db.every_engine.throttle import COLUMNS, Count, counts_of
from app.db.statements.batches import BY_PRIMARY_KEY, delete_by_key
from app.db.statements.upserting import upsert
from app.models.login import LoginBlock, ThrottleCount

_COUNTS = Base.metadata.tables[ThrottleCount.__tablename__]
_BLOCKS = Base.metadata.tables[LoginBlock.__tablename__]


def lock_counts(db: Session, keys: Collection[str]) -> tuple[dict[str, Count], datetime]:
    """Lock the counts until the transaction ends. Returns them, and the database's time.

    A count that did not exist starts at zero. The keys are sorted, so that two calls never deadlock.
    """
    new = sorted(set(keys))
    upsert(db, _COUNTS, [{"key": key, "failures": 0} for key in new])
    found = select(*COLUMNS).where(ThrottleCount.key.in_(new)).with_hint(_COUNTS, BY_PRIMARY_KEY, MYSQL)
    return counts_of(db.execute(found.with_for_update()).all())


def delete_counts(db: Session, keys: Collection[str]) -> None:
    """Delete the counts under these keys."""
    statement = delete_by_key(ThrottleCount).where(ThrottleCount.key.in_(keys))
    db.execute(statement.execution_options(synchronize_session=False))


def remember_block(db: Session, user_id: UUID, digest: bytes) -> None:
    """Note the time at which the account signed in from this address block."""
    upsert(db, _BLOCKS, [{"user_id": user_id, "block": digest}], lambda *_: {"signed_in_at": NOW})
