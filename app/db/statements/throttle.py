"""Counts of the throttle, and the address blocks from which accounts have signed in."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from app.core.engines import MYSQL
from app.db.statements.batches import BY_PRIMARY_KEY, delete_by_key
from app.db.statements.upserting import upsert
from app.ddl.base import Base
from app.ddl.clock import NOW
from app.models.auth import LoginBlock, ThrottleCount

_COUNTS = Base.metadata.tables[ThrottleCount.__tablename__]
_BLOCKS = Base.metadata.tables[LoginBlock.__tablename__]
_ANY_TIME = datetime.max.replace(tzinfo=UTC)
# A count, and the database's time.
_COLUMNS = (ThrottleCount.key, ThrottleCount.number, ThrottleCount.started_at, ThrottleCount.blocked_until, NOW)


class Count(NamedTuple):
    """A stored count: events, the start of its window (or its last event), and until when further ones are refused."""

    number: int
    started_at: datetime
    blocked_until: datetime | None


def _counts_of(rows: Sequence[Any]) -> tuple[dict[str, Count], datetime]:
    """The counts of these rows of _COLUMNS, and the database's time (any time, where there is no count)."""
    return {row.key: Count(*row[1:4]) for row in rows}, max((row[4] for row in rows), default=_ANY_TIME)


def read_counts(db: Session, keys: Collection[str]) -> tuple[dict[str, Count], datetime]:
    """Return the counts that exist under these keys, and the database's time (any time, where there is no count)."""
    return _counts_of(db.execute(select(*_COLUMNS).where(ThrottleCount.key.in_(keys))).all())


def write_counts(db: Session, counts: Mapping[str, Count]) -> None:
    """Store these counts, whose rows are locked."""
    for key, count in counts.items():
        values = {"number": count.number, "started_at": count.started_at, "blocked_until": count.blocked_until}
        db.execute(
            update(ThrottleCount)
            .where(ThrottleCount.key == key)
            .values(values)
            .execution_options(synchronize_session=False)
        )


def has_signed_in(db: Session, user_id: UUID, digests: Sequence[bytes]) -> bool:
    """Return whether the account has signed in from an address block with one of these digests."""
    found = select(exists().where(LoginBlock.user_id == user_id, LoginBlock.block.in_(digests)))
    return bool(db.scalar(found))


def lock_counts(db: Session, keys: Collection[str]) -> tuple[dict[str, Count], datetime]:
    """Lock the counts until the transaction ends. Returns them, and the database's time.

    A count that did not exist starts at zero. The keys are sorted, so that two calls never deadlock.
    """
    new = sorted(set(keys))
    # An assignment of what is there: it locks the row on every engine, so that nobody deletes it before it is read.
    upsert(db, _COUNTS, [{"key": key, "failures": 0} for key in new], lambda _, count: {"key": count.key})
    found = select(*_COLUMNS).where(ThrottleCount.key.in_(new)).with_hint(_COUNTS, BY_PRIMARY_KEY, MYSQL)
    return _counts_of(db.execute(found.with_for_update()).all())


def keys_after(db: Session, start: str) -> Sequence[str]:
    """Return the keys that start with this text. It reads all of them."""
    return db.scalars(select(ThrottleCount.key).where(ThrottleCount.key.startswith(start, autoescape=True))).all()


def delete_counts(db: Session, keys: Collection[str]) -> None:
    """Delete the counts under these keys."""
    statement = delete_by_key(ThrottleCount).where(ThrottleCount.key.in_(keys))
    db.execute(statement.execution_options(synchronize_session=False))


def remember_block(db: Session, user_id: UUID, digest: bytes) -> None:
    """Note the time at which the account signed in from this address block."""
    upsert(db, _BLOCKS, [{"user_id": user_id, "block": digest}], lambda *_: {"signed_in_at": NOW})
