"""Users, their API keys, their logins and the throttle of these: rows that are locked before they are changed."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from app.core.engines import MYSQL
from app.core.ids import new_id
from app.db.statements.batches import BY_PRIMARY_KEY, delete_by_key
from app.db.statements.writes import changed_rows, upsert
from app.ddl.clock import NOW
from app.ddl.columns import Base
from app.models.auth import SESSION_OPEN, USE_IS_STALE, ApiKey, LoginBlock, LoginSession, RefreshToken, ThrottleCount
from app.models.user import Role, User

_USERS = Base.metadata.tables[User.__tablename__]


def insert_user(db: Session, values: dict[str, Any]) -> User | None:
    """Insert a user. Returns None where name or address is taken, also by a transaction that it waited for."""
    new = {"id": new_id(), **values}
    upsert(db, _USERS, [new])
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


# -- API keys ----------------------------------------------------------------------------------------------------------


def note_key_use(db: Session, key_id: UUID) -> bool:
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


# -- Logins ------------------------------------------------------------------------------------------------------------


def lock_user_unchanged(db: Session, user_id: UUID, password_hash: str, *, to_write: bool) -> datetime | None:
    """Lock an active user who still has this password hash until the transaction ends.

    Args:
        to_write: the user's row will be changed; else a shared lock is enough.

    Returns the database's time, or None where the user has changed.
    """
    found = select(NOW).select_from(User)
    found = found.where(User.id == user_id, User.password_hash == password_hash, User.is_active)
    return db.scalar(found.with_for_update(read=not to_write))


def use_refresh_token(db: Session, digest: bytes) -> UUID | None:
    """Mark an unused token as used. Of any number of concurrent callers one gets the session's id, the others None."""
    unused = update(RefreshToken).where(RefreshToken.digest == digest, RefreshToken.used_at.is_(None))
    if not changed_rows(db.execute(unused.values(used_at=NOW).execution_options(synchronize_session=False))):
        return None
    return db.scalar(select(RefreshToken.session_id).where(RefreshToken.digest == digest))


def revoke_session(db: Session, session_id: UUID, why: str) -> UUID | None:
    """Revoke the login. Returns its user's id; None where it had been revoked before."""
    session = update(LoginSession).where(LoginSession.id == session_id, LoginSession.revoked_at.is_(None))
    revoked = session.values(revoked_at=NOW, revoked_why=why).execution_options(synchronize_session=False)
    if not changed_rows(db.execute(revoked)):
        return None
    return db.scalar(select(LoginSession.user_id).where(LoginSession.id == session_id))


def revoke_open_sessions(
    db: Session, user_id: UUID, why: str, *, only: UUID | None = None, but: UUID | None = None
) -> list[UUID]:
    """Revoke the user's open logins: `only` that one, or all `but` one. Returns the ids of those that it revoked."""
    sessions = select(LoginSession.id).where(LoginSession.user_id == user_id, SESSION_OPEN)
    if only is not None:
        sessions = sessions.where(LoginSession.id == only)
    if but is not None:
        sessions = sessions.where(LoginSession.id != but)
    ids = list(db.scalars(sessions.with_for_update()))
    if ids:
        these = update(LoginSession).with_hint(BY_PRIMARY_KEY, dialect_name=MYSQL).where(LoginSession.id.in_(ids))
        revoked = these.values(revoked_at=NOW, revoked_why=why)
        db.execute(revoked.execution_options(synchronize_session=False))
    return ids


# -- Counts of the throttle, and the address blocks from which accounts have signed in ---------------------------------

_THROTTLE_COUNTS = Base.metadata.tables[ThrottleCount.__tablename__]
_LOGIN_BLOCKS = Base.metadata.tables[LoginBlock.__tablename__]
_ANY_TIME = datetime.max.replace(tzinfo=UTC)
# A count, and the database's time.
_COUNT_COLUMNS = (ThrottleCount.key, ThrottleCount.number, ThrottleCount.started_at, ThrottleCount.blocked_until, NOW)


class StoredCount(NamedTuple):
    """A stored count: events, the start of its window (or its last event), and until when further ones are refused."""

    number: int
    started_at: datetime
    blocked_until: datetime | None


def _counts_of(rows: Sequence[Any]) -> tuple[dict[str, StoredCount], datetime]:
    """Return the counts of these rows of _COUNT_COLUMNS, and the database's time (any, where there is no count)."""
    return {row.key: StoredCount(*row[1:4]) for row in rows}, max((row[4] for row in rows), default=_ANY_TIME)


def read_throttle_counts(db: Session, keys: Collection[str]) -> tuple[dict[str, StoredCount], datetime]:
    """Return the counts that exist under these keys, and the database's time (any time, where there is no count)."""
    return _counts_of(db.execute(select(*_COUNT_COLUMNS).where(ThrottleCount.key.in_(keys))).all())


def write_throttle_counts(db: Session, counts: Mapping[str, StoredCount]) -> None:
    """Store these counts, whose rows are locked."""
    for key, count in counts.items():
        values = {"number": count.number, "started_at": count.started_at, "blocked_until": count.blocked_until}
        db.execute(
            update(ThrottleCount)
            .where(ThrottleCount.key == key)
            .values(values)
            .execution_options(synchronize_session=False)
        )


def has_signed_in(db: Session, user_id: UUID, digests: Sequence[bytes]) -> bool:
    """Return whether the account has signed in from an address block with one of these digests."""
    found = select(exists().where(LoginBlock.user_id == user_id, LoginBlock.block.in_(digests)))
    return bool(db.scalar(found))


def lock_throttle_counts(db: Session, keys: Collection[str]) -> tuple[dict[str, StoredCount], datetime]:
    """Lock the counts until the transaction ends. Returns them, and the database's time.

    A count that did not exist starts at zero. The keys are sorted, so that two calls never deadlock.
    """
    new = sorted(set(keys))
    # An assignment of what is there: it locks the row on every engine, so that nobody deletes it before it is read.
    upsert(db, _THROTTLE_COUNTS, [{"key": key, "failures": 0} for key in new], lambda _, count: {"key": count.key})
    found = select(*_COUNT_COLUMNS).where(ThrottleCount.key.in_(new)).with_hint(_THROTTLE_COUNTS, BY_PRIMARY_KEY, MYSQL)
    return _counts_of(db.execute(found.with_for_update()).all())


def throttle_keys_after(db: Session, start: str) -> Sequence[str]:
    """Return the keys that start with this text. It reads all of them."""
    return db.scalars(select(ThrottleCount.key).where(ThrottleCount.key.startswith(start, autoescape=True))).all()


def delete_throttle_counts(db: Session, keys: Collection[str]) -> None:
    """Delete the counts under these keys."""
    statement = delete_by_key(ThrottleCount).where(ThrottleCount.key.in_(keys))
    db.execute(statement.execution_options(synchronize_session=False))


def note_login_block(db: Session, user_id: UUID, digest: bytes) -> None:
    """Note the time at which the account signed in from this address block."""
    upsert(db, _LOGIN_BLOCKS, [{"user_id": user_id, "block": digest}], lambda *_: {"signed_in_at": NOW})
