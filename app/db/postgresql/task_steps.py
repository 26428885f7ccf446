"""Steps of a task, as an attempt writes them: one statement in the place of two, one round trip, one commit."""

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Select, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.postgresql.prepared import PreparedConnection
from app.db.postgresql.transitions import in_state
from app.db.statements.ends import Cancellation
from app.db.statements.executing import SET_LOCAL
from app.db.statements.tables import STEPS, TASKS
from app.db.statements.task_steps import ATTEMPT, ID, VALUES, Step, names_of, parameters_of, result_of
from app.models.task import TaskStatus

__all__ = ["Step", "names_of", "result_of", "write"]

Executor = Session | Connection | PreparedConnection


def _write() -> Select[Any]:
    held = (
        select(TASKS.c.user_id, TASKS.c.cancel_requested_at)
        .where(TASKS.c.id == ID, TASKS.c.attempt == ATTEMPT, in_state(TaskStatus.RUNNING))
        .with_for_update(read=True)
        .cte("held")
    )
    row = select(*VALUES.values(), held.c.user_id)
    # What is there already is of this attempt: the reply to an earlier try was lost.
    kept = insert(STEPS).from_select([*VALUES, "user_id"], row).on_conflict_do_nothing().cte("kept")
    # A body may have changed its own row in a transaction that goes on.
    return select(held.c.cancel_requested_at).add_cte(kept).execution_options(**{SET_LOCAL: {"lock_timeout": "2s"}})


WRITE = _write()


def write(db: Executor, task_id: UUID, attempt: int, step: Step) -> Cancellation:
    """Keep a step. Safe to run again after a lost reply: no other attempt writes one of this name."""
    return db.execute(WRITE, parameters_of(task_id, attempt, step)).one_or_none()
