"""Logins: one session (`sid`) per login, its rotating refresh tokens, and the count of failed attempts."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, func
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.db.base import Base


class LoginSession(Base):
    """A login and its family of refresh tokens. Revoking it ends every token that names its `sid`."""

    __tablename__ = "login_sessions"
    __table_args__ = (Index(None, "user_id"), Index(None, "expires_at"))

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    revoked_why: Mapped[str | None]


class RefreshToken(Base):
    """Stored as a SHA-256 digest (the token has 256 random bits); used once, then replaced."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (Index(None, "session_id"),)

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    session_id: Mapped[UUID] = mapped_column(ForeignKey("login_sessions.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class LoginFailures(Base):
    """Failed logins of one account or address, or its registrations, in the current window; shared by every process."""

    __tablename__ = "login_failures"
    __table_args__ = (Index(None, "window_started_at"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    window_started_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
