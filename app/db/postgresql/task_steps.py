"""Steps of a task, as an attempt writes them: one statement in the place of three, one round trip, one commit."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, exists, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.postgresql.prepared import PreparedConnection
from app.db.postgresql.transitions import in_state
from app.db.statements.ends import Cancellation
from app.db.statements.executing import SET_LOCAL
from app.db.statements.tables import STEPS, TASKS
from app.db.statements.task_moves import touched
from app.db.statements.task_steps import (
    ATTEMPT,
    BYTES,
    ID,
    IS_WRITTEN,
    OF_NAME,
    VALUES,
    Step,
    names_of,
    parameters_of,
    result_of,
)
from app.models.task import TaskStatus

__all__ = ["Step", "names_of", "result_of", "write"]

Executor = Session | Connection | PreparedConnection
_THIS_ATTEMPT = (TASKS.c.id == ID, TASKS.c.attempt == ATTEMPT, in_state(TaskStatus.RUNNING))


def _write() -> Select[Any]:
    counted = (
        update(TASKS)
        .where(*_THIS_ATTEMPT, ~exists(select(STEPS.c.seq).where(*OF_NAME)))
        .values({"attached_bytes": TASKS.c.attached_bytes + BYTES, **touched()})
        .returning(TASKS.c.cancel_requested_at)
        .cte("counted")
    )
    kept = insert(STEPS).from_select([*VALUES], select(*VALUES.values()).select_from(counted)).cte("kept")
    # A body may hold its own row in a transaction that goes on.
    return select(counted.c.cancel_requested_at).add_cte(kept).execution_options(**{SET_LOCAL: {"lock_timeout": "2s"}})


WRITE = _write()
_AGAIN = select(TASKS.c.cancel_requested_at).where(*_THIS_ATTEMPT, exists(IS_WRITTEN))


def write(db: Executor, task_id: UUID, attempt: int, step: Step) -> Cancellation:
    """Keep a step, and count its bytes with the task. Safe to run again after a lost reply."""
    given = parameters_of(task_id, attempt, step)
    return db.execute(WRITE, given).one_or_none() or db.execute(_AGAIN, given).one_or_none()
