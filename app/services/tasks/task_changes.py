"""The changes of a task: one guarded statement for each, and the reports of its state, which are made of them.

A statement returns whether it matched. Nothing here commits: `task_service` does.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Delete, Update, case, delete, func, literal, null, select, true, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.sql import limits, transitions
from app.db.statements import dependencies
from app.db.statements.limit_places import UNCLAIMED, of_task
from app.db.statements.pending_rows import IS_HELD_OTHERWISE
from app.db.statements.reads import is_one_of
from app.db.statements.task_moves import HELD_ANEW, HELD_BY_LIMIT, NO_ERROR, touched
from app.db.statements.writes import changed_rows
from app.db.transactions import after_commit
from app.ddl.clock import NOW, STATEMENT_TIME
from app.ddl.columns import UTCDateTime
from app.errors import InvalidTransition, TaskHasChildren, Text
from app.messaging import hints
from app.models.audit import AuditEvent
from app.models.task import NEVER_DUE, TERMINAL, Held, Task, TaskStatus, WaitingReason
from app.models.user import User
from app.services import audit
from app.services.execution import attempts, ends
from app.services.execution.attempts import AttemptError, CurrentAttempt, current_attempt
from app.services.tasks import task_queries

# For statements that name their task.
PENDING, RUNNING = transitions.in_state(TaskStatus.PENDING), transitions.in_state(TaskStatus.RUNNING)
ENDED = Task.status.in_(sorted(TERMINAL))
_BITS = func.coalesce(Task.followers, 0).bitwise_or(func.coalesce(User.followers, 0))
_FOLLOWERS = case((_BITS > 0, _BITS), else_=null())
FOLLOWED_ANEW = select(_FOLLOWERS).where(User.id == Task.user_id).scalar_subquery()
# What is kept with a task is deleted with it: each may have thousands of log lines.
PURGE_BYTES = 64 * 1024 * 1024
# Two statements miss where the task moves in between, and are tried again. More misses than this are no race.
TRIES = 10
_CANNOT = "Cannot {} a task that is {}"


def _changed(db: Session, task_id: UUID, statement: Update | Delete) -> bool:
    """Execute a statement that names this task. Returns whether it matched."""
    return _hinted(db, task_id, matched=changed_rows(db.execute(statement)) > 0)


def _hinted(db: Session, task_id: UUID, *, matched: bool) -> bool:
    if matched:
        hints.changes(db, task_id)
    return matched


def refused(db: Session, task_id: UUID, template: str, *gaps: str) -> InvalidTransition:
    """Return the error to raise where a guarded statement matched no row; its last gap is the status of the task.

    Raises TaskNotFound where there is no task.
    """
    return InvalidTransition(Text(template, *gaps, task_queries.read(db, task_id).status))


def not_waiting(db: Session, task_id: UUID) -> InvalidTransition:
    """Return the error to raise where `run_now` matched no row. Raises TaskNotFound where there is no task."""
    task = task_queries.read(db, task_id)
    state = task.status.value
    if task.status is TaskStatus.PENDING:
        state = "waiting for other tasks" if task.held == Held.DEPENDENCY.value else "due already"
    return InvalidTransition(
        Text("Only a pending task that waits for its time or its back-off can run now; it is {}", state)
    )


def revoke_pending(db: Session, task_id: UUID, reason: str = "cancelled") -> bool:
    """Revoke a pending task: it never starts, whatever messages were sent."""
    return ends.end_tasks(db, ends.withdrawn(reason), Task.id == task_id) > 0


def revoke_all_pending(db: Session, ids: Sequence[UUID]) -> None:
    """Revoke the pending ones of these tasks, in one statement."""
    if ids:
        ends.end_tasks(db, ends.withdrawn("cancelled"), is_one_of(Task.id, ids))


def request_cancel(db: Session, task_id: UUID) -> bool:
    """Ask the running attempt to stop. False where nothing runs, or it was asked before."""
    return _changed(db, task_id, _cancel_request(Task.id == task_id))


def request_all_cancels(db: Session, ids: Sequence[UUID]) -> None:
    """Ask the running attempts of these tasks to stop, in one statement."""
    if ids:
        db.execute(_cancel_request(is_one_of(Task.id, ids)))
        hints.changes(db, *ids)


def _cancel_request(which: ColumnElement[bool]) -> Update:
    running = update(Task).where(which, RUNNING, Task.cancel_requested_at.is_(None))
    values = {"cancel_requested_at": NOW, **touched()}
    return running.values(values).execution_options(synchronize_session=False)


def restart(db: Session, task_id: UUID) -> bool:
    """Make a failed or revoked task pending again, as a new generation under a new Celery id."""
    return _restart(db, Task.id == task_id, new_id(), by_user=get_settings().quota_running_tasks > 0)


def restart_all(db: Session, ids: Sequence[UUID]) -> None:
    """Make these ended tasks pending again, in one statement. None of them has a `unique_key`."""
    if ids:
        these, celery_ids = transitions.with_ids({each: new_id() for each in ids})
        _restart(db, these, celery_ids, by_user=get_settings().quota_running_tasks > 0)


def _restart(db: Session, which: ColumnElement[bool], celery_id: UUID | ColumnElement[UUID], *, by_user: bool) -> bool:
    values = {
        "user_limited": by_user or None,
        "held": Held.USER.value if by_user else HELD_BY_LIMIT,
        "generation": Task.generation + 1,
        "celery_id": celery_id,
        "failures": 0,
        "crashes": 0,
        "result": None,
        "cancel_requested_at": None,
        "delete_requested_at": None,
        "run_at": None,
        # An `expires_at` in the past would revoke it again at once.
        "expires_at": case((Task.expires_at > NOW, Task.expires_at), else_=null()),
        # An endpoint of the user may be newer than the task.
        "followers": FOLLOWED_ANEW,
        **NO_ERROR,
    }
    moved = transitions.move_tasks(
        db, TaskStatus.PENDING, which, sources=[TaskStatus.FAILED, TaskStatus.REVOKED], values=values
    )
    hints.changes(db, *moved)
    return bool(moved)


def set_progress(db: Session, task_id: UUID, values: dict[str, Any]) -> bool:
    """From outside: set the progress of the running attempt, whichever it is."""
    return _changed(db, task_id, _update(task_id, RUNNING).values({**values, **touched()}))


def set_last_progress(db: Session, task_id: UUID, attempt: int, progress: int) -> None:
    """Set the progress of an attempt whose end is written by the next statement, which counts the version."""
    db.execute(_update(task_id, RUNNING, Task.attempt == attempt).values(progress=progress))


def patch(
    db: Session, task_id: UUID, version: int, values: dict[str, Any], *, pending_only: bool, more_bytes: int = 0
) -> bool:
    """Change the fields, if the task is still at this version and, with `pending_only`, pending.

    With `held` among them the task waits for its places anew, and has none meanwhile.
    `more_bytes` is what they take in addition, or a negative number. A task from before bytes were counted may hold
    less than it counts.
    """
    if more_bytes:
        attached = Task.attached_bytes + more_bytes
        values = {**values, "attached_bytes": case((attached > 0, attached), else_=0)}
    guard = [Task.version == version, *([PENDING] if pending_only else [])]
    return _set(db, task_id, guard, values)


def run_now(db: Session, task_id: UUID) -> bool:
    """Make a pending task due that waits for its time or its back-off. It takes a new turn."""
    # The UPDATE begins behind the commit of another call. Where a statement's time is that of its beginning (MariaDB,
    # MySQL), one that had to wait for that commit would still see a task whose time is to come, and do it again.
    db.execute(select(Task.id).where(Task.id == task_id).with_for_update()).first()
    guard = [PENDING, Task.waits.in_([WaitingReason.SCHEDULE.value, WaitingReason.RETRY.value])]
    start = {"run_at": STATEMENT_TIME}
    return _set(db, task_id, guard, {**start, **due_values(start)})


def _set(db: Session, task_id: UUID, guard: Sequence[ColumnElement[bool]], values: dict[str, Any]) -> bool:
    changed = _changed(db, task_id, _update(task_id, *guard).values({**values, **touched()}))
    if changed and "held" in values:
        limits.free_places(db, of_task(task_id), UNCLAIMED)
    return changed


def due_values(values: dict[str, Any], *, waits: bool | None = None) -> dict[str, Any]:
    """Return the values of a pending task whose `priority` or `run_at` changes: it takes a new turn once it is due.

    `waits`: whether it waits for other tasks from then on; None for as before.
    """
    run_at = values.get("run_at", Task.run_at)
    if isinstance(run_at, datetime):
        run_at = literal(run_at, UTCDateTime)
    later = func.coalesce(run_at, NOW) > NOW
    depends = Task.held == Held.DEPENDENCY.value if waits is None else literal(waits)
    never = literal(NEVER_DUE, UTCDateTime)
    return {
        "turn": None,
        "held": case((IS_HELD_OTHERWISE, Task.held), (depends, Held.DEPENDENCY.value), else_=HELD_ANEW),
        "due_at": case((IS_HELD_OTHERWISE, Task.due_at), (depends, never), (later, run_at), else_=NOW),
    }


def delete_ended(db: Session, task_id: UUID, *, pending_too: bool, has_children: bool) -> bool:
    """Delete an ended task and, with `pending_too`, a pending one. Raises TaskHasChildren if a pending one needs it."""
    allowed = ENDED | PENDING if pending_too else ENDED
    if has_children and dependencies.needed(db, [task_id]):
        raise TaskHasChildren
    # One that has got its first child since it was read is left to the next look.
    is_free = true() if has_children else ~dependencies.HAS_CHILDREN
    statement = delete(Task).where(Task.id == task_id, allowed, is_free)
    return _changed(db, task_id, statement.execution_options(synchronize_session=False))


def delete_all_ended(db: Session, ids: Sequence[UUID]) -> int:
    """Delete those of these tasks that have ended, in one statement. Those that pending tasks depend on stay.

    Returns how many it has deleted.
    """
    if not ids:
        return 0
    free = set(ids) - dependencies.needed(db, ids)
    deleted = delete(Task).where(is_one_of(Task.id, free), ENDED)
    number = changed_rows(db.execute(deleted.execution_options(synchronize_session=False)))
    hints.changes(db, *ids)
    return number


def request_delete(db: Session, task_id: UUID) -> bool:
    """Delete the running task once it has ended, and ask it to end."""
    values = {
        "delete_requested_at": func.coalesce(Task.delete_requested_at, NOW),
        "cancel_requested_at": func.coalesce(Task.cancel_requested_at, NOW),
        **touched(),
    }
    return _changed(db, task_id, _update(task_id, RUNNING).values(values))


def _update(task_id: UUID, *guard: ColumnElement[bool]) -> Update:
    return update(Task).where(Task.id == task_id, *guard).execution_options(synchronize_session=False)


# -- Reports of a task's state: from the body that runs it, or from outside (an administrator or other code) -----------
# A body reports for its own attempt only. From outside, the running attempt is fenced off: its later writes do not
# count.

# The message of a failure for which no reason was given.
NO_REASON = "update_task_status has set the task to failed, without error='…'"


def report_progress(db: Session, task_id: UUID, progress: int, detail: Any | None) -> bool:
    """Set the progress of the running attempt. Returns True if its cancellation was requested.

    Raises InvalidTransition, AttemptLost.
    """
    current = _running_attempt(task_id)
    if current is not None:
        hints.changes(db, task_id)
        return attempts.report_progress(db, task_id, current.attempt, progress, detail)
    values = {"progress": progress} if detail is None else {"progress": progress, "progress_detail": detail}
    if not set_progress(db, task_id, values):
        raise refused(db, task_id, _CANNOT, "report progress of")
    return False


def report_status(
    db: Session, task_id: UUID, to: TaskStatus, progress: int | None, result: Any, error: str | None
) -> Task:
    """Set the status: in the task's own body this ends its attempt. Returns the task. Raises InvalidTransition."""
    if result is not None and to in (TaskStatus.FAILED, TaskStatus.REVOKED):
        raise InvalidTransition(Text("A result requires the status succeeded: give the reason for {} as error='…'", to))
    if error is None and to is TaskStatus.FAILED:
        error = NO_REASON
    current = _running_attempt(task_id)
    if current is not None:
        moved = _end_own_attempt(db, current, to, progress, result, error)
    else:
        values = {} if progress is None else {"progress": progress}
        moved = _set_status(db, task_id, to, values, result, error)
    if not moved:
        raise refused(db, task_id, _CANNOT, f"set {to} on")
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
        moved = _set_status(db, task_id, to, values, state.get("result"), None)
    elif "result" in state:
        raise InvalidTransition("A result requires the status succeeded")
    else:
        moved = set_progress(db, task_id, state)
    if not moved:
        raise refused(db, task_id, _CANNOT, "set the state of")


def _set_status(
    db: Session, task_id: UUID, to: TaskStatus, values: dict[str, Any], result: Any, error: str | None
) -> bool:
    this = Task.id == task_id
    if to is TaskStatus.REVOKED:
        for _ in range(TRIES):
            if revoke_pending(db, task_id, "stopped") or ends.end_tasks(db, ends.set_revoked(error, values), this):
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
        set_last_progress(*attempt, progress)
    ended = ends.end_attempt(*attempt, ending, current.begun_after)
    if ended:
        after_commit(db, partial(current.settle, error if to is TaskStatus.FAILED else None))
    return ended


def _running_attempt(task_id: UUID) -> CurrentAttempt | None:
    """Return the attempt that runs in this context, if it belongs to this task."""
    current = current_attempt.get()
    return current if current is not None and current.task_id == task_id else None
