"""What no worker may claim: the tasks of a paused queue, and any task for a worker that drains."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base
from app.ddl.checks import one_of
from app.ddl.clock import NOW
from app.ddl.columns import ShortText, Word
from app.models.recorded_event import RecordedEvent


class QueueEvent(RecordedEvent):
    """What the audit records of queues."""

    PAUSED = "queue.paused"
    RESUMED = "queue.resumed"


class HoldKind(StrEnum):
    QUEUE = "queue"
    WORKER = "worker"


class ClaimHold(Base):
    """One queue (by its name) or one start of a worker (by its id). Nearly always the table is empty.

    A trigger on `tasks` reads it at each claim (`app/ddl/postgresql/holds.py`).
    """

    __tablename__ = "claim_holds"
    __table_args__ = (one_of("kind", HoldKind),)

    kind: Mapped[str] = mapped_column(Word, primary_key=True)
    name: Mapped[str] = mapped_column(ShortText, primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=NOW)
    reason: Mapped[str | None]
    # Who asked for it; NULL for Python code, and once the user is deleted.
    held_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))
