"""Worker processes and their heartbeat: one row for each Celery worker, whatever the number of its tasks."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.clock import NOW
from app.ddl.columns import TextList, short_text
from app.models.recorded_event import RecordedEvent


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
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=NOW)
    stopped_at: Mapped[datetime | None]
