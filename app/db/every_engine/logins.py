"""Logins: the lock of a user."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.clock import NOW
from app.models.user import User


def lock_user_unchanged(db: Session, user_id: UUID, password_hash: str, *, to_write: bool) -> datetime | None:
    """Lock an active user who still has this password hash until the transaction ends.

    Args:
        to_write: the user's row will be changed; else a shared lock is enough.

    Returns the database's time, or None where the user has changed.
    """
    found = select(NOW).select_from(User)
    found = found.where(User.id == user_id, User.password_hash == password_hash, User.is_active)
    return db.scalar(found.with_for_update(read=not to_write))
