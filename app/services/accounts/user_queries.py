"""The SQL of users. Nothing here commits."""

from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.models.task import ACTIVE, Task
from app.models.user import Role, User
from app.services.accounts.login_queries import NOW


def names(*, username: str | None, email: str | None) -> dict[str, str]:
    """The columns of those that are given, each with the form that uniqueness is decided on."""
    columns: dict[str, str] = {}
    if username is not None:
        columns |= {"username": username, "username_normalized": username.lower()}
    if email is not None:
        columns |= {"email": email, "email_normalized": email.lower()}
    return columns


def insert_user(db: Session, values: dict[str, Any]) -> User | None:
    """None when the name or the address is taken, be it by a transaction that this one had to wait for."""
    return db.scalar(insert(User).values(values).on_conflict_do_nothing().returning(User))


def newest_users(db: Session, limit: int, skip: int, below: UUID | None) -> list[User]:
    page = select(User).order_by(User.id.desc()).limit(limit).offset(skip)
    if below is not None:
        page = page.where(User.id < below)
    return list(db.scalars(page))


def lock_active_admins(db: Session) -> list[UUID]:
    return list(
        db.scalars(
            select(User.id).where(User.role == Role.ADMIN.value, User.is_active).order_by(User.id).with_for_update()
        )
    )


def lock_user(db: Session, user_id: UUID) -> User | None:
    return db.scalar(select(User).where(User.id == user_id).with_for_update().execution_options(populate_existing=True))


def username_exists(db: Session, username: str) -> bool:
    found = db.scalar(select(exists().where(User.username_normalized == username.lower())))
    return bool(found)


def update_user(db: Session, user_id: UUID, values: dict[str, Any]) -> User:
    return db.scalars(
        update(User)
        .where(User.id == user_id)
        .values(**values, updated_at=NOW)
        .returning(User)
        .execution_options(populate_existing=True, synchronize_session=False)
    ).one()


def has_active_tasks(db: Session, user_id: UUID) -> bool:
    found = db.scalar(select(exists().where(Task.user_id == user_id, Task.status.in_(sorted(ACTIVE)))))
    return bool(found)


def delete_user(db: Session, user_id: UUID) -> None:
    db.execute(delete(User).where(User.id == user_id).execution_options(synchronize_session=False))
