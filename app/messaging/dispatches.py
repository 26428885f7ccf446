"""One dispatch: what a message says of a pending row."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.models.task import Task, TaskPriority

RECORD_HEADER = "task_record"
GENERATION_HEADER = "task_generation"

# What `Dispatch` needs of a row, in the order of its fields.
DISPATCHED_COLUMNS = (
    Task.id,
    Task.generation,
    Task.celery_id,
    Task.celery_task_name,
    Task.queue,
    Task.priority,
    Task.timeout_seconds,
    Task.dispatch_at,
)
_NAMES = [column.key for column in DISPATCHED_COLUMNS]


@dataclass(frozen=True)
class Dispatch:
    """A message for one generation of one task. `dispatch_at` is the due window it answers."""

    id: UUID
    generation: int
    celery_id: UUID
    celery_task_name: str
    queue: str
    priority: TaskPriority
    timeout_seconds: float | None
    dispatch_at: datetime

    @classmethod
    def of(cls, task: Any) -> "Dispatch":
        """From a task, or from a row of `DISPATCHED_COLUMNS`."""
        return cls(*[getattr(task, name) for name in _NAMES])

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Dispatch":
        """From the values of a row by their columns' names."""
        return cls(*[row[name] for name in _NAMES])
