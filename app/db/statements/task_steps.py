"""Steps of a task, as an attempt writes and reads them. Pages of them: `app/services/tasks/task_steps.py`."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import BigInteger, Integer, Text, bindparam, exists, insert, select, update

from app.db.rows import changed_rows
from app.db.statements.ends import Cancellation
from app.db.statements.executing import Executes, Executor, Transaction, atomically
from app.db.statements.tables import STEPS, TASKS
from app.db.statements.task_moves import touched
from app.db.statements.transitions import in_state
from app.ddl.clock import STATEMENT_TIME, seconds
from app.ddl.columns import Double, LongText
from app.models.task import TaskStatus

ID, ATTEMPT = bindparam("p_task_id", type_=STEPS.c.task_id.type), bindparam("p_attempt", type_=Integer)
NAME, BYTES = bindparam("p_name", type_=Text), bindparam("p_bytes", type_=BigInteger)
# The exact text that is counted.
VALUES = {
    "task_id": ID,
    "seq": bindparam("p_seq", type_=BigInteger),
    "name": NAME,
    "attempt": ATTEMPT,
    "started_at": STATEMENT_TIME - seconds(bindparam("p_seconds", type_=Double)),
    "finished_at": STATEMENT_TIME,
    "bytes": BYTES,
    "result": bindparam("p_result", type_=LongText),
}
OF_NAME = (STEPS.c.task_id == ID, STEPS.c.name == NAME)
_THIS_ATTEMPT = (TASKS.c.id == ID, TASKS.c.attempt == ATTEMPT, in_state(TaskStatus.RUNNING))
_COUNT = (
    update(TASKS)
    .where(*_THIS_ATTEMPT, ~exists(select(STEPS.c.seq).where(*OF_NAME)))
    .values({"attached_bytes": TASKS.c.attached_bytes + BYTES, **touched()})
)
_INSERT = insert(STEPS).values(VALUES)
_CHECK = select(TASKS.c.cancel_requested_at).where(*_THIS_ATTEMPT)
_NAMES = select(STEPS.c.name).where(STEPS.c.task_id == ID)
_RESULT = select(STEPS.c.result).where(*OF_NAME)
# Of this attempt: the reply to an earlier try was lost.
IS_WRITTEN = select(STEPS.c.seq).where(*OF_NAME, STEPS.c.attempt == ATTEMPT)


class Step(NamedTuple):
    """A step that an attempt has done: its number, its name, how long it took, its result as JSON text."""

    seq: int
    name: str
    seconds: float
    result: str | None
    bytes: int


def parameters_of(task_id: UUID, attempt: int, step: Step) -> dict[str, object]:
    """Return the values of VALUES."""
    return {
        "p_task_id": task_id,
        "p_attempt": attempt,
        **{f"p_{name}": value for name, value in step._asdict().items()},
    }


def write(db: Executor, task_id: UUID, attempt: int, step: Step) -> Cancellation:
    """Keep a step, and count its bytes with the task. Safe to run again after a lost reply."""
    given = parameters_of(task_id, attempt, step)

    def keep(db: Transaction) -> Cancellation:
        if changed_rows(db.execute(_COUNT, given)):
            db.execute(_INSERT, given)
        elif db.execute(IS_WRITTEN, given).one_or_none() is None:
            return None
        return db.execute(_CHECK, given).one_or_none()

    return atomically(db, keep)


def names_of(db: Executes, task_id: UUID) -> set[str]:
    """Return the names of all steps of the task."""
    return {name for (name,) in db.execute(_NAMES, {"p_task_id": task_id}).all()}


def result_of(db: Executes, task_id: UUID, name: str) -> object:
    """Return the result of a step that is there."""
    row = db.execute(_RESULT, {"p_task_id": task_id, "p_name": name}).one_or_none()
    return None if row is None else row[0]
