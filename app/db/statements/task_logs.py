"""Writing the log lines of a task. Reading them is portable: `app/services/tasks/task_history.py`."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, bindparam, delete, func, insert, literal, select

from app.db.statements.attached_rows import BY_KEY, count_bytes, lock_task, there_already
from app.db.statements.executing import SET_LOCAL, Executes, Executor, Transaction, atomically, read_number
from app.db.statements.expressions import octet_length
from app.ddl.base import Base
from app.ddl.columns import LongText
from app.ddl.sizes import LOG_LINE_BYTES
from app.models.task import LogLine, TaskLog

_LOGS = Base.metadata.tables[TaskLog.__tablename__]
_TASK = _LOGS.c.task_id == bindparam("p_task_id", type_=_LOGS.c.task_id.type)
_SIZE: ColumnElement[int] = (
    literal(LOG_LINE_BYTES, BigInteger)
    + octet_length(_LOGS.c.logger)
    + octet_length(_LOGS.c.message)
    + octet_length(_LOGS.c.fields)
)
_BYTES = select(func.sum(_SIZE)).where(_TASK)
_STORED = _BYTES.execution_options(**{SET_LOCAL: BY_KEY})
# The exact text of `fields`, which is counted.
_INSERT = insert(_LOGS).values(fields=bindparam("p_fields", type_=LongText))
_FROM_THE_NEWEST = (
    select(_LOGS.c.seq, func.sum(_SIZE).over(order_by=_LOGS.c.seq.desc()).label("through")).where(_TASK).subquery()
)
_BEYOND = (
    select(func.max(_FROM_THE_NEWEST.c.seq))
    .where(_FROM_THE_NEWEST.c.through > bindparam("p_keep", type_=BigInteger))
    .execution_options(**{SET_LOCAL: BY_KEY})
)


def write(db: Executor, task_id: UUID, attempt: int, lines: Sequence[LogLine], through: int) -> bool:
    """Add these lines, and delete those up to the number `through`. Lines that are there already are left.

    Returns False where there is no such task any more: then nothing was written.
    """
    return atomically(db, lambda transaction: _write(transaction, task_id, attempt, lines, through))


def _write(db: Transaction, task_id: UUID, attempt: int, lines: Sequence[LogLine], through: int) -> bool:
    if not lock_task(db, task_id):
        return False
    of_task = {"p_task_id": task_id}
    oldest = _LOGS.c.seq <= through
    change, there = 0, there_already(db, _LOGS, task_id, (line[0] for line in lines))
    if through >= 0:
        change -= int(db.execute(_BYTES.where(oldest), of_task).scalar_one() or 0)
        db.execute(delete(_LOGS).where(_LOGS.c.task_id == task_id, oldest))
    new = [line for line in lines if line[0] not in there]
    rows = [
        {"task_id": task_id, "attempt": attempt, "seq": seq, "at": datetime.fromisoformat(at), "level": level,
         "logger": logger, "message": message, "p_fields": fields}
        for seq, at, level, logger, message, fields in new
    ]  # fmt: skip
    if rows:
        db.execute(_INSERT, rows)
        change += sum(LOG_LINE_BYTES + sum(len(text.encode()) for text in line[3:]) for line in new)
    count_bytes(db, task_id, change)
    return True


def stored_bytes(db: Executes, task_id: UUID) -> int:
    """The bytes of all lines of the task."""
    return read_number(db, _STORED, {"p_task_id": task_id}) or 0


def beyond(db: Executes, task_id: UUID, keep: int) -> int | None:
    """The number of the newest line that does not fit into `keep` bytes with all that are newer. None if all fit."""
    return read_number(db, _BEYOND, {"p_task_id": task_id, "p_keep": keep})
