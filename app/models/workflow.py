"""Workflows: tasks that were made together, each with what it waits for."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.core.ids import new_id
from app.ddl.clock import NOW
from app.ddl.columns import Base, JSONText, ShortText, Word, enum_check
from app.ddl.indexes import UPDATED_ONCE
from app.models.audit import RecordedEvent
from app.models.task import TERMINAL, TaskStatus


class WorkflowEvent(RecordedEvent):
    """What the audit records of workflows."""

    CANCELLED = "workflow.cancelled"
    RETRIED = "workflow.retried"
    DELETED = "workflow.deleted"


class OnFailure(StrEnum):
    """What becomes of the tasks that depend on one that failed or was revoked."""

    CANCEL = "cancel"
    """They are revoked, with `status_reason: parent_failed`."""
    CONTINUE = "continue"
    """They run; a reference to its result is null."""


class Workflow(Base):
    """A workflow. Its state is that of its tasks: `status` and `finished_at` are set while all of them have ended."""

    __tablename__ = "workflows"

    def __repr__(self) -> str:
        """Return what a row is about; a value that is not loaded is not asked for."""
        known = self.__dict__
        return f"<Workflow {known.get('id')} {known.get('name')!r} {known.get('status') or 'active'}>"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    on_failure: Mapped[str] = mapped_column(Word, server_default=OnFailure.CANCEL.value)
    status: Mapped[str | None] = mapped_column(Word)
    # Rises with each retry of one of its tasks after its end.
    generation: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        enum_check("on_failure", OnFailure),
        sa.CheckConstraint(
            f"status IS NULL OR status IN ({', '.join(repr(each.value) for each in TaskStatus if each in TERMINAL)})",
            name="status",
        ),
        sa.CheckConstraint("(status IS NULL) = (finished_at IS NULL)", name="finished"),
        sa.Index("ix_workflows_user", "user_id", "id"),
    )


class WorkflowNode(Base):
    """A task of a workflow, in the order of the request. It outlives the task.

    `parents` are the positions of what it waits for, all of them lower than its own or not: the request may have any
    order. `status` is that of the task as its last end has left it, `pending` before; `version` likewise.
    """

    __tablename__ = "workflow_nodes"
    __table_args__ = (
        sa.UniqueConstraint("workflow_id", "ref", name="uq_workflow_nodes_ref"),
        sa.Index("ix_workflow_nodes_task", "task_id"),
        UPDATED_ONCE,
    )

    workflow_id: Mapped[UUID] = mapped_column(sa.ForeignKey("workflows.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    ref: Mapped[str] = mapped_column(ShortText)
    parents: Mapped[list[int]] = mapped_column(JSONText)
    # NULL once the task is deleted.
    task_id: Mapped[UUID | None]
    status: Mapped[str] = mapped_column(Word, server_default=TaskStatus.PENDING.value)
    version: Mapped[int] = mapped_column(server_default="1")
