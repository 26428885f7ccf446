"""Idempotency keys: a user's request under a key, and the task that it created."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.clock import NOW


class IdempotencyKey(Base):
    """Committed with its task or not at all. It outlives the task, so that a late repetition creates no second one."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "task_id"), Index(None, "created_at"))

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    # NULL once the task has been deleted.
    task_id: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
