"""Queries of API keys. None of them commits; the database's clock decides about expiry."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.orm import Session

from app.db.statements import conditions
from app.ddl.clock import NOW
from app.models.api_key import KEY_OPEN, KEY_STANDS, USE_IS_STALE, ApiKey
from app.models.user import User


@dataclass(frozen=True, slots=True)
class LiveKey:
    """A valid API key, its user, and whether its last recorded use is older than a minute."""

    id: UUID
    scopes: list[str]
    user_id: UUID
    username: str
    role: str
    max_priority: str
    followers: int | None
    use_is_stale: bool


# Built once: each request of an API key executes it.
_STANDING = (
    select(
        *(ApiKey.id, ApiKey.scopes, User.id, User.username, User.role, User.max_priority, User.followers),
        *(USE_IS_STALE, ApiKey.digest),
    )
    .join(User, User.id == ApiKey.user_id)
    .where(KEY_STANDS, conditions.is_one_of(ApiKey.digest, "digests"))
)


def live_keys(db: Session | Connection, digests: Collection[bytes]) -> dict[bytes, LiveKey]:
    """Return the valid keys among these digests, by digest. One query."""
    return {bytes(row[-1]): LiveKey(*row[:-1]) for row in db.execute(_STANDING, {"digests": list(digests)})}


def count_live(db: Session, user_id: UUID) -> int:
    """Return how many keys of the user are neither revoked nor expired."""
    return db.scalar(select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user_id, KEY_OPEN)) or 0


def has_passed(db: Session, moment: datetime) -> bool:
    """Return whether a moment has passed by the database's clock."""
    return bool(db.scalar(select(bindparam("moment", moment, type_=ApiKey.expires_at.type) <= NOW)))


def newest_keys(db: Session, user_id: UUID, limit: int, skip: int, below: UUID | None) -> list[ApiKey]:
    """Return a page of the user's keys, newest first; `below` is the id after which it starts."""
    page = select(ApiKey).where(ApiKey.user_id == user_id).order_by(ApiKey.id.desc()).limit(limit).offset(skip)
    if below is not None:
        page = page.where(ApiKey.id < below)
    return list(db.scalars(page.execution_options(populate_existing=True)))


def find_key(db: Session, user_id: UUID, key_id: UUID) -> ApiKey | None:
    """Return a key of this user, or None."""
    found = select(ApiKey).where(ApiKey.id == key_id, ApiKey.user_id == user_id)
    return db.scalars(found.execution_options(populate_existing=True)).one_or_none()


def revoke_keys_of(db: Session, user_id: UUID) -> None:
    db.execute(
        update(ApiKey)
        .where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=NOW)
        .execution_options(synchronize_session=False)
    )
