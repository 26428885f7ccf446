"""Logins: one session (`sid`) per login, its rotating refresh tokens, and what throttles attempts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, and_
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.ddl.base import Base
from app.ddl.clock import NOW
from app.ddl.columns import Digest, short_text
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
