"""Failures in groups: those of one user and task with the same type of error, place in the code and kind of message.

A failure writes its fingerprint to its own row, and waits for nobody. Maintenance makes the group and adds up its
number, with the sums of `app/models/task_count.py`: in any snapshot it is the sum plus the changes not yet folded.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Table
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.columns import Base, ShortText, UTCDateTime, Word, enum_check
from app.ddl.indexes import error_group_indexes
from app.models.audit import RecordedEvent

# A group without a failed task goes so long after the last failure, and the oldest of more than so many of a user.
FORGET_AFTER = timedelta(days=30)
MOST_FORGETTABLE = 1000
FINGERPRINT = "^[0-9a-f]{32}$"
# How long the hours of `error_times` are kept.
TIMES_KEPT = timedelta(days=8)


class ErrorEvent(RecordedEvent):
    """What the audit records of groups of failures."""

    RESOLVED = "error.resolved"
    IGNORED = "error.ignored"
    REOPENED = "error.reopened"


class ErrorState(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"
    IGNORED = "ignored"


class ErrorGroup(Base):
    """One group. An ignored one whose `ignored_until` has passed counts as open."""

    __tablename__ = "error_groups"

    fingerprint: Mapped[str] = mapped_column(Word, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    celery_task_name: Mapped[str] = mapped_column(ShortText)
    error_type: Mapped[str]
    # Of the last failure that was added.
    message: Mapped[str | None]
    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]
    # Tasks that are failed with it, without the changes not yet folded.
    number: Mapped[int] = mapped_column("count", BigInteger)
    state: Mapped[str] = mapped_column(Word, server_default=ErrorState.OPEN.value)
    ignored_until: Mapped[datetime | None]
    # When a user last set the state: only a later failure reopens a resolved group.
    state_set_at: Mapped[datetime | None]

    __table_args__ = (
        enum_check("state", ErrorState),
        CheckConstraint("ignored_until IS NULL OR state = 'ignored'", name="ignored_until"),
        *error_group_indexes(),
    )


# Failures by hour, whatever became of the tasks.
error_times = Table(
    "error_times",
    Base.metadata,
    Column("fingerprint", Word, primary_key=True),
    Column("at", UTCDateTime, primary_key=True, index=True),
    Column("number", BigInteger, nullable=False),
)
