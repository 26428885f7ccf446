"""Counts of the throttle: rows that are inserted and locked in one statement (ON CONFLICT, RETURNING)."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.clock import NOW, STATEMENT_TIME
from app.db.postgresql.batches import delete_batch
from app.models.login import LoginBlock, ThrottleCount


class Count(NamedTuple):
    """A stored count: events, the start of its window (or its last event), and until when further ones are refused."""

    number: int
    started_at: datetime
    blocked_until: datetime | None


_ANY_TIME = datetime.max.replace(tzinfo=UTC)
_COLUMNS = (
    ThrottleCount.key,
    ThrottleCount.number,
    ThrottleCount.started_at,
    ThrottleCount.blocked_until,
)


def read_counts(db: Session, keys: Collection[str]) -> tuple[dict[str, Count], datetime]:
    """Return the counts that exist under these keys, and the database's time (any time, where there is no count)."""
    rows = db.execute(select(*_COLUMNS, NOW).where(ThrottleCount.key.in_(keys))).all()
    return {row.key: Count(*row[1:4]) for row in rows}, max((row[4] for row in rows), default=_ANY_TIME)


def lock_counts(db: Session, keys: Collection[str]) -> tuple[dict[str, Count], datetime]:
    """Lock the counts until the transaction ends. Returns them, and the database's time.

    A count that did not exist starts at zero. The keys are sorted, so that two calls never deadlock.
    """
    statement = insert(ThrottleCount).values([{"key": key, "number": 0} for key in sorted(keys)])
    locked = statement.on_conflict_do_update(
        index_elements=[ThrottleCount.key], set_={"key": statement.excluded.key}
    ).returning(*_COLUMNS, NOW)
    rows = db.execute(locked).all()
    return {row.key: Count(*row[1:4]) for row in rows}, max(row[4] for row in rows)


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


def delete_counts(db: Session, keys: Collection[str]) -> None:
    """Delete the counts under these keys."""
    statement = delete(ThrottleCount).where(ThrottleCount.key.in_(keys))
    db.execute(statement.execution_options(synchronize_session=False))


def delete_old_counts(db: Session, older_than: timedelta, limit: int) -> int:
    """Delete a batch of counts whose window began, or whose last event was, so long ago. Returns how many."""
    return delete_batch(db, ThrottleCount, ThrottleCount.started_at < STATEMENT_TIME - older_than, limit=limit)


def has_signed_in(db: Session, user_id: UUID, digests: Sequence[bytes]) -> bool:
    """Return whether the account has signed in from an address block with one of these digests."""
    found = select(exists().where(LoginBlock.user_id == user_id, LoginBlock.block.in_(digests)))
    return bool(db.scalar(found))


def remember_block(db: Session, user_id: UUID, digest: bytes) -> None:
    """Note the time at which the account signed in from this address block."""
    statement = insert(LoginBlock).values(user_id=user_id, block=digest)
    db.execute(
        statement.on_conflict_do_update(
            index_elements=[LoginBlock.user_id, LoginBlock.block], set_={"signed_in_at": NOW}
        )
    )


def delete_old_blocks(db: Session, older_than: timedelta, limit: int) -> int:
    """Delete a batch of address blocks from which no one signed in for so long. Returns how many."""
    return delete_batch(db, LoginBlock, LoginBlock.signed_in_at < STATEMENT_TIME - older_than, limit=limit)
