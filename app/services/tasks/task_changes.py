"""The statements behind `task_service`'s changes. Each is guarded; none of them commits."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, delete, func, literal, null, select, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.batches import batch
from app.errors import InvalidTransition
from app.messaging import hints
from app.models.task import TERMINAL, AttemptOutcome, Task, TaskStatus
from app.services.execution.transitions import (
    CANCELLED_REASON,
    NO_ERROR,
    NOW,
    STATEMENT_TIME,
    AttemptEnd,
    in_state,
    touched,
    transition,
)
from app.services.tasks import task_queries

# For statements that name their task.
PENDING, RUNNING = in_state(TaskStatus.PENDING), in_state(TaskStatus.RUNNING)
ENDED = Task.status.in_(sorted(TERMINAL))
PURGE_BATCH = 1000
# Two statements that each miss because the task moved in between are tried again; more often than this is no race.
TRIES = 10


def _grace() -> timedelta:
    return timedelta(seconds=get_settings().dispatch_grace_seconds)


def _matched(db: Session, statement: Any) -> bool:
    """Every statement here returns the id of the task that it has changed first."""
    row = db.execute(statement.execution_options(synchronize_session=False)).first()
    if row is not None:
        hints.changes(db, row[0])
    return row is not None


def refused(db: Session, task_id: UUID, what: str) -> InvalidTransition:
    """What to raise where a guarded statement matched no row. Raises TaskNotFound where that is why."""
    return InvalidTransition(f"Cannot {what} a task that is {task_queries.read(db, task_id).status}")


def revoke_pending(db: Session, task_id: UUID, reason: str = "cancelled") -> bool:
    """It will never start, whatever messages are out."""
    values = {"status_reason": reason}
    statement = transition(TaskStatus.REVOKED, Task.id == task_id, sources=[TaskStatus.PENDING], values=values)
    return _matched(db, statement)


def request_cancel(db: Session, task_id: UUID) -> bool:
    """Ask the running attempt to stop; asked once, it stays asked."""
    statement = update(Task).where(Task.id == task_id, RUNNING, Task.cancel_requested_at.is_(None))
    return _matched(db, statement.values({"cancel_requested_at": NOW, **touched()}).returning(Task.id))


def restart(db: Session, task_id: UUID) -> bool:
    """Failed or revoked: pending again, as a new generation under a new Celery id."""
    statement = transition(
        TaskStatus.PENDING,
        Task.id == task_id,
        sources=[TaskStatus.FAILED, TaskStatus.REVOKED],
        values={
            "generation": Task.generation + 1,
            "celery_id": new_id(),
            "failures": 0,
            "crashes": 0,
            "result": None,
            "cancel_requested_at": None,
            "delete_requested_at": None,
            "run_at": None,
            # An `expires_at` that has gone by would revoke it again at once.
            "expires_at": case((Task.expires_at > NOW, Task.expires_at), else_=null()),
            "dispatch_at": NOW + _grace(),
            **NO_ERROR,
        },
    )
    return _matched(db, statement)


def end_running(db: Session, task_id: UUID, to: TaskStatus, values: dict[str, Any], why: str | None) -> bool:
    """From outside: end whatever attempt runs. Its own writes match no row from then on."""
    ended = None
    if to is TaskStatus.FAILED:
        ended = AttemptEnd.without_traceback(AttemptOutcome.FAILED, "Failed", why or "set from outside")
        values = {**values, "error_type": "Failed", "error_message": why}
    elif to is TaskStatus.REVOKED:
        ended = AttemptEnd(AttemptOutcome.REVOKED, null(), literal(why), null())
        # Over a request to cancel that is the reason; else somebody stopped it.
        reason = case((Task.cancel_requested_at.is_not(None), "cancelled"), else_="stopped")
        values = {**values, **CANCELLED_REASON, "status_reason": reason}
    guard: list[ColumnElement[bool]] = [Task.id == task_id]
    if to is TaskStatus.FAILED:
        guard.append(Task.cancel_requested_at.is_(None))
    return _matched(db, transition(to, *guard, sources=[TaskStatus.RUNNING], values=values, ended=ended))


def set_progress(db: Session, task_id: UUID, values: dict[str, Any]) -> bool:
    """From outside, of whatever attempt runs."""
    return _matched(
        db, update(Task).where(Task.id == task_id, RUNNING).values({**values, **touched()}).returning(Task.id)
    )


def patch(db: Session, task_id: UUID, version: int, values: dict[str, Any], *, pending_only: bool) -> bool:
    """Change the fields, if the task is still at this version (and, where that matters, pending)."""
    guard = [Task.id == task_id, Task.version == version, *([PENDING] if pending_only else [])]
    return _matched(db, update(Task).where(*guard).values({**values, **touched()}).returning(Task.id))


def due_values(values: dict[str, Any]) -> dict[str, Any]:
    """What a changed `priority` or `run_at` of a pending task means for its dispatch: a new window."""
    run_at = values.get("run_at", Task.run_at)
    later = func.coalesce(run_at, NOW) > NOW
    return {"dispatched_at": None, "dispatch_at": case((later, run_at), else_=NOW)}


def delete_ended(db: Session, task_id: UUID, *, pending_too: bool) -> bool:
    allowed = ENDED | PENDING if pending_too else ENDED
    return _matched(db, delete(Task).where(Task.id == task_id, allowed).returning(Task.id))


def request_delete(db: Session, task_id: UUID) -> bool:
    """Delete the running task once it has ended, and ask it to end."""
    values = {
        "delete_requested_at": func.coalesce(Task.delete_requested_at, NOW),
        "cancel_requested_at": func.coalesce(Task.cancel_requested_at, NOW),
        **touched(),
    }
    return _matched(db, update(Task).where(Task.id == task_id, RUNNING).values(values).returning(Task.id))


def delete_finished_before(db: Session, age: timedelta) -> int:
    """One batch of the tasks that ended longer ago than `age`. Returns how many."""
    old = Task.finished_at < STATEMENT_TIME - age
    rows = batch(select(Task.id).where(old), PURGE_BATCH)
    statement = delete(Task).where(Task.id.in_(rows), ENDED).returning(Task.id)
    return len(db.execute(statement.execution_options(synchronize_session=False)).all())
