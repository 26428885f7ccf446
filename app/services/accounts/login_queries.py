"""The SQL of logins: sessions, refresh tokens, and the count of failures. Nothing here commits.

Every expiry is decided by the database's clock.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, Uuid, any_, bindparam, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.orm import Session

from app.core.addresses import spellings
from app.core.security import AccessClaims
from app.db.base import UTCDateTime
from app.db.batches import batch
from app.models.login import LoginFailures, LoginSession, RefreshToken
from app.models.user import User

NOW = func.clock_timestamp()
STATEMENT_TIME = func.statement_timestamp()

Executor = Session | Connection


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a login is checked against."""

    user_id: UUID
    username: str
    password_hash: str
    is_active: bool


def find_credentials(db: Session, login: str) -> Credentials | None:
    """By username or e-mail address; neither can look like the other."""
    names = spellings(login)
    found = db.execute(
        select(User.id, User.username, User.password_hash, User.is_active).where(
            or_(User.username_normalized.in_(names), User.email_normalized.in_(names))
        )
    ).first()
    return None if found is None else Credentials(*found)


def lock_credentials(db: Session, checked: Credentials, *, to_write: bool) -> datetime | None:
    """Hold the user as they were when the password was checked; the database's time, or None if they have changed.

    A password change or a deactivation that waits for this lock then revokes the login that is about to be made.
    """
    return db.scalar(
        select(NOW)
        .select_from(User)
        .where(User.id == checked.user_id, User.password_hash == checked.password_hash, User.is_active)
        .with_for_update(read=not to_write)
    )


def password_hash_of(db: Session, user_id: UUID) -> str | None:
    return db.scalar(select(User.password_hash).where(User.id == user_id))


def store_password_hash(db: Session, user_id: UUID, password_hash: str) -> None:
    db.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))


def add_session(db: Session, user_id: UUID, now: datetime, days: int) -> LoginSession:
    session = LoginSession(user_id=user_id, created_at=now, expires_at=now + timedelta(days=days))
    db.add(session)
    db.flush()
    return session


def add_refresh_token(db: Session, digest: bytes, session_id: UUID, expires_at: datetime) -> None:
    db.add(RefreshToken(digest=digest, session_id=session_id, expires_at=expires_at))


def use_refresh_token(db: Session, digest: bytes) -> UUID | None:
    """Mark an unused token as used: of any number of concurrent callers one gets the session's id."""
    return db.scalar(
        update(RefreshToken)
        .where(RefreshToken.digest == digest, RefreshToken.used_at.is_(None))
        .values(used_at=NOW)
        .returning(RefreshToken.session_id)
    )


def session_of_refresh_token(db: Session, digest: bytes) -> UUID | None:
    return db.scalar(select(RefreshToken.session_id).where(RefreshToken.digest == digest))


@dataclass(frozen=True, slots=True)
class LiveSession:
    user_id: UUID
    username: str
    role: str
    expires_at: datetime
    now: datetime


# Built once: every request asks the second, and building it would cost a quarter of the request.
_LIVE_SESSION = (
    select(User.id, User.username, User.role, LoginSession.expires_at, NOW)
    .select_from(LoginSession)
    .join(User, User.id == LoginSession.user_id)
    .where(LoginSession.revoked_at.is_(None), LoginSession.expires_at > NOW, User.is_active)
)
_LIVE_SESSION_OF_ID = _LIVE_SESSION.where(LoginSession.id == bindparam("session_id"))
_LIVE_SESSION_OF_TOKEN = _LIVE_SESSION_OF_ID.where(
    LoginSession.user_id == bindparam("user_id"),
    bindparam("token_expires_at", type_=UTCDateTime) > NOW,
)


def live_session(db: Session, session_id: UUID) -> LiveSession | None:
    """A session that is neither revoked nor over, of an active user."""
    found = db.execute(_LIVE_SESSION_OF_ID, {"session_id": session_id}).first()
    return None if found is None else LiveSession(*found)


def live_session_of_token(db: Executor, claims: AccessClaims) -> LiveSession | None:
    """The same for an access token, which must belong to that user and not be over either. One query a request."""
    found = db.execute(
        _LIVE_SESSION_OF_TOKEN,
        {
            "session_id": claims.session_id,
            "user_id": claims.user_id,
            "token_expires_at": claims.expires_at,
        },
    ).first()
    return None if found is None else LiveSession(*found)


_LIVE_SESSIONS = _LIVE_SESSION.where(LoginSession.id == any_(bindparam("ids", type_=ARRAY(Uuid)))).add_columns(
    LoginSession.id
)


def live_sessions(db: Executor, ids: Collection[UUID]) -> dict[UUID, LiveSession]:
    """Those of them that stand, by their id: one query for all who ask at this moment."""
    return {row[-1]: LiveSession(*row[:-1]) for row in db.execute(_LIVE_SESSIONS, {"ids": list(ids)})}


def live_sessions_of_tokens(db: Executor, tokens: Sequence[AccessClaims]) -> list[LiveSession | None]:
    """The login of each token where it stands: one query for all of them."""
    sessions = live_sessions(db, {claims.session_id for claims in tokens}) if tokens else {}
    found = [sessions.get(claims.session_id) for claims in tokens]
    return [each if is_sessions_token(each, claims) else None for each, claims in zip(found, tokens, strict=True)]


def is_sessions_token(session: LiveSession | None, claims: AccessClaims) -> bool:
    """What `live_session_of_token` asks besides: the token names this session's user, and is not over."""
    return session is not None and session.user_id == claims.user_id and claims.expires_at > session.now


def revoke_session(db: Session, session_id: UUID, why: str) -> UUID | None:
    """Whose it was; None when it had been revoked before."""
    return db.scalar(
        update(LoginSession)
        .where(LoginSession.id == session_id, LoginSession.revoked_at.is_(None))
        .values(revoked_at=NOW, revoked_why=why)
        .returning(LoginSession.user_id)
    )


def revoke_sessions_of(db: Session, user_id: UUID, why: str) -> None:
    db.execute(
        update(LoginSession)
        .where(LoginSession.user_id == user_id, LoginSession.revoked_at.is_(None))
        .values(revoked_at=NOW, revoked_why=why)
    )


def failure_key(kind: str, name: str) -> str:
    """Hashed: people type passwords where a name belongs, and a key must not grow with its input."""
    return f"{kind}:{hashlib.sha256(name.encode()).hexdigest()}"


def wait_for(db: Session, limits: dict[str, int], window_seconds: int) -> int | None:
    """Seconds until the first of these keys may try again, or None when all may now."""
    age = func.extract("epoch", NOW - LoginFailures.window_started_at)
    rows = db.execute(select(LoginFailures.key, LoginFailures.failures, age).where(LoginFailures.key.in_(limits))).all()
    waits = [
        max(1, window_seconds - int(age))
        for key, failures, age in rows
        if failures >= limits[key] and age < window_seconds
    ]
    return max(waits) if waits else None


def count_failure(db: Session, keys: list[str], window_seconds: int) -> dict[str, int]:
    """One more for each key, in a new window where the old one is over; how many each has now.

    Sorted, so that two never deadlock.
    """
    statement = insert(LoginFailures).values([{"key": key, "failures": 1} for key in sorted(keys)])
    over = LoginFailures.window_started_at < NOW - timedelta(seconds=window_seconds)
    counted = statement.on_conflict_do_update(
        index_elements=[LoginFailures.key],
        set_={
            "failures": case((over, 1), else_=LoginFailures.failures + 1),
            "window_started_at": case((over, NOW), else_=LoginFailures.window_started_at),
        },
    ).returning(LoginFailures.key, LoginFailures.failures)
    return {row.key: row.failures for row in db.execute(counted)}


def forget_failures(db: Session, key: str) -> None:
    db.execute(delete(LoginFailures).where(LoginFailures.key == key))


def delete_expired_sessions(db: Session, older_than: timedelta, limit: int) -> int:
    """Their refresh tokens go with them. SKIP LOCKED: two purges share the work instead of waiting."""
    ids = batch(select(LoginSession.id).where(LoginSession.expires_at < STATEMENT_TIME - older_than), limit)
    return len(db.execute(delete(LoginSession).where(LoginSession.id.in_(ids)).returning(LoginSession.id)).all())


def delete_old_failures(db: Session, window_seconds: int, limit: int) -> int:
    over = LoginFailures.window_started_at < STATEMENT_TIME - timedelta(seconds=window_seconds)
    keys = batch(select(LoginFailures.key).where(over), limit)
    return len(db.execute(delete(LoginFailures).where(LoginFailures.key.in_(keys)).returning(LoginFailures.key)).all())
