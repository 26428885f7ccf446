"""Tasks whose bodies leave their process in a state that no task should: loaded with TASK_MODULES."""

import os
import re
import threading
from typing import Any

from sqlalchemy import update

from app.celery_app import celery_app
from app.db.session import SessionLocal, engine
from app.models.task import Task

_LEFT: list[Any] = []


@celery_app.task(name="tests.close_descriptors")
def close_descriptors(task_id: str = "") -> str:
    """Close what this process has open, as libraries do that make daemons."""
    os.closerange(3, 1024)
    return task_id


@celery_app.task(name="tests.hold_transaction")
def hold_transaction(task_id: str = "") -> None:
    """Return with a transaction that has changed the row of this very task, and is never ended."""
    db = SessionLocal()
    _LEFT.append(db)
    db.execute(update(Task).where(Task.id == task_id).values(name="held"))


@celery_app.task(name="tests.hold_own_transaction", bind=True)
def hold_own_transaction(self: Any, task_id: str = "") -> None:
    """As `hold_transaction`, in the session of the run."""
    self.db.execute(update(Task).where(Task.id == task_id).values(name="held"))


@celery_app.task(name="tests.hold_connection")
def hold_connection(task_id: str = "") -> None:
    """As `hold_transaction`, by a connection of the engine that a thread has opened."""

    def hold() -> None:
        connection = engine().connect()
        _LEFT.append(connection)
        connection.execute(update(Task).where(Task.id == task_id).values(name="held"))

    thread = threading.Thread(target=hold)
    thread.start()
    thread.join()


@celery_app.task(name="tests.stay_in_c")
def stay_in_c() -> None:
    """Never come back from a call in C that holds the interpreter's lock."""
    re.match(r"(a*)*b", "a" * 60)
