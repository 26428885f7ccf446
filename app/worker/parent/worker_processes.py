"""The worker's own row in `worker_processes`. Each function runs in the caller's transaction."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.models.worker import WorkerProcess
from app.services.execution.transitions import NOW

_LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '500ms'")


def beat(db: Session, worker_id: UUID, row: Mapping[str, Any]) -> None:
    """Write a heartbeat; `row` are the columns of the first one, which registers the worker."""
    statement = insert(WorkerProcess).values(id=worker_id, **row)
    beats = {"heartbeat_at": NOW, "stopped_at": None}
    db.execute(statement.on_conflict_do_update(index_elements=[WorkerProcess.id], set_=beats))


def say_stopped(db: Session, worker_id: UUID) -> None:
    """This worker beats no more: what it still holds may be rescued at once."""
    db.execute(update(WorkerProcess).where(WorkerProcess.id == worker_id).values({"stopped_at": NOW}))


def wait_briefly_for_locks(db: Session) -> None:
    """Give up after half a second where another transaction holds a row: the heartbeat must not wait for it."""
    db.execute(_LOCK_TIMEOUT)
