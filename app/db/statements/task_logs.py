"""Writing the log lines of a task. Reading them is portable: `app/services/tasks/task_logs.py`."""

import time
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, bindparam, delete, func, insert, literal, select, update
from sqlalchemy.orm import Session

from app.core.engines import SQLITE
from app.db.connecting.sqlite import brief_lock_waits
from app.db.statements.executing import SET_LOCAL, Executes, Executor, Transaction, atomically, read_number
from app.db.statements.expressions import octet_length
from app.db.statements.upserting import engine_name
from app.ddl.base import Base
from app.ddl.columns import LongText
from app.ddl.sizes import LOG_LINE_BYTES
from app.models.task import Task
from app.models.task_log import Line, TaskLog

_LOCK_SECONDS, _LOCK_PAUSE = 0.2, 0.01
_LOGS = Base.metadata.tables[TaskLog.__tablename__]
_TASK = _LOGS.c.task_id == bindparam("p_task_id", type_=_LOGS.c.task_id.type)
_SIZE: ColumnElement[int] = (
    literal(LOG_LINE_BYTES, BigInteger)
    + octet_length(_LOGS.c.logger)
    + octet_length(_LOGS.c.message)
    + octet_length(_LOGS.c.fields)
)
# On PostgreSQL by the key also where the table was empty when it made the plan.
BY_KEY = {"enable_seqscan": "off"}
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


def write(db: Executor, task_id: UUID, attempt: int, lines: Sequence[Line], through: int) -> bool:
    """Add these lines, and delete those up to the number `through`. Lines that are there already are left.

    Returns False where there is no such task any more: then nothing was written.
    """
    return atomically(db, lambda transaction: _write(transaction, task_id, attempt, lines, through))


def _write(db: Transaction, task_id: UUID, attempt: int, lines: Sequence[Line], through: int) -> bool:
    if not _lock(db, task_id):
        return False
    of_task = {"p_task_id": task_id}
    oldest = _LOGS.c.seq <= through
    change, there = 0, set[int]()
    if lines:  # some are there where they are sent again after a lost reply
        between = _LOGS.c.seq.between(min(line[0] for line in lines), max(line[0] for line in lines))
        there.update(db.scalars(select(_LOGS.c.seq).where(_TASK, between), of_task))
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
    if change:
        counted = update(Task).where(Task.id == task_id).values(attached_bytes=Task.attached_bytes + change)
        db.execute(counted.execution_options(synchronize_session=False))
    return True


def _lock(db: Transaction, task_id: UUID) -> bool:
    """Lock the row of the task. Returns False where there is none. Raises OperationalError (`is_locked`).

    Waits briefly: a body may hold its own row in a transaction that goes on. Lines wait for the next time, and do not
    hang.
    """
    task = select(Task.id).where(Task.id == task_id)
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


def stored_bytes(db: Executes, task_id: UUID) -> int:
    """The bytes of all lines of the task."""
    return read_number(db, _STORED, {"p_task_id": task_id}) or 0


def beyond(db: Executes, task_id: UUID, keep: int) -> int | None:
    """The number of the newest line that does not fit into `keep` bytes with all that are newer. None if all fit."""
    return read_number(db, _BEYOND, {"p_task_id": task_id, "p_keep": keep})
