"""A person or machine that owns tasks, and the second factor of its logins."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, SmallInteger, true
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.ddl import engines
from app.ddl.clock import NOW
from app.ddl.columns import Base, Bytes, Digest, ShortText, Word, short_text
from app.models.task import TaskPriority

MAX_WEIGHT = 100


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('user', 'admin')", name="role"),
        CheckConstraint(f"weight BETWEEN 1 AND {MAX_WEIGHT}", name="weight"),
        CheckConstraint("max_priority IN ('low', 'normal', 'high', 'critical')", name="max_priority"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    username: Mapped[str]
    # Unique: `Anna` and `anna` are one account.
    username_normalized: Mapped[str] = mapped_column(ShortText, unique=True)
    email: Mapped[str]
    email_normalized: Mapped[str] = mapped_column(short_text(320), unique=True)
    password_hash: Mapped[str]
    role: Mapped[str] = mapped_column(Word, server_default=Role.USER.value)
    is_active: Mapped[bool] = mapped_column(server_default=true())
    # The user's share of the starts in a line, beside those of the others who have tasks ready there.
    weight: Mapped[int] = mapped_column(server_default="1")
    # The highest priority that the user may give to tasks.
    max_priority: Mapped[str] = mapped_column(Word, server_default=TaskPriority.CRITICAL.value)
    # The consumers of the outbox that follow each new task of the user, as in `tasks.followers`; NULL for none.
    followers: Mapped[int | None] = mapped_column(SmallInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)


engines.install_triggers(User.__table__, User.__tablename__)


# -- The second factor of a user: the secret of an authenticator app (TOTP, RFC 6238), and recovery codes --------------


class SecondFactor(Base):
    """In force once confirmed. The secret is encrypted (`app/core/security.py`) with the user's id as context."""

    __tablename__ = "second_factors"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    secret: Mapped[bytes] = mapped_column(Bytes)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    confirmed_at: Mapped[datetime | None]
    # The time step of the newest code that was used. Only codes of later steps are accepted.
    last_step: Mapped[int | None] = mapped_column(BigInteger)


class RecoveryCode(Base):
    """Stored as a SHA-256 digest (the code has 120 random bits); deleted when it is used."""

    __tablename__ = "recovery_codes"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("second_factors.user_id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(Digest, primary_key=True)
