"""The task: its states, its row, the attempts of its past.

Who moves a task out of a state:

    pending    a worker's claim (running); a cancel, or `expires_at` (revoked)
    running    its attempt's own end (succeeded, failed, pending again for a retry); the keeper or the worker's
               parent process when the attempt was lost or overran (pending, failed); whichever of them ends an
               attempt whose cancellation was asked for (revoked)
    succeeded  nobody: the end
    failed     a retry through the API (pending)
    revoked    a retry through the API (pending)

`app/services/execution/transitions.py` holds the one function that writes `status`; the CHECKs below and the trigger of
the first migration hold what the database can know by itself.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Float, ForeignKey, Index, Integer, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from app.core.ids import new_id
from app.db.base import Base, JSONText

MAX_CRASHES = 3


class TaskStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    REVOKED = "revoked"


TERMINAL = frozenset({TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.REVOKED})
ACTIVE = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING})

TRANSITIONS: dict[TaskStatus, frozenset[TaskStatus]] = {
    TaskStatus.PENDING: frozenset({TaskStatus.RUNNING, TaskStatus.REVOKED}),
    TaskStatus.RUNNING: TERMINAL | {TaskStatus.PENDING},
    TaskStatus.SUCCEEDED: frozenset(),
    TaskStatus.FAILED: frozenset({TaskStatus.PENDING}),
    TaskStatus.REVOKED: frozenset({TaskStatus.PENDING}),
}


class TaskPriority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    CRITICAL = "critical"


class AttemptOutcome(StrEnum):
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRIED = "retried"
    REVOKED = "revoked"
    WORKER_LOST = "worker_lost"
    HANDED_BACK = "handed_back"


class _Named(TypeDecorator[Any]):
    """A StrEnum kept as its text."""

    impl = Text
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_result_value(self, value: str | None, dialect: object) -> StrEnum | None:
        del dialect
        return None if value is None else self.kind(value)


def _one_of(column: str, kind: type[StrEnum]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(k)) for k in kind)})", name=column)


# One number for an ended task's status and kind, so that one index serves every filter by them.
TASK_KIND = (
    "hashtextextended(status || '/' || task_type || '/' || celery_task_name || '/' || priority || '/' || queue, 0)"
)
# The id's time is more than a minute from that of the database, or it has none.
ODD_ID = "(created_at - uuid_extract_timestamp(id) BETWEEN interval '-1 minute' AND interval '1 minute') IS NOT TRUE"


class Task(Base):
    """One accepted task. The row decides; a message only says «look at this row now»."""

    __tablename__ = "tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str]
    task_type: Mapped[str]
    celery_task_name: Mapped[str]
    args: Mapped[list[Any]] = mapped_column(JSONText)
    kwargs: Mapped[dict[str, Any]] = mapped_column(JSONText)
    priority: Mapped[TaskPriority] = mapped_column(_Named(TaskPriority))
    queue: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", JSONB, server_default="{}")

    status: Mapped[TaskStatus] = mapped_column(_Named(TaskStatus), server_default=TaskStatus.PENDING.value)
    # Why it was revoked: `cancelled`, `expired`, `ignored` (by its body), `stopped` (from outside).
    status_reason: Mapped[str | None]
    progress: Mapped[int] = mapped_column(server_default="0")
    progress_detail: Mapped[Any | None] = mapped_column(JSONText)
    result: Mapped[Any | None] = mapped_column(JSONText)
    error_type: Mapped[str | None]
    error_message: Mapped[str | None]

    run_at: Mapped[datetime | None]
    delay_seconds: Mapped[float | None] = mapped_column(Float)
    expires_at: Mapped[datetime | None]
    timeout_seconds: Mapped[float | None] = mapped_column(Float)
    retry_backoff_seconds: Mapped[float | None] = mapped_column(Float)
    max_attempts: Mapped[int] = mapped_column(server_default="1")
    # The request or the decorator named max_attempts: then `self.retry()` obeys it rather than max_retries.
    max_attempts_named: Mapped[bool] = mapped_column(server_default="false")
    rerun_lost: Mapped[bool] = mapped_column(server_default="true")

    # Fencing. `attempt` counts starts and only ever rises; progress and finish name the attempt they speak for.
    attempt: Mapped[int] = mapped_column(server_default="0")
    claim_id: Mapped[UUID | None]
    worker: Mapped[str | None]
    worker_id: Mapped[UUID | None]
    worker_pid: Mapped[int | None]
    failures: Mapped[int] = mapped_column(server_default="0")
    crashes: Mapped[int] = mapped_column(server_default="0")

    # Dispatch bookkeeping, which no client sees. `generation` rises with each retry through the API and comes with
    # a fresh celery_id; re-sending within one generation keeps both.
    celery_id: Mapped[UUID]
    generation: Mapped[int] = mapped_column(server_default="1")
    dispatch_at: Mapped[datetime | None]
    dispatched_at: Mapped[datetime | None]
    delete_requested_at: Mapped[datetime | None]

    version: Mapped[int] = mapped_column(server_default="1")
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    cancel_requested_at: Mapped[datetime | None]

    __table_args__ = (
        _one_of("status", TaskStatus),
        _one_of("priority", TaskPriority),
        CheckConstraint("(status = 'running') = (claim_id IS NOT NULL)", name="running_has_claim"),
        CheckConstraint("(status = 'pending') = (dispatch_at IS NOT NULL)", name="pending_has_dispatch"),
        CheckConstraint(
            "(status IN ('succeeded', 'failed', 'revoked')) = (finished_at IS NOT NULL)",
            name="terminal_has_finish",
        ),
        CheckConstraint("progress BETWEEN 0 AND 100", name="progress"),
        CheckConstraint("max_attempts >= 1 AND failures BETWEEN 0 AND max_attempts", name="failures"),
        CheckConstraint(f"crashes BETWEEN 0 AND {MAX_CRASHES}", name="crashes"),
        CheckConstraint("attempt >= 0 AND generation >= 1 AND version >= 1", name="counters"),
        # Pages: newest first, of one user, of one user's one status. The rest of the filters ride on these.
        Index("ix_tasks_user", "user_id", text("id DESC")),
        Index("ix_tasks_user_status", "user_id", "status", text("id DESC")),
        # Newest first, of one user and kind (TASK_KIND) and end: written by a finish alone.
        Index(
            "ix_tasks_kind",
            "user_id",
            text(TASK_KIND),
            text("id DESC"),
            postgresql_where=text("finished_at IS NOT NULL"),
        ),
        # Ids tell the time of creation, but for those that a wrong clock has made: these stand here.
        Index("ix_tasks_odd_ids", "user_id", postgresql_where=text(ODD_ID)),
        Index("ix_tasks_tags", "tags", postgresql_using="gin", postgresql_where=text("tags <> '{}'")),
        # The keeper's work. Partial, so that finished rows cost it nothing.
        Index("ix_tasks_due", "dispatch_at", postgresql_where=text("status = 'pending'")),
        Index(
            "ix_tasks_dispatched",
            "queue",
            "priority",
            "dispatched_at",
            postgresql_where=text("status = 'pending' AND dispatched_at IS NOT NULL"),
        ),
        Index(
            "ix_tasks_expiring",
            "expires_at",
            postgresql_where=text("status = 'pending' AND expires_at IS NOT NULL"),
        ),
        Index("ix_tasks_running", "worker_id", postgresql_where=text("status = 'running'")),
        Index("ix_tasks_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index(
            "ix_tasks_delete_requested",
            "id",
            postgresql_where=text("delete_requested_at IS NOT NULL"),
        ),
    )

    @property
    def has_ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def error(self) -> dict[str, str | None] | None:
        """`{type, message}` while the last attempt is one that failed."""
        if self.error_type is None:
            return None
        return {"type": self.error_type, "message": self.error_message}


class TaskAttempt(Base):
    """An attempt that did not succeed; running and succeeded ones are told by the task's own row."""

    __tablename__ = "task_attempts"
    __table_args__ = (_one_of("outcome", AttemptOutcome),)

    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    worker: Mapped[str | None]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime]
    outcome: Mapped[AttemptOutcome] = mapped_column(_Named(AttemptOutcome))
    error_type: Mapped[str | None]
    error_message: Mapped[str | None]
    traceback: Mapped[str | None]
