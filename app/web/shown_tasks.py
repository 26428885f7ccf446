"""Tasks as the pages show them: as the API does, with secrets hidden."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from app.models.bulk_deed import Deed
from app.models.task import ACTIVE, TERMINAL, Task, TaskStatus, WaitingReason
from app.schemas.task import TaskRead

_FOR_A_TIME = frozenset({WaitingReason.SCHEDULE, WaitingReason.RETRY})
ROWS = 50  # of the list, on a page
# The states in which a deed does something.
STATES_OF: dict[Deed, list[TaskStatus]] = {
    Deed.CANCEL: sorted(ACTIVE),
    Deed.RETRY: [TaskStatus.FAILED, TaskStatus.REVOKED],
    Deed.DELETE: sorted(TERMINAL),
}


def shown(tasks: Iterable[Task | dict[str, Any]]) -> list[TaskRead]:
    """Return the tasks as the API shows them."""
    return [TaskRead.model_validate(task, from_attributes=True) for task in tasks]


def possible(task: TaskRead) -> set[str]:
    """Return the deeds that are possible in the task's state, and would do something."""
    found = {deed.value for deed, states in STATES_OF.items() if task.status in states}
    if task.status in TERMINAL:
        found.add("change")
    if task.waiting_for and task.waiting_for.reason in _FOR_A_TIME:
        found.add("run-now")
    return found - {"cancel"} if task.cancel_requested_at and task.status in ACTIVE else found


def seconds_of(task: TaskRead, now: datetime | None = None) -> float | None:
    """Return how long the last attempt has run, or ran; None where none began."""
    if task.started_at is None or task.status is TaskStatus.PENDING:
        return None
    return ((task.finished_at or now or datetime.now(UTC)) - task.started_at).total_seconds()


def waited_of(task: TaskRead, now: datetime) -> float | None:
    """Return for how many seconds the task waited for its first attempt, or waits; None where that is not known."""
    due = max(task.created_at, task.run_at or task.created_at)
    if task.status is TaskStatus.PENDING:
        return (now - due).total_seconds() if task.attempt == 0 and due <= now else None
    return (task.started_at - due).total_seconds() if task.started_at and task.attempt == 1 else None


def left_of(task: TaskRead, now: datetime) -> float | None:
    """Return how many seconds are left if the progress goes on as it did; None where nothing tells."""
    ran = seconds_of(task, now)
    if task.status is not TaskStatus.RUNNING or ran is None or not 0 < task.progress < 100:  # noqa: PLR2004 (percent)
        return None
    return ran * (100 - task.progress) / task.progress
