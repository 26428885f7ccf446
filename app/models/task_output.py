"""What bodies of tasks emitted: the pieces of their output streams."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.columns import JSONText, ShortText


class TaskOutput(Base):
    """One chunk, written by the attempt that emitted it and deleted with the task.

    `seq` is numbered as the lines of the log are (`app/models/task_log.py`). Several texts may stand in one chunk.
    `bytes` is what the row counts in TASK_OUTPUT_BYTES and in the quota of the task's user.
    """

    __tablename__ = "task_output"

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    stream: Mapped[str] = mapped_column(ShortText)
    attempt: Mapped[int]
    at: Mapped[datetime]
    chunk: Mapped[Any] = mapped_column(JSONText)
    bytes: Mapped[int]
