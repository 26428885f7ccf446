"""The maintenance lease: one row, held by the process that leads."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.clock import NOW

LEASE_ROW = 1


class MaintenanceLease(Base):
    """A row that expires: a frozen process would hold an advisory lock without end."""

    __tablename__ = "maintenance_lease"
    __table_args__ = (CheckConstraint(f"id = {LEASE_ROW}", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[UUID]
    renewed_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    # No attempt is rescued before this: after an outage every heartbeat is stale.
    rescue_after: Mapped[datetime]
    # The random value that the broker held when its content was last known to be whole.
