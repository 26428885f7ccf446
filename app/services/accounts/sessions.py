"""A user's logins: credentials, sessions and refresh tokens, and how the user lists sessions and ends them.

The database's clock decides about expiry. Other queries of logins are in `app/db/statements/accounts.py`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection, func, or_, select, update
from sqlalchemy.orm import Session

from app.core.credentials import login_spellings
from app.core.security import AccessClaims
from app.db.session import transaction
from app.db.statements import accounts, reads
from app.ddl.clock import NOW
from app.errors import SessionNotFound
from app.models.audit import AuditEvent
from app.models.auth import LOGIN_STANDS, MAX_ADDRESS, MAX_USER_AGENT, SESSION_OPEN, LoginSession, RefreshToken
from app.models.user import User
from app.services import audit
from app.services.audit import Subject


@dataclass(frozen=True, slots=True)
class Credentials:
    """The data that a login is checked against."""

    user_id: UUID
    username: str
    password_hash: str
    is_active: bool


def find_credentials(db: Session, login: str) -> Credentials | None:
    """Return the user with this username or e-mail address, or None. A username cannot look like an e-mail address."""
    names = login_spellings(login)
    found = db.execute(
        select(User.id, User.username, User.password_hash, User.is_active).where(
            or_(User.username_normalized.in_(names), User.email_normalized.in_(names))
        )
    ).first()
    return None if found is None else Credentials(*found)


def password_hash_of(db: Session, user_id: UUID) -> str | None:
    """Return the user's password hash, or None."""
    return db.scalar(select(User.password_hash).where(User.id == user_id))


def store_password_hash(db: Session, user_id: UUID, password_hash: str) -> None:
    db.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))


@dataclass(frozen=True, slots=True)
class Client:
    """Who logs in: the peer's address, and what it calls itself (the header `User-Agent`)."""

    address: str
    user_agent: str | None = None


def add_session(db: Session, user_id: UUID, now: datetime, days: int, client: Client) -> LoginSession:
    """Add a login that ends after `days`, and return it."""
    agent = "".join(each for each in client.user_agent or "" if each.isprintable())[:MAX_USER_AGENT]
    session = LoginSession(
        user_id=user_id,
        created_at=now,
        expires_at=now + timedelta(days=days),
        address=client.address[:MAX_ADDRESS],
        user_agent=agent or None,
    )
    db.add(session)
    db.flush()
    return session


def add_refresh_token(db: Session, digest: bytes, session_id: UUID, expires_at: datetime) -> None:
    db.add(RefreshToken(digest=digest, session_id=session_id, expires_at=expires_at))


def session_of_refresh_token(db: Session, digest: bytes) -> UUID | None:
    """Return the login of a refresh token, or None."""
    return db.scalar(select(RefreshToken.session_id).where(RefreshToken.digest == digest))


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A valid login, its user, and the database's time."""

    user_id: UUID
    username: str
    role: str
    max_priority: str
    followers: int | None
    expires_at: datetime
    now: datetime


# Built once: building it for each request would cost a quarter of the request.
_STANDING = (
    select(
        *(User.id, User.username, User.role, User.max_priority, User.followers),
        *(LoginSession.expires_at, NOW, LoginSession.id),
    )
    .select_from(LoginSession)
    .join(User, User.id == LoginSession.user_id)
    .where(LOGIN_STANDS, reads.is_one_of(LoginSession.id, "ids"))
)


def live_session(db: Session, session_id: UUID) -> LiveSession | None:
    """Return the valid login with this id, or None."""
    return live_sessions(db, {session_id}).get(session_id)


def live_sessions(db: Session | Connection, ids: Collection[UUID]) -> dict[UUID, LiveSession]:
    """Return the valid logins among these ids, by id. One query."""
    return {row[-1]: LiveSession(*row[:-1]) for row in db.execute(_STANDING, {"ids": list(ids)})}


def live_sessions_of_tokens(
    db: Session | Connection, tokens: Sequence[AccessClaims | None]
) -> list[LiveSession | None]:  # fmt: skip
    """Return the login of each access token, or None if it is not valid or there is no token. One query."""
    ids = {claims.session_id for claims in tokens if claims is not None}
    sessions = live_sessions(db, ids) if ids else {}
    found = [None if claims is None else sessions.get(claims.session_id) for claims in tokens]
    return [
        each if claims is not None and is_sessions_token(each, claims) else None
        for each, claims in zip(found, tokens, strict=True)
    ]


def is_sessions_token(session: LiveSession | None, claims: AccessClaims) -> bool:
    """Return whether the token names this login's user and has not expired by the database's clock."""
    return session is not None and session.user_id == claims.user_id and claims.expires_at > session.now


def revoke_sessions_of(db: Session, user_id: UUID, reason: str) -> None:
    """End all logins of the user; `reason` is stored with them."""
    db.execute(
        update(LoginSession)
        .where(LoginSession.user_id == user_id, LoginSession.revoked_at.is_(None))
        .values(revoked_at=NOW, revoked_why=reason)
    )


# -- A user's logins: listing them, and ending one or all others (OWASP ASVS 5.0, 7.5.2) -------------------------------

# Logins expire, and throttling limits their creation. A user with more logins sees the newest.
MOST_LISTED = 1000


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A valid login. `refreshed_at` is the time of its newest tokens; `current` marks the login of this request."""

    id: UUID
    created_at: datetime
    refreshed_at: datetime
    expires_at: datetime
    address: str | None
    user_agent: str | None
    current: bool


_REFRESHED = (
    select(func.max(RefreshToken.created_at)).where(RefreshToken.session_id == LoginSession.id).scalar_subquery()
)


class SessionService:
    """Each method is one transaction. `current` is the login of this request."""

    def list_sessions(self, db: Session, user_id: UUID, current: UUID | None) -> Sequence[OpenSession]:
        """Return the user's valid logins, newest first."""
        statement = (
            select(
                LoginSession.id,
                LoginSession.created_at,
                func.coalesce(_REFRESHED, LoginSession.created_at),
                LoginSession.expires_at,
                LoginSession.address,
                LoginSession.user_agent,
            )
            .where(LoginSession.user_id == user_id, SESSION_OPEN)
            .order_by(LoginSession.created_at.desc(), LoginSession.id.desc())
            .limit(MOST_LISTED)
        )
        with transaction(db):
            return [OpenSession(*row, current=row[0] == current) for row in db.execute(statement)]

    def end_session(self, db: Session, user_id: UUID, session_id: UUID) -> None:
        """End one login of the user; no process accepts its tokens afterwards. Raises SessionNotFound."""
        with transaction(db):
            if not self._end(db, user_id, only=session_id):
                raise SessionNotFound

    def end_other_sessions(self, db: Session, user_id: UUID, current: UUID | None) -> None:
        """End all logins of the user except the current one."""
        with transaction(db):
            self._end(db, user_id, but=current)

    def _end(self, db: Session, user_id: UUID, **which: UUID | None) -> bool:
        revoked = accounts.revoke_open_sessions(db, user_id, "ended by its user", **which)
        ended = [str(session_id) for session_id in revoked]
        if ended:
            audit.record(db, AuditEvent.SESSION_ENDED, Subject.user(user_id), sessions=ended)
        return bool(ended)


session_service = SessionService()
