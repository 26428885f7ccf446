"""The statements of a worker's parent process beside the attempts."""

from typing import Any
from uuid import UUID

from sqlalchemy import null
from sqlalchemy.orm import Session

from app.db.base import Base
from app.db.clock import NOW
from app.db.connecting import of
from app.db.statements.upserting import engine_name, upsert
from app.models.worker import WorkerProcess

_LOCK_SECONDS = 0.5


_TABLE = Base.metadata.tables[WorkerProcess.__tablename__]


def beat(db: Session, worker_id: UUID, row: dict[str, Any], changing: dict[str, Any]) -> None:
    """Register the worker with these columns, or note that a registered one is alive, with those that change."""
    upsert(
        db,
        _TABLE,
        [{"id": worker_id, **row, **changing}],
        lambda _, new: {"heartbeat_at": NOW, "stopped_at": null(), **{name: new[name] for name in changing}},
    )


def limit_lock_waits(db: Session) -> None:
    """From here to the end of the transaction, a statement fails after waiting for a row lock: one second on MySQL.

    SQLite has no row locks: there it may wait for the one writer for as long as any other statement.
    """
    of(engine_name(db)).limit_lock_waits(db.connection(), _LOCK_SECONDS)
