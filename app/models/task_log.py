"""The lines that bodies of tasks logged or printed."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.columns import JSONText

# `seq` is the attempt's number in front of the line's number: it rises over all attempts, without a counter that they
# share. JavaScript reads numbers below 2**53 exactly, which 2 million attempts do not reach.
SEQ_BITS = 32


class LogLevel(StrEnum):
    """The levels of `logging`. A level in between counts as the next lower one."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"
    CRITICAL = "CRITICAL"

    @property
    def number(self) -> int:
        return 10 * (list(LogLevel).index(self) + 1)

    @classmethod
    def of(cls, number: int) -> "LogLevel":
        return list(cls)[min(max(number // 10, 1), len(cls)) - 1]


# A line to be written: number, time (RFC 3339), level, logger, message, and fields as JSON text.
Line = tuple[int, str, int, str, str, str]


class TaskLog(Base):
    """One line, written by the attempt that logged it and deleted with the task."""

    __tablename__ = "task_logs"

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int]
    at: Mapped[datetime]
    level: Mapped[int] = mapped_column(SmallInteger)
    logger: Mapped[str]
    message: Mapped[str]
    fields: Mapped[dict[str, Any]] = mapped_column(JSONText)
