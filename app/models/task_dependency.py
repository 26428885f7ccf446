"""Which tasks wait for which: one row for each child and parent, as long as the child is there."""

from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.ddl.base import Base


class TaskDependency(Base):
    """A child waits for its parent while the row is open. The parent's end closes it, whatever the end was.

    `goes_on`: the child runs also where the parent has failed or was revoked. No foreign key to the parent: one that a
    pending child names is not deleted, another may be.
    """

    __tablename__ = "task_dependencies"
    # What a parent's end closes.
    __table_args__ = (Index("ix_task_dependencies_parent", "parent_id", "is_open"),)

    child_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    parent_id: Mapped[UUID] = mapped_column(primary_key=True)
    goes_on: Mapped[bool]
    is_open: Mapped[bool]
