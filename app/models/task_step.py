"""The steps that bodies of tasks have done: what `self.step` keeps for a later attempt."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.columns import JSONText, ShortText
from app.ddl.sizes import STEP_BYTES


class TaskStep(Base):
    """One step, written by the attempt that ran it and deleted with the task.

    `seq` is numbered as the lines of the log are (`app/models/task_log.py`): no index has it, since a task has some
    thousand steps at most. `bytes` is what the row counts in the quota of the task's user.
    """

    __tablename__ = "task_steps"
    # The quota: a sum that reads no row.
    __table_args__ = (Index("ix_task_steps_user", "user_id", "bytes"),)

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(ShortText, primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    user_id: Mapped[UUID]
    attempt: Mapped[int]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    bytes: Mapped[int]
    result: Mapped[Any] = mapped_column(JSONText, nullable=True)

    @property
    def size(self) -> int:
        """The bytes of the result."""
        return self.bytes - STEP_BYTES - len(self.name.encode())
