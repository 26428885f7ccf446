"""Users: ON CONFLICT, RETURNING and row locks."""

from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.clock import NOW
from app.models.user import Role, User


def insert_user(db: Session, values: dict[str, Any]) -> User | None:
    """None when the name or the address is taken, be it by a transaction that this one had to wait for."""
    return db.scalar(insert(User).values(values).on_conflict_do_nothing().returning(User))


def lock_active_admins(db: Session) -> list[UUID]:
    """Lock all active administrators until the transaction ends. Returns their ids."""
    admins = select(User.id).where(User.role == Role.ADMIN.value, User.is_active).order_by(User.id)
    return list(db.scalars(admins.with_for_update()))


def update_user(db: Session, user_id: UUID, values: dict[str, Any]) -> User:
    """Change these columns. Returns the row as it is then. Raises IntegrityError where a name is taken."""
    changed = update(User).where(User.id == user_id).values(**values, updated_at=NOW).returning(User)
    return db.scalars(changed.execution_options(populate_existing=True, synchronize_session=False)).one()
