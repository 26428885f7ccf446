"""Tasks as the pages show them: as the API does, with secrets hidden."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from app.models.task import TERMINAL, Task, TaskStatus, WaitingReason
from app.schemas.task import TaskRead

_FOR_A_TIME = frozenset({WaitingReason.SCHEDULE, WaitingReason.RETRY})
_ENDED_BADLY = frozenset({TaskStatus.FAILED, TaskStatus.REVOKED})


def shown(tasks: Iterable[Task | dict[str, Any]]) -> list[TaskRead]:
    """Return the tasks as the API shows them."""
    return [TaskRead.model_validate(task, from_attributes=True) for task in tasks]


def possible(task: TaskRead) -> set[str]:
    """Return the deeds that are possible in the task's state, and would do something."""
    if task.status in TERMINAL:
        return {"delete", "change"} | ({"retry"} if task.status in _ENDED_BADLY else set())
    waits = task.waiting_for.reason if task.waiting_for else None
    return (set() if task.cancel_requested_at else {"cancel"}) | ({"run-now"} if waits in _FOR_A_TIME else set())


def seconds_of(task: TaskRead, now: datetime | None = None) -> float | None:
    """Return how long the last attempt has run, or ran; None where none began."""
    if task.started_at is None:
        return None
    return ((task.finished_at or now or datetime.now(UTC)) - task.started_at).total_seconds()


def left_of(task: TaskRead, now: datetime) -> float | None:
    """Return how many seconds are left if the progress goes on as it did; None where nothing tells."""
    ran = seconds_of(task, now)
    if task.status is not TaskStatus.RUNNING or ran is None or not 0 < task.progress < 100:  # noqa: PLR2004 (percent)
        return None
    return ran * (100 - task.progress) / task.progress
