"""The statements of a worker's parent process beside the attempts."""

from typing import Any
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.clock import NOW
from app.models.worker import WorkerProcess

_LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '500ms'")


def beat(db: Session, worker_id: UUID, row: dict[str, Any]) -> None:
    """Register the worker with these columns, or note that a registered one is alive."""
    first = insert(WorkerProcess).values(id=worker_id, **row)
    alive = {"heartbeat_at": NOW, "stopped_at": None}
    db.execute(first.on_conflict_do_update(index_elements=[WorkerProcess.id], set_=alive))


def say_stopped(db: Session, worker_id: UUID) -> None:
    """Note that this worker sends no more heartbeats: what it still holds may be rescued at once."""
    db.execute(update(WorkerProcess).where(WorkerProcess.id == worker_id).values({"stopped_at": NOW}))


def limit_lock_waits(db: Session) -> None:
    """From here to the end of the transaction, a statement fails after waiting 500 ms for a row lock."""
    db.execute(_LOCK_TIMEOUT)
