"""Reports of a task's state: from the body that runs it, or from outside (an administrator or other code).

A body reports for its own attempt only. From outside, the running attempt is fenced off: its later writes do not count.
None of these functions commits; `task_service` does.
"""

from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.after_commit import after_commit
from app.errors import InvalidTransition
from app.messaging import hints
from app.models.audit import AuditEvent
from app.models.task import TERMINAL, Task, TaskStatus
from app.services.audit import recording as audit
from app.services.execution import attempts, ends
from app.services.execution.attempts import AttemptError, CurrentAttempt, current_attempt
from app.services.tasks import task_changes, task_queries

# The message of a failure for which no reason was given.
NO_REASON = "update_task_status has set the task to failed, without error='…'"


def report_progress(db: Session, task_id: UUID, progress: int, detail: Any | None) -> bool:
    """Set the progress of the running attempt. Returns True if its cancellation was requested.

    Raises InvalidTransition, AttemptLost.
    """
    current = _current(task_id)
    if current is not None:
        hints.changes(db, task_id)
        return attempts.report_progress(db, task_id, current.attempt, progress, detail)
    values = {"progress": progress} if detail is None else {"progress": progress, "progress_detail": detail}
    if not task_changes.set_progress(db, task_id, values):
        raise task_changes.refused(db, task_id, "report progress of")
    return False


def report_status(
    db: Session, task_id: UUID, to: TaskStatus, progress: int | None, result: Any, error: str | None
) -> Task:
    """Set the status: in the task's own body this ends its attempt. Returns the task. Raises InvalidTransition."""
    if result is not None and to in (TaskStatus.FAILED, TaskStatus.REVOKED):
        raise InvalidTransition(f"A result requires the status succeeded: give the reason for {to} as error='…'")
    if error is None and to is TaskStatus.FAILED:
        error = NO_REASON
    current = _current(task_id)
    if current is not None:
        moved = _end_own_attempt(db, current, to, progress, result, error)
    else:
        values = {} if progress is None else {"progress": progress}
        moved = _move(db, task_id, to, values, result, error)
    if not moved:
        raise task_changes.refused(db, task_id, f"set {to} on")
    # In the transaction: the task may be deleted after it.
    task = task_queries.read(db, task_id)
    if current is None:
        audit.record_task(db, AuditEvent.TASK_STATE_SET, task, status=to.value)
    return task


def set_state(db: Session, task_id: UUID, state: dict[str, Any]) -> None:
    """Set the state as an administrator: one of the moves allowed from outside, or the progress of a running task.

    Raises InvalidTransition.
    """
    if "status" in state:
        to = TaskStatus(state["status"])
        if "result" in state and to is not TaskStatus.SUCCEEDED:
            raise InvalidTransition("A result requires the status succeeded")
        values: dict[str, Any] = {
            name: value for name, value in state.items() if name in {"progress", "progress_detail"}
        }
        moved = _move(db, task_id, to, values, state.get("result"), None)
    elif "result" in state:
        raise InvalidTransition("A result requires the status succeeded")
    else:
        moved = task_changes.set_progress(db, task_id, state)
    if not moved:
        raise task_changes.refused(db, task_id, "set the state of")


def _move(db: Session, task_id: UUID, to: TaskStatus, values: dict[str, Any], result: Any, error: str | None) -> bool:
    this = Task.id == task_id
    if to is TaskStatus.REVOKED:
        for _ in range(task_changes.TRIES):
            if task_changes.revoke_pending(db, task_id, "stopped") or ends.end_tasks(
                db, ends.set_revoked(error, values), this
            ):
                return True
            # Between the two statements, the attempt may have returned the task to pending: try again.
            if task_queries.read(db, task_id).status in TERMINAL:
                return False
        return False
    if to is TaskStatus.SUCCEEDED:
        return ends.end_tasks(db, ends.set_succeeded(result, {**values, "progress": 100}), this) > 0
    if to is TaskStatus.FAILED:
        return ends.end_tasks(db, ends.set_failed(error, values), this) > 0
    return False


def _end_own_attempt(
    db: Session, current: CurrentAttempt, to: TaskStatus, progress: int | None, result: Any, error: str | None
) -> bool:
    """End the attempt of the running body. The body's return value does not count afterwards."""
    attempt = (db, current.task_id, current.attempt)
    hints.changes(db, current.task_id)
    if to is TaskStatus.RUNNING:
        attempts.report_progress(*attempt, progress, result)
        return True
    current.begin_end()
    if to is TaskStatus.SUCCEEDED:
        ending = ends.succeeded(result)
    elif to is TaskStatus.FAILED:
        ending = ends.failed(AttemptError("Failed", error))
    elif to is TaskStatus.REVOKED:
        ending = ends.stopped("stopped")
    else:
        return False
    if progress is not None and to is not TaskStatus.SUCCEEDED:
        task_changes.set_last_progress(*attempt, progress)
    ended = ends.end_attempt(*attempt, ending, current.begun_after)
    if ended:
        after_commit(db, partial(current.settle, error if to is TaskStatus.FAILED else None))
    return ended


def _current(task_id: UUID) -> CurrentAttempt | None:
    """Return the attempt that runs in this context, if it belongs to this task."""
    current = current_attempt.get()
    return current if current is not None and current.task_id == task_id else None
