"""When each periodic task fired last, from whichever beat."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.clock import NOW
from app.ddl.columns import short_text


class Period(Base):
    """One row for each entry of beat's schedule. A new entry counts from the time when a beat first saw it."""

    __tablename__ = "periods"

    name: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    fired_at: Mapped[datetime] = mapped_column(server_default=NOW)
