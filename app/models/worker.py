"""Processes of the service: workers and their heartbeat, the leader of maintenance, and what beats have fired.

A worker has one row for each start, whatever the number of its tasks.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.clock import NOW
from app.ddl.columns import Base, JSONText, ShortText, TextList, short_text
from app.models.audit import RecordedEvent


class WorkerEvent(RecordedEvent):
    """What the audit records of workers."""

    DRAINED = "worker.drained"


class WorkerState(StrEnum):
    """`draining`: it takes nothing more, and leaves. `lost`: it has sent no heartbeat for the time of the lease."""

    ALIVE = "alive"
    DRAINING = "draining"
    LOST = "lost"


class WorkerProcess(Base):
    """One start of a worker; the next start under the same name gets a new row."""

    __tablename__ = "worker_processes"
    __table_args__ = (Index(None, "heartbeat_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(short_text(255))
    pid: Mapped[int]
    queues: Mapped[list[str]] = mapped_column(TextList)
    concurrency: Mapped[int]
    # The tasks that it can run, sorted; NULL for all.
    task_names: Mapped[list[str] | None] = mapped_column(TextList)
    # As of the last heartbeat: attempts that its children have begun, and the resident memory of all its processes.
    processed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    version: Mapped[str | None]
    # TASK_BUILD_ID, and what must agree with other hosts (`app/core/agreement.py`), as of its start.
    build_id: Mapped[str | None] = mapped_column(ShortText)
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSONText)
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=NOW)
    stopped_at: Mapped[datetime | None]


# -- The maintenance lease: one row, held by the process that leads ----------------------------------------------------

LEASE_ROW = 1


class MaintenanceLease(Base):
    """A row that expires: a frozen process would hold an advisory lock without end."""

    __tablename__ = "maintenance_lease"
    __table_args__ = (CheckConstraint(f"id = {LEASE_ROW}", name="single"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    holder: Mapped[UUID]
    # The holder, where it is a beat. From any other holder a beat takes the lease at once.
    beat: Mapped[UUID | None]
    renewed_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    # No attempt is rescued before this: after an outage every heartbeat is stale.
    rescue_after: Mapped[datetime]


# -- When each periodic task fired last, from whichever beat -----------------------------------------------------------


class Period(Base):
    """One row for each entry of beat's schedule. A new entry counts from the time when a beat first saw it."""

    __tablename__ = "periods"

    name: Mapped[str] = mapped_column(short_text(255), primary_key=True)
    fired_at: Mapped[datetime] = mapped_column(server_default=NOW)
