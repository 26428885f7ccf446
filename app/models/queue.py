"""What of a queue is claimed next: nothing while it is paused, else the task of the user whose turn it is.

Turns are those of start-time fair queueing, for each line: a queue and a priority. A worker that drains is held as a
paused queue is.
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.clock import NOW
from app.ddl.columns import Base, Double, ShortText, Word, enum_check
from app.ddl.indexes import OFTEN_UPDATED_ROWS, SHORT_LIVED_ROWS
from app.models.audit import RecordedEvent


class QueueEvent(RecordedEvent):
    """What the audit records of queues."""

    PAUSED = "queue.paused"
    RESUMED = "queue.resumed"


class HoldKind(StrEnum):
    QUEUE = "queue"
    WORKER = "worker"


class ClaimHold(Base):
    """One queue (by its name) or one start of a worker (by its id). Nearly always the table is empty.

    A trigger on `tasks` reads it at each claim (`app/ddl/postgresql.py`).
    """

    __tablename__ = "claim_holds"
    __table_args__ = (enum_check("kind", HoldKind),)

    kind: Mapped[str] = mapped_column(Word, primary_key=True)
    name: Mapped[str] = mapped_column(ShortText, primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=NOW)
    reason: Mapped[str | None]
    # Who asked for it; NULL for Python code, and once the user is deleted.
    held_by: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="SET NULL"))


# -- Where the lines and the users stand, by which a task gets its turn (start-time fair queueing) ---------------------


class ClaimedTurn(Base):
    """The highest turn that a claim took from a line (a queue and a priority). The highest of all is the line's clock.

    Rows are only added, and the old ones deleted once a minute. So claims wait for no lock, and the index finds the
    highest one also beside a long transaction, which keeps each version of a row that is updated.
    """

    __tablename__ = "claimed_turns"

    queue: Mapped[str] = mapped_column(ShortText, primary_key=True)
    priority: Mapped[str] = mapped_column(Word, primary_key=True)
    turn: Mapped[float] = mapped_column(Double, primary_key=True)

    __table_args__ = (SHORT_LIVED_ROWS,)


class UserTurn(Base):
    """The last turn that one user's tasks have in a line. A row whose turn the clock has passed says nothing."""

    __tablename__ = "user_turns"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    queue: Mapped[str] = mapped_column(ShortText, primary_key=True)
    priority: Mapped[str] = mapped_column(Word, primary_key=True)
    last: Mapped[float]
    # The line's clock at the last submit: the statement that places tasks needs both.
    clock: Mapped[float]

    __table_args__ = (OFTEN_UPDATED_ROWS,)
