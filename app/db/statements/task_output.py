"""Writing what a body emits. Reading it is portable: `app/services/tasks/task_history.py`."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import bindparam, func, insert, select

from app.db.statements.attached_rows import BY_KEY, count_bytes, lock_task, there_already
from app.db.statements.ends import Cancellation
from app.db.statements.executing import SET_LOCAL, Executes, Executor, Transaction, atomically, read_number
from app.db.statements.tables import OUTPUT, TASKS
from app.db.statements.transitions import in_state
from app.ddl.columns import LongText
from app.models.task import TaskStatus

# The exact text of the chunk, which is counted.
_INSERT = insert(OUTPUT).values(chunk=bindparam("p_chunk", type_=LongText))
_STORED = (
    select(func.sum(OUTPUT.c.bytes))
    .where(OUTPUT.c.task_id == bindparam("p_task_id", type_=OUTPUT.c.task_id.type))
    .execution_options(**{SET_LOCAL: BY_KEY})
)


class Chunk(NamedTuple):
    """A row to be written: number, stream, time (RFC 3339), the chunk as JSON text, and what the row counts."""

    seq: int
    stream: str
    at: str
    chunk: str
    bytes: int


def write(db: Executor, task_id: UUID, attempt: int, chunks: Sequence[Chunk], *, has_ended: bool) -> Cancellation:
    """Add these chunks. Those that are there already are left: they were sent again after a lost reply.

    Returns None, and writes nothing, where the attempt does not hold the task: it is not running, or in another
    attempt. `has_ended`: the body has ended its own attempt, which need not be running any more.
    """
    return atomically(db, lambda transaction: _write(transaction, task_id, attempt, chunks, has_ended))


def _write(db: Transaction, task_id: UUID, attempt: int, chunks: Sequence[Chunk], has_ended: bool) -> Cancellation:
    holds = [TASKS.c.attempt == attempt] if has_ended else [TASKS.c.attempt == attempt, in_state(TaskStatus.RUNNING)]
    if not lock_task(db, task_id, *holds):
        return None
    there = there_already(db, OUTPUT, task_id, (each.seq for each in chunks))
    new = [each for each in chunks if each.seq not in there]
    rows = [
        {"task_id": task_id, "seq": each.seq, "stream": each.stream, "attempt": attempt,
         "at": datetime.fromisoformat(each.at), "p_chunk": each.chunk, "bytes": each.bytes}
        for each in new
    ]  # fmt: skip
    if rows:
        db.execute(_INSERT, rows)
        count_bytes(db, task_id, sum(each.bytes for each in new))
    return (db.scalar(select(TASKS.c.cancel_requested_at).where(TASKS.c.id == task_id)),)


def stored_bytes(db: Executes, task_id: UUID) -> int:
    """The bytes of all chunks of the task."""
    return read_number(db, _STORED, {"p_task_id": task_id}) or 0
