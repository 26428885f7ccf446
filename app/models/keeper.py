"""The keeper's lease: one row, held by whichever process leads."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base


class KeeperLease(Base):
    """An advisory lock would be held for good by a frozen process; a row that expires is not."""

    __tablename__ = "keeper_lease"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[UUID]
    renewed_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime]
    # Nobody is rescued before this: after a gap (an outage) every heartbeat is stale.
    rescue_after: Mapped[datetime]
    # The random value that the broker held when its content was last known to be whole.
    broker_epoch: Mapped[str | None]
