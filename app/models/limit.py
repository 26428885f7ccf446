"""Limits on tasks: how many run at once or start within a time, what they do on the outside in a day.

A task that names a limit is held until it has a place (`app/services/operations/admission.py`). The place is a row of
its own: it stays until the body has ended, also if its task was ended from outside, retried or deleted meanwhile.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Integer
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.clock import NOW
from app.ddl.columns import Base, Double, ShortText, Word, enum_check
from app.ddl.indexes import SHORT_LIVED_ROWS, place_indexes
from app.models.audit import RecordedEvent

MAX_COUNT = 10_000


class LimitEvent(RecordedEvent):
    """What the audit records of limits."""

    SET = "limit.set"
    DELETED = "limit.deleted"


class OnExcess(StrEnum):
    """What a submit does that would exceed the limit."""

    WAIT = "wait"
    REJECT = "reject"
    CANCEL_OLDEST = "cancel_oldest"


@dataclass(frozen=True)
class Rate:
    """At most `count` starts in any interval of so many seconds."""

    count: int
    period_seconds: float


_BOUNDS = ("concurrency", "concurrency_per_key", "rate_count", "rate_per_key_count")


class Limit(Base):
    """One limit. At least one of its bounds is set."""

    __tablename__ = "limits"

    name: Mapped[str] = mapped_column(ShortText, primary_key=True)
    concurrency: Mapped[int | None] = mapped_column(Integer)
    concurrency_per_key: Mapped[int | None] = mapped_column(Integer)
    rate_count: Mapped[int | None] = mapped_column(Integer)
    rate_period_seconds: Mapped[float | None] = mapped_column(Double)
    rate_per_key_count: Mapped[int | None] = mapped_column(Integer)
    rate_per_key_period_seconds: Mapped[float | None] = mapped_column(Double)
    on_excess: Mapped[str] = mapped_column(Word, server_default=OnExcess.WAIT.value)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        CheckConstraint(f"coalesce({', '.join(_BOUNDS)}) IS NOT NULL", name="bound"),
        CheckConstraint(" AND ".join(f"{name} BETWEEN 1 AND {MAX_COUNT}" for name in _BOUNDS), name="counts"),
        CheckConstraint(
            "(rate_count IS NULL) = (rate_period_seconds IS NULL)"
            " AND (rate_per_key_count IS NULL) = (rate_per_key_period_seconds IS NULL)"
            " AND rate_period_seconds > 0 AND rate_per_key_period_seconds > 0",
            name="rates",
        ),
        enum_check("on_excess", OnExcess),
    )

    @property
    def rate(self) -> Rate | None:
        return _rate(self.rate_count, self.rate_period_seconds)

    @property
    def rate_per_key(self) -> Rate | None:
        return _rate(self.rate_per_key_count, self.rate_per_key_period_seconds)

    @property
    def is_by_key(self) -> bool:
        """Whether it has a bound for each key."""
        return self.concurrency_per_key is not None or self.rate_per_key_count is not None


class LimitPlace(Base):
    """What one attempt takes of a limit, from its admission until its body has ended.

    A limit with a rate keeps the row for a while after the end: it tells that there was a start. No foreign key leads
    to the task, whose row may be deleted while the body runs on.
    """

    __tablename__ = "limit_places"

    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    # USER_LIMIT for the place of a user, whose id is the key then.
    limit_name: Mapped[str] = mapped_column(ShortText, primary_key=True)
    limit_key: Mapped[str | None] = mapped_column(ShortText)
    admitted_at: Mapped[datetime] = mapped_column(server_default=NOW)
    # Written by the claim, by a trigger (`app/ddl/postgresql.py`).
    started_at: Mapped[datetime | None]
    worker_id: Mapped[UUID | None]
    worker_pid: Mapped[int | None]
    ended_at: Mapped[datetime | None]

    __table_args__ = (*place_indexes(), SHORT_LIVED_ROWS)


def _rate(count: int | None, period: float | None) -> Rate | None:
    return None if count is None or period is None else Rate(count, period)


# -- What a user's tasks have done on the outside on one day, counted --------------------------------------------------


class DailyCount(Base):
    """One row for each user, kind and day (UTC). Those of past days have no use."""

    __tablename__ = "daily_counts"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    what: Mapped[str] = mapped_column(Word, primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    used: Mapped[int] = mapped_column(BigInteger)
