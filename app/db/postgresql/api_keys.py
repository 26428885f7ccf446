"""API keys: arrays as parameters, row locks that spare foreign keys, RETURNING."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from app.db.clock import NOW, STATEMENT_TIME
from app.db.postgresql.batches import batch
from app.models.api_key import USE_IS_STALE, ApiKey
from app.models.user import User


def note_use(db: Session, key_id: UUID) -> bool:
    """Write `last_used_at` where that is due. Returns whether it was written.

    A locked row is left alone: another request is writing the same.
    """
    stale = select(ApiKey.id).where(ApiKey.id == key_id, USE_IS_STALE)
    taken = stale.with_for_update(skip_locked=True, key_share=True).cte("taken")
    noted = update(ApiKey).where(ApiKey.id.in_(select(taken.c.id))).values(last_used_at=NOW).returning(ApiKey.id)
    return db.scalar(noted.execution_options(synchronize_session=False)) is not None


def lock_owner(db: Session, user_id: UUID) -> str | None:
    """Lock the user until the transaction ends: no other key of theirs is counted, and no demotion comes.

    Weaker than FOR UPDATE: new tasks of the user, whose foreign key shares the row's key, do not wait. Returns the
    role; None where the user is not active.
    """
    owner = select(User.role).where(User.id == user_id, User.is_active)
    return db.scalar(owner.with_for_update(key_share=True))


def revoke_key(db: Session, key_id: UUID) -> bool:
    """Revoke the key. Returns False where it had been revoked before."""
    revoked = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=NOW)
    return db.scalar(revoked.returning(ApiKey.id).execution_options(synchronize_session=False)) is not None


def delete_ended_keys(db: Session, older_than: timedelta, limit: int) -> int:
    """Delete a batch of keys that were revoked, or expired, so long ago. Returns how many."""
    before = STATEMENT_TIME - older_than
    ids = batch(select(ApiKey.id).where(or_(ApiKey.revoked_at < before, ApiKey.expires_at < before)), limit)
    return len(db.execute(delete(ApiKey).where(ApiKey.id.in_(ids)).returning(ApiKey.id)).all())
