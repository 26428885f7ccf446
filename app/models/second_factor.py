"""The second factor of a user: the secret of an authenticator app (TOTP, RFC 6238), and recovery codes."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.clock import NOW
from app.ddl.columns import Bytes, Digest


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
