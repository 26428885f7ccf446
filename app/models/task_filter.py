"""What to list or count: the values of a filter. How an engine reads them stands beside its other statements."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.models.task import TaskPriority, TaskStatus, WaitingReason


@dataclass(frozen=True)
class TaskFilter:
    """What to list or count; None and an empty sequence leave a field out of the filter."""

    user_id: UUID | None = None
    status: Sequence[TaskStatus] = ()
    task_type: str | None = None
    celery_task_name: str | None = None
    priority: TaskPriority | None = None
    queue: str | None = None
    tag: Sequence[str] = ()
    name: str | None = None
    waiting_for: WaitingReason | None = None
    # A fingerprint.
    error: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
