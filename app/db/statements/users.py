"""Users: rows whose names may be taken, and row locks."""

from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core.engines import MYSQL
from app.core.ids import new_id
from app.db.statements.batches import BY_PRIMARY_KEY
from app.db.statements.upserting import upsert
from app.ddl.base import Base
from app.ddl.clock import NOW
from app.models.user import Role, User

_TABLE = Base.metadata.tables[User.__tablename__]


def insert_user(db: Session, values: dict[str, Any]) -> User | None:
    """None when the name or the address is taken, be it by a transaction that this one had to wait for."""
    new = {"id": new_id(), **values}
    upsert(db, _TABLE, [new])
    return db.scalar(select(User).where(User.id == new["id"]))


def lock_user(db: Session, user_id: UUID) -> User | None:
    """Lock the user until the transaction ends. Returns the row as it is committed now; None where there is none."""
    return db.scalar(select(User).where(User.id == user_id).with_for_update().execution_options(populate_existing=True))


def lock_active_admins(db: Session) -> list[UUID]:
    """Lock all active administrators until the transaction ends. Returns their ids."""
    admins = select(User.id).where(User.role == Role.ADMIN.value, User.is_active).order_by(User.id)
    # Found without locks first: a look at all users would wait for those who submit tasks.
    found = db.scalars(admins).all()
    these = admins.where(User.id.in_(found)).with_hint(User, BY_PRIMARY_KEY, MYSQL)
    return list(db.scalars(these.with_for_update()))


def update_user(db: Session, user_id: UUID, values: dict[str, Any]) -> User:
    """Change these columns. Returns the row as it is then. Raises IntegrityError where a name is taken."""
    changed = update(User).where(User.id == user_id).values(**values, updated_at=NOW)
    db.execute(changed.execution_options(synchronize_session=False))
    return db.scalars(select(User).where(User.id == user_id).execution_options(populate_existing=True)).one()
