"""Counts of the throttle: rows that are inserted and locked in one statement (ON CONFLICT, RETURNING)."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.clock import NOW
from app.db.every_engine.throttle import COLUMNS, Count, counts_of
from app.models.login import LoginBlock, ThrottleCount


def lock_counts(db: Session, keys: Collection[str]) -> tuple[dict[str, Count], datetime]:
    """Lock the counts until the transaction ends. Returns them, and the database's time.

    A count that did not exist starts at zero. The keys are sorted, so that two calls never deadlock.
    """
    statement = insert(ThrottleCount).values([{"key": key, "number": 0} for key in sorted(set(keys))])
    locked = statement.on_conflict_do_update(
        index_elements=[ThrottleCount.key], set_={"key": statement.excluded.key}
    ).returning(*COLUMNS)
    return counts_of(db.execute(locked).all())


def delete_counts(db: Session, keys: Collection[str]) -> None:
    """Delete the counts under these keys."""
    statement = delete(ThrottleCount).where(ThrottleCount.key.in_(keys))
    db.execute(statement.execution_options(synchronize_session=False))


def remember_block(db: Session, user_id: UUID, digest: bytes) -> None:
    """Note the time at which the account signed in from this address block."""
    statement = insert(LoginBlock).values(user_id=user_id, block=digest)
    db.execute(
        statement.on_conflict_do_update(
            index_elements=[LoginBlock.user_id, LoginBlock.block], set_={"signed_in_at": NOW}
        )
    )
