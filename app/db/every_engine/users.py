"""The lock of a user's row."""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models.user import User


def lock_user(db: Session, user_id: UUID) -> User | None:
    """Lock the user until the transaction ends. Returns the row as it is committed now; None where there is none."""
    return db.scalar(select(User).where(User.id == user_id).with_for_update().execution_options(populate_existing=True))
