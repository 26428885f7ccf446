"""The statements of a worker's parent process beside the attempts."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.clock import NOW
from app.models.worker import WorkerProcess

_LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '500ms'")


def beat(db: Session, worker_id: UUID, row: dict[str, Any], changing: dict[str, Any]) -> None:
    """Register the worker with these columns, or note that a registered one is alive, with those that change."""
    first = insert(WorkerProcess).values(id=worker_id, **row, **changing)
    alive = {"heartbeat_at": NOW, "stopped_at": None, **changing}
    db.execute(first.on_conflict_do_update(index_elements=[WorkerProcess.id], set_=alive))


def limit_lock_waits(db: Session) -> None:
    """From here to the end of the transaction, a statement fails after waiting 500 ms for a row lock."""
    db.execute(_LOCK_TIMEOUT)
