"""Steps of a task, as an attempt writes and reads them. Pages of them: `app/services/tasks/task_history.py`."""

from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Insert, Integer, Text, bindparam, select

from app.db.statements.ends import Cancellation
from app.db.statements.executing import Executes, Executor, Transaction, atomically
from app.db.statements.tables import STEPS, TASKS
from app.db.statements.transitions import in_state
from app.db.statements.upserting import engine_name, upsert_statement
from app.ddl.clock import STATEMENT_TIME, seconds
from app.ddl.columns import Double, Id, LongText
from app.models.task import TaskStatus

ID, ATTEMPT = bindparam("p_task_id", type_=STEPS.c.task_id.type), bindparam("p_attempt", type_=Integer)
NAME = bindparam("p_name", type_=Text)
# What is written, but for `user_id`, which the task's row has. The result is the exact text that is counted.
VALUES = {
    "task_id": ID,
    "name": NAME,
    "seq": bindparam("p_seq", type_=BigInteger),
    "attempt": ATTEMPT,
    "started_at": STATEMENT_TIME - seconds(bindparam("p_seconds", type_=Double)),
    "finished_at": STATEMENT_TIME,
    "bytes": bindparam("p_bytes", type_=Integer),
    "result": bindparam("p_result", type_=LongText),
}
_THIS_ATTEMPT = (TASKS.c.id == ID, TASKS.c.attempt == ATTEMPT, in_state(TaskStatus.RUNNING))
_HELD = select(TASKS.c.user_id, TASKS.c.cancel_requested_at).where(*_THIS_ATTEMPT).with_for_update(read=True)
_NAMES = select(STEPS.c.name).where(STEPS.c.task_id == ID)
_RESULT = select(STEPS.c.result).where(STEPS.c.task_id == ID, STEPS.c.name == NAME)


class Step(NamedTuple):
    """A step that an attempt has done: its number, its name, how long it took, its result as JSON text."""

    seq: int
    name: str
    seconds: float
    result: str | None
    bytes: int


def parameters_of(task_id: UUID, attempt: int, step: Step) -> dict[str, Any]:
    """Return the values of VALUES."""
    of_step = {f"p_{name}": value for name, value in step._asdict().items()}
    return {"p_task_id": task_id, "p_attempt": attempt, **of_step}


@cache
def _insert(engine: str) -> Insert:
    return upsert_statement(engine, STEPS).values({**VALUES, "user_id": bindparam("p_user_id", type_=Id)})


def write(db: Executor, task_id: UUID, attempt: int, step: Step) -> Cancellation:
    """Keep a step. Safe to run again after a lost reply: no other attempt writes one of this name."""
    given = parameters_of(task_id, attempt, step)

    def keep(db: Transaction) -> Cancellation:
        held = db.execute(_HELD, given).one_or_none()
        if held is None:
            return None
        db.execute(_insert(engine_name(db)), {**given, "p_user_id": held.user_id})
        return (held.cancel_requested_at,)

    return atomically(db, keep)


def names_of(db: Executes, task_id: UUID) -> set[str]:
    """Return the names of all steps of the task."""
    return {name for (name,) in db.execute(_NAMES, {"p_task_id": task_id}).all()}


def result_of(db: Executes, task_id: UUID, name: str) -> Any:
    """Return the result of a step that is there."""
    row = db.execute(_RESULT, {"p_task_id": task_id, "p_name": name}).one_or_none()
    return None if row is None else row[0]
