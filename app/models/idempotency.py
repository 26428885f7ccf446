"""Idempotency keys: a user's request under a key, and the tasks that it created."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.clock import NOW
from app.ddl.columns import Digest, JSONText, short_text


class IdempotencyKey(Base):
    """Committed with its task or not at all. It outlives the task, so that a late repetition creates no second one."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index(None, "task_id"), Index(None, "created_at"))

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(Digest)
    # NULL once the task has been deleted, and for a batch.
    task_id: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id", ondelete="SET NULL"))
    # The tasks of a batch in the order of the request. No foreign key: a deleted one is found missing.
    task_ids: Mapped[list[str] | None] = mapped_column(JSONText)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
