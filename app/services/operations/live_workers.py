"""Which workers live, and which tasks they can run."""

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.served_tasks import served_tasks
from app.db.statements import workers


def lease() -> timedelta:
    """For how long after its last heartbeat a worker counts as living."""
    return timedelta(seconds=get_settings().worker_lease_seconds)


def look(db: Session | Connection) -> None:
    """Read the workers, unless this process has done so within a second: one small SELECT."""
    served = served_tasks()
    if served.is_due():
        served.learn((worker.queues, worker.task_names) for worker in workers.live(db, lease()))


def look_for(db: Session | Connection, waits: Iterable[str | None]) -> None:
    """The same where one of the tasks is ready, by their `Task.waits`: the answer tells whether a worker knows it."""
    if "ready" in waits:
        look(db)
