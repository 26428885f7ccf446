"""Schedules: a request for a task, and when it is to be made again and again; and what became of each time."""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.ddl import columns
from app.ddl.clock import NOW
from app.ddl.indexes import schedule_indexes, schedule_run_indexes
from app.models.audit import RecordedEvent
from app.schedules.policies import CatchUp, Overlap


class ScheduleEvent(RecordedEvent):
    """What the audit records of schedules."""

    CREATED = "schedule.created"
    UPDATED = "schedule.updated"
    DELETED = "schedule.deleted"
    PAUSED = "schedule.paused"
    RESUMED = "schedule.resumed"
    TRIGGERED = "schedule.triggered"
    BACKFILLED = "schedule.backfilled"


class SkipCode(StrEnum):
    """Why a time has no task."""

    OVERLAP = "overlap"
    QUOTA = "quota"
    INVALID_ARGUMENTS = "invalid_arguments"
    INACTIVE_USER = "inactive_user"
    UNIQUE_KEY_TAKEN = "unique_key_taken"
    LIMIT_REACHED = "limit_reached"
    PRIORITY_NOT_ALLOWED = "priority_not_allowed"
    MISSED = "missed"


class RunKind(IntEnum):
    """What a row of `schedule_runs` is about. Its number is part of the key."""

    MISSED = 0
    """One or several times that were missed."""
    TIME = 1
    """One nominal time: its task, fired or made by a backfill, or why it has none."""
    TRIGGER = 2


class Schedule(columns.Base):
    """One schedule. Maintenance looks for `due_at`; `app/services/schedules/due_schedules.py` says what follows."""

    __tablename__ = "schedules"

    def __repr__(self) -> str:
        """Return what a row is about; a value that is not loaded is not asked for."""
        known = self.__dict__
        times = known.get("cron") or f"every {known.get('every_seconds')} s"
        return f"<Schedule {known.get('id')} {known.get('name')!r} {times!r}>"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    # The request, with the fields that the client named; and of these what the list is filtered by.
    task: Mapped[dict[str, Any]] = mapped_column(columns.JSONText)
    celery_task_name: Mapped[str] = mapped_column(columns.ShortText)
    cron: Mapped[str | None]
    every_seconds: Mapped[float | None] = mapped_column(columns.Double)
    timezone: Mapped[str] = mapped_column(columns.ShortText)
    start_at: Mapped[datetime | None]
    end_at: Mapped[datetime | None]
    jitter_seconds: Mapped[float] = mapped_column(columns.Double, server_default="0")
    overlap: Mapped[str] = mapped_column(columns.Word, server_default=Overlap.SKIP.value)
    catch_up: Mapped[str] = mapped_column(columns.Word, server_default=CatchUp.LATEST.value)
    catch_up_seconds: Mapped[float] = mapped_column(columns.Double, server_default="3600")
    paused: Mapped[bool] = mapped_column(server_default=sa.false())
    # What the service paused it for. NULL: its owner did.
    pause_reason: Mapped[str | None]
    resumed_at: Mapped[datetime | None]
    tags: Mapped[list[str]] = mapped_column(columns.TextList, server_default=columns.EmptyTextList())
    metadata_: Mapped[dict[str, Any]] = mapped_column(
        "metadata", columns.JsonObject, server_default=columns.EmptyJsonObject()
    )

    # Nominal times up to it are dealt with; the first one after it, NULL once there is none and while it is paused; and
    # when maintenance is to look at it, which is that time but after an unexpected error.
    done_until: Mapped[datetime]
    next_run_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    # A nominal time that waits for the end of an earlier task.
    held_for: Mapped[datetime | None]
    # The version of the time zones by which `next_run_at` was computed.
    tzdata: Mapped[str] = mapped_column(columns.Word)

    last_run_at: Mapped[datetime | None]
    # No foreign key: the task may be deleted.
    last_task_id: Mapped[UUID | None]
    runs: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    skipped: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    # When receivers of webhooks were told of skipped times last.
    skip_told_at: Mapped[datetime | None]
    # Grows with each change by a client.
    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        sa.CheckConstraint("(cron IS NULL) <> (every_seconds IS NULL)", name="timing"),
        columns.enum_check("overlap", Overlap),
        columns.enum_check("catch_up", CatchUp),
        *schedule_indexes(),
    )


class ScheduleRun(columns.Base):
    """What became of a nominal time, of several that were missed, or of a trigger.

    The key holds that a nominal time has one task at most, whatever runs twice. No foreign key leads to the task.
    """

    __tablename__ = "schedule_runs"

    def __repr__(self) -> str:
        """Return which time, and what became of it."""
        known = self.__dict__
        return f"<ScheduleRun {known.get('scheduled_for')} {known.get('task_id') or known.get('skipped')}>"

    schedule_id: Mapped[UUID] = mapped_column(sa.ForeignKey("schedules.id", ondelete="CASCADE"), primary_key=True)
    scheduled_for: Mapped[datetime] = mapped_column(primary_key=True)
    kind: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True, autoincrement=False)
    task_id: Mapped[UUID | None]
    skipped: Mapped[str | None] = mapped_column(columns.Word)
    # Of a row that stands for several times: how many, and the last one.
    count: Mapped[int | None]
    until: Mapped[datetime | None]
    by_backfill: Mapped[bool] = mapped_column(server_default=sa.false())
    # The schedule fired the task by itself, and nobody has looked since its end. With `overlap: allow` nobody does.
    is_open: Mapped[bool] = mapped_column(server_default=sa.false())
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        sa.CheckConstraint("(task_id IS NULL) <> (skipped IS NULL)", name="task"),
        sa.CheckConstraint("kind BETWEEN 0 AND 2", name="kind"),
        *schedule_run_indexes(),
    )
