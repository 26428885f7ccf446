"""What is reported of a task's state: by the body that runs it, or from outside, by an administrator or other code.

A body speaks for its own attempt alone. From outside, the attempt that runs is fenced off: nothing that it writes
afterwards counts. None of this commits: `task_service` does.
"""

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.after_commit import after_commit
from app.errors import InvalidTransition
from app.messaging import hints
from app.models.audit import AuditEvent
from app.models.task import TERMINAL, Task, TaskStatus
from app.services.audit import recording as audit
from app.services.execution import attempts
from app.services.execution.attempts import AttemptError, CurrentAttempt, current_attempt
from app.services.tasks import task_changes, task_queries


def report_progress(db: Session, task_id: UUID, progress: int, detail: Any | None) -> bool:
    """Of the attempt that runs. True: its cancellation was asked for. Raises InvalidTransition, AttemptLost."""
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
    """In the task's own body, the end of its attempt; elsewhere a move from outside. Raises InvalidTransition."""
    current = _current(task_id)
    if current is not None:
        moved = _end_own_attempt(db, current, to, progress, result, error)
    else:
        values = {} if progress is None else {"progress": progress}
        moved = _move(db, task_id, to, values, result, error)
    if not moved:
        raise task_changes.refused(db, task_id, f"set {to} on")
    # Within the transaction: after it somebody may have deleted the task, which changes nothing about this.
    task = task_queries.read(db, task_id)
    if current is None:
        audit.record_task(db, AuditEvent.TASK_STATE_SET, task, status=to.value)
    return task


def set_state(db: Session, task_id: UUID, state: dict[str, Any]) -> None:
    """An administrator's PATCH: the moves that are open from outside, or the progress of what runs."""
    if "status" in state:
        to = TaskStatus(state["status"])
        if "result" in state and to is not TaskStatus.SUCCEEDED:
            raise InvalidTransition("A result comes with status succeeded")
        values: dict[str, Any] = {
            name: value for name, value in state.items() if name in {"progress", "progress_detail"}
        }
        moved = _move(db, task_id, to, values, state.get("result"), None)
    elif "result" in state:
        raise InvalidTransition("A result comes with status succeeded")
    else:
        moved = task_changes.set_progress(db, task_id, state)
    if not moved:
        raise task_changes.refused(db, task_id, "set the state of")


def _move(db: Session, task_id: UUID, to: TaskStatus, values: dict[str, Any], result: Any, error: str | None) -> bool:
    if to is TaskStatus.REVOKED:
        for _ in range(task_changes.TRIES):
            if task_changes.revoke_pending(db, task_id, "stopped") or task_changes.end_running(
                db, task_id, to, values, error
            ):
                return True
            # Between the two its attempt may have given it back as pending: look again.
            if task_queries.read(db, task_id).status in TERMINAL:
                return False
        return False
    if to is TaskStatus.SUCCEEDED:
        return task_changes.end_running(db, task_id, to, {**values, "progress": 100, "result": result}, None)
    if to is TaskStatus.FAILED:
        return task_changes.end_running(db, task_id, to, values, error)
    return False


def _end_own_attempt(
    db: Session, current: CurrentAttempt, to: TaskStatus, progress: int | None, result: Any, error: str | None
) -> bool:
    """A body that speaks of itself. Once it has ended its attempt, its return value counts no more."""
    fence = (db, current.task_id, current.attempt)
    hints.changes(db, current.task_id)
    if to is TaskStatus.RUNNING:
        attempts.report_progress(*fence, progress, result)
        return True
    if to is TaskStatus.SUCCEEDED:
        ended = attempts.succeed(*fence, result)
    elif to is TaskStatus.FAILED:
        ended = attempts.fail(*fence, AttemptError("Failed", error))
    elif to is TaskStatus.REVOKED:
        ended = attempts.revoke(*fence, "stopped")
    else:
        return False
    if ended:
        after_commit(db, current.settle)
    return ended


def _current(task_id: UUID) -> CurrentAttempt | None:
    """The attempt that this very context runs, if it is one of that task."""
    current = current_attempt.get()
    return current if current is not None and current.task_id == task_id else None
