"""What a user's tasks have done on the outside on one day, counted."""

from datetime import date
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.columns import Word


class DailyCount(Base):
    """One row for each user, kind and day (UTC). Those of past days have no use."""

    __tablename__ = "daily_counts"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    what: Mapped[str] = mapped_column(Word, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    used: Mapped[int] = mapped_column(BigInteger)
