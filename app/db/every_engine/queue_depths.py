"""How many tasks run in each queue."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.clock import STATEMENT_TIME
from app.models.task import Task, TaskStatus

Rows = Sequence[Sequence[Any]]

RUNNING = select(Task.queue, func.count()).where(Task.status == TaskStatus.RUNNING).group_by(Task.queue)
MINUTE_AGO = STATEMENT_TIME - timedelta(minutes=1)


def read_running(db: Session) -> Rows:
    """Of each queue: its name and the number of running tasks."""
    return db.execute(RUNNING).all()
