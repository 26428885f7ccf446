"""Bulk deeds: what is done to many tasks at the request of one user, and the tasks that are still to be done."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, false
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.ddl.clock import NOW
from app.ddl.columns import Base, Bytes, EmptyJsonObject, JSONText, Word, enum_check
from app.models.audit import RecordedEvent

# How many tasks one transaction does.
BATCH = 500
ID_BYTES = 16


class BulkEvent(RecordedEvent):
    """What the audit records of many tasks: when it is accepted, when a caller aborts it, and its end."""

    STARTED = "bulk.started"
    ABORTED = "bulk.aborted"
    ENDED = "bulk.ended"


class Deed(StrEnum):
    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


class DeedState(StrEnum):
    RUNNING = "running"
    FINISHED = "finished"
    ABORTED = "aborted"


class BulkDeed(Base):
    """One accepted request. Its counts move in the transactions that do the tasks."""

    __tablename__ = "bulk_deeds"

    # A token decides it: the same token makes the same row.
    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    deed: Mapped[str] = mapped_column(Word)
    # It may reach the tasks of others, as long as its user is an administrator.
    as_admin: Mapped[bool] = mapped_column(server_default=false())
    # It came through the API: the quotas hold, and its user must be allowed to create what is retried.
    within_quota: Mapped[bool] = mapped_column(server_default=false())
    state: Mapped[str] = mapped_column(Word, server_default=DeedState.RUNNING.value)
    matched: Mapped[int] = mapped_column(server_default="0")
    done: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    # How many tasks were left as they are, by the code of the error that the call for one task answers.
    skipped: Mapped[dict[str, int]] = mapped_column(JSONText, server_default=EmptyJsonObject())
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    finished_at: Mapped[datetime | None]
    # The filter that selected the tasks, by the names of its fields. NULL: a list of ids did.
    filter: Mapped[dict[str, Any] | None] = mapped_column(JSONText)
    # That list, as `pack_ids` writes it; up to 16 kB. NULL of a filter, and of deeds before revision 0027.
    selected: Mapped[bytes | None] = mapped_column(Bytes, deferred=True)

    __table_args__ = (
        enum_check("deed", Deed),
        enum_check("state", DeedState),
        CheckConstraint("(state = 'running') = (finished_at IS NULL)", name="finished_at"),
        Index("ix_bulk_deeds_state", "state", "user_id", "created_at"),
        Index("ix_bulk_deeds_user", "user_id"),
    )


class BulkBatch(Base):
    """Tasks of a deed that are still to be done, as their ids one after the other. Deleted once they are done."""

    __tablename__ = "bulk_batches"

    deed_id: Mapped[UUID] = mapped_column(ForeignKey("bulk_deeds.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    task_ids: Mapped[bytes] = mapped_column(Bytes)


def pack_ids(ids: Iterable[UUID]) -> bytes:
    """Return the ids as the bytes that a batch holds."""
    return b"".join(each.bytes for each in ids)


def unpack_ids(packed: bytes) -> list[UUID]:
    """Return the ids of such bytes."""
    return [UUID(bytes=bytes(packed[at : at + ID_BYTES])) for at in range(0, len(packed), ID_BYTES)]
