"""Rows that an attempt adds to its task while its body runs: log lines and output.

The task's row counts their bytes.
"""

import time
from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import ColumnElement, Table, select, update
from sqlalchemy.orm import Session

from app.core.engines import SQLITE
from app.db.connecting.sqlite import brief_lock_waits
from app.db.statements.executing import Transaction
from app.db.statements.upserting import engine_name
from app.models.task import Task

_LOCK_SECONDS, _LOCK_PAUSE = 0.2, 0.01
# On PostgreSQL by the key also where the table was empty when it made the plan.
BY_KEY = {"enable_seqscan": "off"}


def lock_task(db: Transaction, task_id: UUID, *conditions: ColumnElement[bool]) -> bool:
    """Lock the row of the task. Returns False where there is none that meets the conditions.

    Raises OperationalError (`is_locked`). Waits briefly: a body may hold its own row in a transaction that goes on.
    What it writes waits for the next time, and does not hang.
    """
    task = select(Task.id).where(Task.id == task_id, *conditions)
    if engine_name(db) == SQLITE:
        with brief_lock_waits(db.connection() if isinstance(db, Session) else db, _LOCK_SECONDS):
            return db.scalar(task.with_for_update()) is not None
    until = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < until:
        if db.scalar(task.with_for_update(skip_locked=True)) is not None:
            return True
        if db.scalar(task) is None:
            return False
        time.sleep(_LOCK_PAUSE)
    return db.scalar(task.with_for_update(nowait=True)) is not None


def there_already(db: Transaction, table: Table, task_id: UUID, numbers: Iterable[int]) -> set[int]:
    """Return those of the numbers that the table has: rows are sent again after a lost reply."""
    asked = set(numbers)
    if not asked:
        return asked
    between = table.c.seq.between(min(asked), max(asked))
    return {*db.scalars(select(table.c.seq).where(table.c.task_id == task_id, between))}


def count_bytes(db: Transaction, task_id: UUID, change: int) -> None:
    """Count so many bytes more with the task."""
    if change:
        counted = update(Task).where(Task.id == task_id).values(attached_bytes=Task.attached_bytes + change)
        db.execute(counted.execution_options(synchronize_session=False))
