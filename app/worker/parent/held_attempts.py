"""The rows that say that this worker runs them, compared with what its children do."""

import os
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements import limit_places
from app.models.task import Task, TaskStatus
from app.worker.parent.body_stopper import has_ended
from app.worker.shared.slot_table import Phase, SlotState

_RUNNING_HERE = select(Task.id, Task.attempt, Task.worker_pid, Task.cancel_requested_at.is_not(None)).where(
    Task.worker_id == bindparam("p_worker_id"), Task.status == TaskStatus.RUNNING.value
)


@dataclass(frozen=True)
class HeldAttempt:
    """A row that says that this worker runs it."""

    task_id: UUID
    attempt: int
    pid: int
    cancelled: bool


def read_held(db: Session, worker_id: UUID) -> tuple[list[HeldAttempt], list[HeldAttempt]]:
    """Return this worker's rows, and the attempts with its places of limits: two queries on partial indexes."""
    with transaction(db):
        rows = db.execute(_RUNNING_HERE, {"p_worker_id": worker_id})
        held = [HeldAttempt(task_id, attempt, pid or 0, asked) for task_id, attempt, pid, asked in rows]
        places = limit_places.claimed_by(db, worker_id)
        return held, [HeldAttempt(task_id, attempt, pid or 0, cancelled=False) for task_id, attempt, pid in places]


def cancelled(held: list[HeldAttempt], busy: list[SlotState]) -> list[SlotState]:
    """Return the bodies whose cancellation was asked for."""
    return [state for state in busy for row in held if row.cancelled and state.runs(row.task_id, row.attempt)]


def lost(held: list[HeldAttempt], before: list[SlotState], after: list[SlotState]) -> list[SlotState]:
    """Return the bodies whose attempt no longer holds its task.

    They ran before the rows were read and run still: a child says so between its claim's commit and its finish.
    """
    still = {(row.task_id, row.attempt) for row in held}
    return [s for s in after if s.phase is Phase.RUNNING and s in before and (s.task_id, s.attempt) not in still]


def orphans(held: list[HeldAttempt], slots: list[SlotState], handed_over: set[tuple[UUID, int]]) -> list[HeldAttempt]:
    """Return the rows that no child here works on any more; a short task may look like one for a moment.

    A child writes its slot before it claims and empties it after its finish, written or `handed_over` (read after the
    slots), so an orphan that is one at the next look as well is a real one. A process without a slot that lives tells
    nothing: it may be in a pool without forks.
    """
    by_pid = {state.pid: state for state in slots}
    return [row for row in held if (row.task_id, row.attempt) not in handed_over and _is_orphan(row, by_pid)]


def _is_orphan(row: HeldAttempt, by_pid: dict[int, SlotState]) -> bool:
    state = by_pid.get(row.pid)
    if state is not None:
        # What was claimed with the row that runs is taken back elsewhere.
        may_hold_it = state.phase is Phase.CLAIMING or state.task_id == row.task_id or bool(state.left)
        return not may_hold_it or has_ended(row.pid)
    return row.pid != os.getpid() and has_ended(row.pid)
