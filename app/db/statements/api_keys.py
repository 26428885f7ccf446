"""API keys: rows that are locked before they are changed."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from app.db.rows import changed_rows
from app.db.statements.batches import delete_batch
from app.ddl.clock import NOW, STATEMENT_TIME
from app.models.auth import USE_IS_STALE, ApiKey
from app.models.user import User


def note_use(db: Session, key_id: UUID) -> bool:
    """Write `last_used_at` where that is due. Returns whether it was written.

    A locked row is left alone: another request is writing the same.
    """
    stale = select(ApiKey.id).where(ApiKey.id == key_id, USE_IS_STALE)
    if db.scalar(stale.with_for_update(skip_locked=True, key_share=True)) is None:
        return False
    noted = update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=NOW)
    db.execute(noted.execution_options(synchronize_session=False))
    return True


def lock_owner(db: Session, user_id: UUID) -> str | None:
    """Lock the user until the transaction ends: no other key of theirs is counted, and no demotion comes.

    New tasks of the user wait meanwhile, since their foreign key shares the lock; not on PostgreSQL. Returns the role;
    None where the user is not active.
    """
    return db.scalar(select(User.role).where(User.id == user_id, User.is_active).with_for_update(key_share=True))


def revoke_key(db: Session, key_id: UUID) -> bool:
    """Revoke the key. Returns False where it had been revoked before."""
    revoked = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=NOW)
    return changed_rows(db.execute(revoked.execution_options(synchronize_session=False))) > 0


def delete_ended_keys(db: Session, older_than: timedelta, limit: int) -> int:
    """Delete a batch of keys that were revoked, or expired, so long ago. Returns how many."""
    before = STATEMENT_TIME - older_than
    return delete_batch(db, ApiKey, or_(ApiKey.revoked_at < before, ApiKey.expires_at < before), limit=limit)
