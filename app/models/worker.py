"""Worker processes and their heartbeat: one row for each Celery worker, whatever the number of its tasks."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base
from app.db.clock import NOW
from app.db.postgresql.schema.types import TextList


class WorkerProcess(Base):
    """One start of a worker; the next start under the same name gets a new row."""

    __tablename__ = "worker_processes"
    __table_args__ = (Index(None, "heartbeat_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    pid: Mapped[int]
    queues: Mapped[list[str]] = mapped_column(TextList)
    concurrency: Mapped[int]
    started_at: Mapped[datetime] = mapped_column(server_default=NOW)
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=NOW)
    stopped_at: Mapped[datetime | None]
