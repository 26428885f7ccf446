"""How users prove who they are: logins, their rotating refresh tokens, what throttles attempts; and API keys.

A login is one session (`sid`). An API key is a long-lived bearer token for a machine, with scopes.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey, Index, and_, or_
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.ddl.clock import NOW
from app.ddl.columns import Base, Digest, TextList, short_text, subset_check
from app.models.audit import RecordedEvent
from app.models.user import User

MAX_ADDRESS, MAX_USER_AGENT = 64, 256


class LoginSession(Base):
    """A login and its family of refresh tokens. Revoking it ends every token that names its `sid`."""

    __tablename__ = "login_sessions"
    __table_args__ = (Index(None, "user_id"), Index(None, "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_why: Mapped[str | None]
    # Of the request that logged in, cut to their lengths. NULL outside HTTP, and of logins before migration 0023.
    address: Mapped[str | None] = mapped_column(short_text(MAX_ADDRESS))
    user_agent: Mapped[str | None] = mapped_column(short_text(MAX_USER_AGENT))


# A login that is neither revoked nor over; and one that authenticates: its user, joined, is active as well.
SESSION_OPEN = and_(LoginSession.revoked_at.is_(None), LoginSession.expires_at > NOW)
LOGIN_STANDS = and_(SESSION_OPEN, User.is_active)


class RefreshToken(Base):
    """Stored as a SHA-256 digest (the token has 256 random bits); used once, then replaced."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index(None, "session_id"),)

    digest: Mapped[bytes] = mapped_column(Digest, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("login_sessions.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ThrottleCount(Base):
    """How often something happened lately under a key, such as failed logins of an account; shared by every process.

    `services/accounts/login_throttle.py` gives the numbers their meaning. Table and columns keep the names of their
    first use, because processes of the code before work on them during an upgrade.
    """

    __tablename__ = "login_failures"
    __table_args__ = (Index(None, "window_started_at"),)

    key: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    number: Mapped[int] = mapped_column("failures")
    started_at: Mapped[datetime] = mapped_column("window_started_at", server_default=NOW)
    blocked_until: Mapped[datetime | None]


class LoginBlock(Base):
    """An address block from which an account has signed in, as a keyed digest."""

    __tablename__ = "login_blocks"
    __table_args__ = (Index(None, "signed_in_at"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    block: Mapped[bytes] = mapped_column(Digest, primary_key=True)
    signed_in_at: Mapped[datetime] = mapped_column(server_default=NOW)


# -- API keys: long-lived bearer tokens for machines, each with its scopes ---------------------------------------------


class ApiKeyEvent(RecordedEvent):
    """What the audit records of API keys."""

    CREATED = "api_key.created"
    REVOKED = "api_key.revoked"
    USED = "api_key.used"


class Scope(StrEnum):
    """The rights of an API key. No scope includes another, and none exceeds the rights of the owner."""

    TASKS_READ = "tasks:read"
    TASKS_WRITE = "tasks:write"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)


class ApiKey(Base):
    """Stored as a SHA-256 digest (the key has 256 random bits). A revoked one stays for a while, to be seen as such."""

    __tablename__ = "api_keys"
    __table_args__ = (subset_check("scopes", list(Scope), "scopes"), Index("ix_api_keys_user_id_id", "user_id", "id"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    prefix: Mapped[str]
    digest: Mapped[bytes] = mapped_column(Digest, unique=True)
    scopes: Mapped[list[str]] = mapped_column(TextList)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


# A key that is neither revoked nor expired; and one that authenticates: its owner, joined, is active as well.
KEY_OPEN = and_(ApiKey.revoked_at.is_(None), or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > NOW))
KEY_STANDS = and_(KEY_OPEN, User.is_active)
# `last_used_at` is written at most once a minute for each key: a write for each request would make one row the
# bottleneck of a client that sends a thousand requests a second.
USE_NOTED_EVERY = timedelta(minutes=1)
USE_IS_STALE = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < NOW - USE_NOTED_EVERY)
