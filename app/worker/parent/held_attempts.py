"""What the database says that this worker runs, held against what its children do."""

import os
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.models.task import Task, TaskStatus
from app.worker.parent.body_stopper import has_ended
from app.worker.shared.identity import WORKER_ID
from app.worker.shared.slot_table import Phase, Sight

_RUNNING_HERE = select(Task.id, Task.attempt, Task.worker_pid, Task.cancel_requested_at.is_not(None)).where(
    Task.worker_id == WORKER_ID, Task.status == TaskStatus.RUNNING.value
)


@dataclass(frozen=True)
class Holding:
    """A row that says that this worker runs it."""

    task_id: UUID
    attempt: int
    pid: int
    cancelled: bool


def read(db: Session) -> list[Holding]:
    """All of this worker's rows: one query on the partial index of running tasks."""
    with transaction(db):
        rows = db.execute(_RUNNING_HERE)
        return [Holding(task_id, attempt, pid or 0, asked) for task_id, attempt, pid, asked in rows]


def cancelled(held: list[Holding], busy: list[Sight]) -> list[Sight]:
    """The bodies whose cancellation was asked for."""
    return [sight for sight in busy for row in held if row.cancelled and sight.runs(row.task_id, row.attempt)]


def not_ours(held: list[Holding], before: list[Sight], after: list[Sight]) -> list[Sight]:
    """The bodies whose attempt no longer holds its task.

    They ran before the rows were read and run still: a child says so between its claim's commit and its finish.
    """
    ours = {(row.task_id, row.attempt) for row in held}
    return [s for s in after if s.phase is Phase.RUNNING and s in before and (s.task_id, s.attempt) not in ours]


def orphans(held: list[Holding], seats: list[Sight], handed_over: set[tuple[UUID, int]]) -> list[Holding]:
    """The rows that no child here has anything to do with any more; a short task may look like one for a moment.

    A child takes its seat before it claims and leaves it after its finish, written or `handed_over` (read after the
    seats), so what is an orphan at the next look as well is a real one. Nothing can be said of a process that has no
    seat and lives: it may be in a pool without forks.
    """
    seated = {sight.pid: sight.task_id for sight in seats}
    return [row for row in held if (row.task_id, row.attempt) not in handed_over and _is_orphan(row, seated)]


def _is_orphan(row: Holding, seated: dict[int, UUID]) -> bool:
    if row.pid in seated:
        return seated[row.pid] != row.task_id or has_ended(row.pid)
    return row.pid != os.getpid() and has_ended(row.pid)
