"""Files that users upload, and artifacts that bodies of tasks save. Their bytes are in `app/storage.py`."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.ddl.clock import NOW
from app.ddl.columns import Base, ShortText, Word, enum_check
from app.models.audit import RecordedEvent


class FileEvent(RecordedEvent):
    """What the audit records of files. Uploads are not recorded, nor what time and their tasks delete."""

    DELETED = "file.deleted"


class FileState(StrEnum):
    """Where a content is on its way. The row is there before the first byte, and goes after the last one."""

    WRITING = "writing"
    """Its bytes come. A writer that is gone is noticed by `touched_at`, of an artifact by its attempt."""
    HELD = "held"
    """An artifact of an attempt: to be seen once this one has succeeded."""
    PARTIAL = "partial"
    """An artifact that is seen at once; its attempt is not known to be over."""
    KEPT = "kept"
    DROPPED = "dropped"
    """To be deleted, first the bytes, then the row."""


class StoredFile(Base):
    """A file, or with `attempt` an artifact of a task.

    A row whose user is deleted, and an artifact whose task is, has NULL there: maintenance deletes it with its bytes.
    `size` is 0 until the bytes are there, and of what is dropped.
    """

    __tablename__ = "files"

    def __repr__(self) -> str:
        """Return which content; a value that is not loaded is not asked for."""
        known = self.__dict__
        return f"<StoredFile {known.get('id')} {known.get('name')!r} {known.get('state')}>"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("users.id", ondelete="SET NULL"))
    task_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("tasks.id", ondelete="SET NULL"))
    attempt: Mapped[int | None]
    name: Mapped[str] = mapped_column(ShortText)
    content_type: Mapped[str] = mapped_column(ShortText)
    size: Mapped[int] = mapped_column(sa.BigInteger, server_default="0")
    sha256: Mapped[str | None] = mapped_column(ShortText)
    state: Mapped[str] = mapped_column(Word, server_default=FileState.WRITING.value)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    touched_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime | None]
    # Of a content that the storage would not delete: when it is tried again.
    delete_after: Mapped[datetime | None]

    __table_args__ = (
        enum_check("state", FileState),
        sa.CheckConstraint("sha256 IS NOT NULL OR state IN ('writing', 'dropped')", name="sha256"),
        # The lists of files, a user's and an administrator's.
        sa.Index("ix_files_user", "user_id", "attempt", "id"),
        sa.Index("ix_files_listed", "attempt", "id"),
        # The quota: a sum that reads no row.
        sa.Index("ix_files_bytes", "user_id", "size"),
        sa.Index("ix_files_task", "task_id", "attempt"),
        # What maintenance looks for.
        sa.Index("ix_files_state", "state", "expires_at"),
    )


class FileUse(Base):
    """A task, or a schedule, names a file or an artifact in its arguments.

    `used_by` is the id of one of them, without a foreign key: it counts while the task is pending or running, or the
    schedule is there.
    """

    __tablename__ = "file_uses"
    __table_args__ = (sa.Index("ix_file_uses_by", "used_by"),)

    file_id: Mapped[UUID] = mapped_column(sa.ForeignKey("files.id", ondelete="CASCADE"), primary_key=True)
    used_by: Mapped[UUID] = mapped_column(primary_key=True)
