"""The SQL of API keys. Nothing here commits; the database's clock decides what has expired."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, LargeBinary, and_, any_, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.batches import batch
from app.models.api_key import ApiKey
from app.models.user import User
from app.services.accounts.login_queries import NOW, STATEMENT_TIME

# `last_used_at` is written at most so often for each key: a write a request would make one row the bottleneck of a
# machine that asks a thousand times a second.
USE_NOTED_EVERY = timedelta(minutes=1)

_LIVE = and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > NOW))
_USE_IS_STALE = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < NOW - USE_NOTED_EVERY)


@dataclass(frozen=True, slots=True)
class LiveKey:
    id: UUID
    scopes: list[str]
    user_id: UUID
    username: str
    role: str
    use_is_stale: bool


# Built once: every request of a machine asks one of them.
_LIVE_KEYS = (
    select(ApiKey.id, ApiKey.scopes, User.id, User.username, User.role, _USE_IS_STALE, ApiKey.digest)
    .join(User, User.id == ApiKey.user_id)
    .where(_LIVE, User.is_active)
)
_LIVE_KEY = _LIVE_KEYS.where(ApiKey.digest == bindparam("digest"))
_LIVE_KEYS_OF = _LIVE_KEYS.where(ApiKey.digest == any_(bindparam("digests", type_=ARRAY(LargeBinary))))


def live_key(db: Session, digest: bytes) -> LiveKey | None:
    """The key, if it is neither revoked nor over, with its active owner as they are now."""
    found = db.execute(_LIVE_KEY, {"digest": digest}).first()
    return None if found is None else LiveKey(*found[:-1])


def live_keys(db: Session | Connection, digests: Collection[bytes]) -> dict[bytes, LiveKey]:
    """Those of them that are live, by their digest: one query for all who ask at this moment."""
    rows = db.execute(_LIVE_KEYS_OF, {"digests": list(digests)})
    return {bytes(row[-1]): LiveKey(*row[:-1]) for row in rows}


def note_use(db: Session, key_id: UUID) -> bool:
    """Write `last_used_at`; False where it was not ours to write.

    Who finds the row locked leaves it: another request is writing the same.
    """
    stale = select(ApiKey.id).where(ApiKey.id == key_id, _USE_IS_STALE)
    taken = stale.with_for_update(skip_locked=True, key_share=True).cte("taken")
    noted = update(ApiKey).where(ApiKey.id.in_(select(taken.c.id))).values(last_used_at=NOW).returning(ApiKey.id)
    return db.scalar(noted.execution_options(synchronize_session=False)) is not None


def lock_owner(db: Session, user_id: UUID) -> str | None:
    """Their role, if they are active. Until the commit no other key of theirs is counted, and no demotion comes.

    Weaker than FOR UPDATE: new tasks of the user, whose foreign key shares the row's key, do not wait.
    """
    owner = select(User.role).where(User.id == user_id, User.is_active)
    return db.scalar(owner.with_for_update(key_share=True))


def count_live(db: Session, user_id: UUID) -> int:
    return db.scalar(select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user_id, _LIVE)) or 0


def is_over(db: Session, moment: datetime) -> bool:
    return bool(db.scalar(select(bindparam("moment", moment, type_=ApiKey.expires_at.type) <= NOW)))


def newest_keys(db: Session, user_id: UUID, limit: int, skip: int, below: UUID | None) -> list[ApiKey]:
    page = select(ApiKey).where(ApiKey.user_id == user_id).order_by(ApiKey.id.desc()).limit(limit).offset(skip)
    if below is not None:
        page = page.where(ApiKey.id < below)
    return list(db.scalars(page.execution_options(populate_existing=True)))


def find_key(db: Session, user_id: UUID, key_id: UUID) -> ApiKey | None:
    found = select(ApiKey).where(ApiKey.id == key_id, ApiKey.user_id == user_id)
    return db.scalars(found.execution_options(populate_existing=True)).one_or_none()


def revoke_key(db: Session, key_id: UUID) -> bool:
    """False where somebody has revoked it before."""
    revoked = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None)).values(revoked_at=NOW)
    return db.scalar(revoked.returning(ApiKey.id).execution_options(synchronize_session=False)) is not None


def revoke_keys_of(db: Session, user_id: UUID) -> None:
    db.execute(
        update(ApiKey)
        .where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=NOW)
        .execution_options(synchronize_session=False)
    )


def delete_ended_keys(db: Session, older_than: timedelta, limit: int) -> int:
    """Those that were revoked, or expired, so long ago."""
    before = STATEMENT_TIME - older_than
    ids = batch(select(ApiKey.id).where(or_(ApiKey.revoked_at < before, ApiKey.expires_at < before)), limit)
    return len(db.execute(delete(ApiKey).where(ApiKey.id.in_(ids)).returning(ApiKey.id)).all())
