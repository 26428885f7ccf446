"""Rows that an attempt adds to its task while its body runs: log lines, output and steps.

The task's row counts the bytes of lines and output. Reading pages of them is portable: `app/services/tasks/`.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.engines import SQLITE
from app.db.connections.sqlite import brief_lock_waits
from app.db.statements.expressions import octet_length
from app.db.statements.tables import OUTPUT, STEPS, TASKS
from app.db.statements.task_moves import Cancellation
from app.db.statements.transitions import in_state
from app.db.statements.writes import engine_name, upsert_statement
from app.db.transactions import SET_LOCAL, Executes, Executor, Transaction, atomically, read_number
from app.ddl.clock import STATEMENT_TIME, seconds
from app.ddl.columns import Base, Double, Id, LongText
from app.ddl.terms import LOG_LINE_BYTES
from app.models.task import LogLine, Task, TaskLog, TaskStatus

_LOCK_SECONDS, _LOCK_PAUSE = 0.2, 0.01
# On PostgreSQL by the key also where the table was empty when it made the plan.
BY_KEY = {"enable_seqscan": "off"}


def lock_task(db: Transaction, task_id: UUID, *conditions: sa.ColumnElement[bool]) -> bool:
    """Lock the row of the task. Returns False where there is none that meets the conditions.

    Raises OperationalError (`is_locked`). Waits briefly: a body may hold its own row in a transaction that goes on.
    What it writes waits for the next time, and does not hang.
    """
    task = sa.select(Task.id).where(Task.id == task_id, *conditions)
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


def there_already(db: Transaction, table: sa.Table, task_id: UUID, numbers: Iterable[int]) -> set[int]:
    """Return those of the numbers that the table has: rows are sent again after a lost reply."""
    asked = set(numbers)
    if not asked:
        return asked
    between = table.c.seq.between(min(asked), max(asked))
    return {*db.scalars(sa.select(table.c.seq).where(table.c.task_id == task_id, between))}


def count_bytes(db: Transaction, task_id: UUID, change: int) -> None:
    """Count so many bytes more with the task."""
    if change:
        counted = sa.update(Task).where(Task.id == task_id).values(attached_bytes=Task.attached_bytes + change)
        db.execute(counted.execution_options(synchronize_session=False))


# -- Writing the log lines of a task. Reading them is portable: `app/services/tasks/task_history.py` -------------------

_LOGS = Base.metadata.tables[TaskLog.__tablename__]
_LINES_OF_TASK = _LOGS.c.task_id == sa.bindparam("p_task_id", type_=_LOGS.c.task_id.type)
_LINE_SIZE: sa.ColumnElement[int] = (
    sa.literal(LOG_LINE_BYTES, sa.BigInteger)
    + octet_length(_LOGS.c.logger)
    + octet_length(_LOGS.c.message)
    + octet_length(_LOGS.c.fields)
)
_LOG_BYTES = sa.select(sa.func.sum(_LINE_SIZE)).where(_LINES_OF_TASK)
_STORED_LOG_BYTES = _LOG_BYTES.execution_options(**{SET_LOCAL: BY_KEY})
# The exact text of `fields`, which is counted.
_INSERT_LINE = sa.insert(_LOGS).values(fields=sa.bindparam("p_fields", type_=LongText))
_LINES_FROM_NEWEST = (
    sa.select(_LOGS.c.seq, sa.func.sum(_LINE_SIZE).over(order_by=_LOGS.c.seq.desc()).label("through"))
    .where(_LINES_OF_TASK)
    .subquery()
)
_LINE_BEYOND = (
    sa.select(sa.func.max(_LINES_FROM_NEWEST.c.seq))
    .where(_LINES_FROM_NEWEST.c.through > sa.bindparam("p_keep", type_=sa.BigInteger))
    .execution_options(**{SET_LOCAL: BY_KEY})
)


def write_log(db: Executor, task_id: UUID, attempt: int, lines: Sequence[LogLine], through: int) -> bool:
    """Add these lines, and delete those up to the number `through`. Lines that are there already are left.

    Returns False where there is no such task any more: then nothing was written.
    """
    return atomically(db, lambda transaction: _write_log(transaction, task_id, attempt, lines, through))


def _write_log(db: Transaction, task_id: UUID, attempt: int, lines: Sequence[LogLine], through: int) -> bool:
    if not lock_task(db, task_id):
        return False
    of_task = {"p_task_id": task_id}
    oldest = _LOGS.c.seq <= through
    change, there = 0, there_already(db, _LOGS, task_id, (line[0] for line in lines))
    if through >= 0:
        change -= int(db.execute(_LOG_BYTES.where(oldest), of_task).scalar_one() or 0)
        db.execute(sa.delete(_LOGS).where(_LOGS.c.task_id == task_id, oldest))
    new = [line for line in lines if line[0] not in there]
    rows = [
        {"task_id": task_id, "attempt": attempt, "seq": seq, "at": datetime.fromisoformat(at), "level": level,
         "logger": logger, "message": message, "p_fields": fields}
        for seq, at, level, logger, message, fields in new
    ]  # fmt: skip
    if rows:
        db.execute(_INSERT_LINE, rows)
        change += sum(LOG_LINE_BYTES + sum(len(text.encode()) for text in line[3:]) for line in new)
    count_bytes(db, task_id, change)
    return True


def stored_log_bytes(db: Executes, task_id: UUID) -> int:
    """Return the bytes of all lines of the task."""
    return read_number(db, _STORED_LOG_BYTES, {"p_task_id": task_id}) or 0


def newest_line_beyond(db: Executes, task_id: UUID, keep: int) -> int | None:
    """The number of the newest line that does not fit into `keep` bytes with all that are newer. None if all fit."""
    return read_number(db, _LINE_BEYOND, {"p_task_id": task_id, "p_keep": keep})


# -- Writing what a body emits. Reading it is portable: `app/services/tasks/task_history.py` ---------------------------

# The exact text of the chunk, which is counted.
_INSERT_CHUNK = sa.insert(OUTPUT).values(chunk=sa.bindparam("p_chunk", type_=LongText))
_STORED_OUTPUT_BYTES = (
    sa.select(sa.func.sum(OUTPUT.c.bytes))
    .where(OUTPUT.c.task_id == sa.bindparam("p_task_id", type_=OUTPUT.c.task_id.type))
    .execution_options(**{SET_LOCAL: BY_KEY})
)


class Chunk(NamedTuple):
    """A row to be written: number, stream, time (RFC 3339), the chunk as JSON text, and what the row counts."""

    seq: int
    stream: str
    at: str
    chunk: str
    bytes: int


def write_output(
    db: Executor, task_id: UUID, attempt: int, chunks: Sequence[Chunk], *, has_ended: bool
) -> Cancellation:
    """Add these chunks. Those that are there already are left: they were sent again after a lost reply.

    Returns None, and writes nothing, where the attempt does not hold the task: it is not running, or in another
    attempt. `has_ended`: the body has ended its own attempt, which need not be running any more.
    """
    return atomically(db, lambda transaction: _write_output(transaction, task_id, attempt, chunks, has_ended))


def _write_output(
    db: Transaction, task_id: UUID, attempt: int, chunks: Sequence[Chunk], has_ended: bool
) -> Cancellation:
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
        db.execute(_INSERT_CHUNK, rows)
        count_bytes(db, task_id, sum(each.bytes for each in new))
    return (db.scalar(sa.select(TASKS.c.cancel_requested_at).where(TASKS.c.id == task_id)),)


def stored_output_bytes(db: Executes, task_id: UUID) -> int:
    """Return the bytes of all chunks of the task."""
    return read_number(db, _STORED_OUTPUT_BYTES, {"p_task_id": task_id}) or 0


# -- Steps of a task, as an attempt writes and reads them. Pages of them: `app/services/tasks/task_history.py` ---------

STEP_TASK_ID, STEP_ATTEMPT = (
    sa.bindparam("p_task_id", type_=STEPS.c.task_id.type),
    sa.bindparam("p_attempt", type_=sa.Integer),
)
STEP_NAME = sa.bindparam("p_name", type_=sa.Text)
# What is written, but for `user_id`, which the task's row has. The result is the exact text that is counted.
STEP_VALUES = {
    "task_id": STEP_TASK_ID,
    "name": STEP_NAME,
    "seq": sa.bindparam("p_seq", type_=sa.BigInteger),
    "attempt": STEP_ATTEMPT,
    "started_at": STATEMENT_TIME - seconds(sa.bindparam("p_seconds", type_=Double)),
    "finished_at": STATEMENT_TIME,
    "bytes": sa.bindparam("p_bytes", type_=sa.Integer),
    "result": sa.bindparam("p_result", type_=LongText),
}
_RUNNING_ATTEMPT = (TASKS.c.id == STEP_TASK_ID, TASKS.c.attempt == STEP_ATTEMPT, in_state(TaskStatus.RUNNING))
_HELD_TASK = sa.select(TASKS.c.user_id, TASKS.c.cancel_requested_at).where(*_RUNNING_ATTEMPT).with_for_update(read=True)
_STEP_NAMES = sa.select(STEPS.c.name).where(STEPS.c.task_id == STEP_TASK_ID)
_STEP_RESULT = sa.select(STEPS.c.result).where(STEPS.c.task_id == STEP_TASK_ID, STEPS.c.name == STEP_NAME)


class Step(NamedTuple):
    """A step that an attempt has done: its number, its name, how long it took, its result as JSON text."""

    seq: int
    name: str
    seconds: float
    result: str | None
    bytes: int


def step_parameters(task_id: UUID, attempt: int, step: Step) -> dict[str, Any]:
    """Return the values of the parameters in STEP_VALUES."""
    of_step = {f"p_{name}": value for name, value in step._asdict().items()}
    return {"p_task_id": task_id, "p_attempt": attempt, **of_step}


@cache
def _insert_step(engine: str) -> sa.Insert:
    return upsert_statement(engine, STEPS).values({**STEP_VALUES, "user_id": sa.bindparam("p_user_id", type_=Id)})


def write_step(db: Executor, task_id: UUID, attempt: int, step: Step) -> Cancellation:
    """Keep a step. Safe to run again after a lost reply: no other attempt writes one of this name."""
    given = step_parameters(task_id, attempt, step)

    def keep(db: Transaction) -> Cancellation:
        held = db.execute(_HELD_TASK, given).one_or_none()
        if held is None:
            return None
        db.execute(_insert_step(engine_name(db)), {**given, "p_user_id": held.user_id})
        return (held.cancel_requested_at,)

    return atomically(db, keep)


def step_names(db: Executes, task_id: UUID) -> set[str]:
    """Return the names of all steps of the task."""
    return {name for (name,) in db.execute(_STEP_NAMES, {"p_task_id": task_id}).all()}


def step_result(db: Executes, task_id: UUID, name: str) -> Any:
    """Return the result of a step that is there."""
    row = db.execute(_STEP_RESULT, {"p_task_id": task_id, "p_name": name}).one_or_none()
    return None if row is None else row[0]
