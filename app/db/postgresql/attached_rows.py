"""Rows that an attempt adds to its task while its body runs: log lines, output and steps.

Each call is one statement: one round trip, one commit. All else is as on every engine.
"""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.postgresql.attempts import Executor
from app.db.postgresql.prepared import PreparedConnection
from app.db.postgresql.transitions import in_state
from app.db.statements.attached_rows import (
    BY_KEY,
    STEP_ATTEMPT,
    STEP_TASK_ID,
    STEP_VALUES,
    Chunk,
    Step,
    newest_line_beyond,
    step_names,
    step_parameters,
    step_result,
    stored_log_bytes,
    stored_output_bytes,
)
from app.db.statements.tables import OUTPUT, STEPS, TASKS
from app.db.statements.task_moves import Cancellation
from app.db.transactions import SET_LOCAL
from app.ddl.columns import UTCDateTime
from app.ddl.terms import LOG_LINE_BYTES
from app.models.task import LogLine, Task, TaskLog, TaskStatus

__all__ = [
    "Chunk",
    "Step",
    "newest_line_beyond",
    "step_names",
    "step_result",
    "stored_log_bytes",
    "stored_output_bytes",
    "write_output",
    "write_step",
]

_LINE_COLUMNS = ("seq", "at", "level", "logger", "message", "fields")
_TASK_ID = sa.bindparam("p_task_id", type_=sa.Uuid)
_LINE_SIZE: sa.ColumnElement[int] = (
    sa.literal(LOG_LINE_BYTES, sa.Integer)
    + sa.func.octet_length(TaskLog.logger)
    + sa.func.octet_length(TaskLog.message)
    + sa.func.octet_length(TaskLog.fields)
)
_GIVEN_LINES = (
    sa.func.json_to_recordset(sa.cast(sa.bindparam("p_lines", type_=sa.Text), sa.JSON))
    .table_valued(
        sa.column("seq", sa.BigInteger),
        sa.column("at", UTCDateTime),
        sa.column("level", sa.SmallInteger),
        sa.column("logger", sa.Text),
        sa.column("message", sa.Text),
        sa.column("fields", sa.Text),
    )
    .render_derived(name="given", with_types=True)
)


def _log_statement() -> sa.Select[Any]:
    """Add lines, delete the oldest ones, and count the bytes of both with the task: one round trip, one commit."""
    is_there = sa.exists(sa.select(Task.id).where(Task.id == _TASK_ID))
    lines = sa.select(
        _TASK_ID, sa.bindparam("p_attempt", type_=sa.Integer), *(_GIVEN_LINES.c[name] for name in _LINE_COLUMNS)
    )
    added = (
        insert(TaskLog)
        .from_select(["task_id", "attempt", *_LINE_COLUMNS], lines.where(is_there))
        .on_conflict_do_nothing()  # sent again after a lost reply
        .returning(_LINE_SIZE.label("bytes"))
        .cte("added")
    )
    oldest = (TaskLog.task_id == _TASK_ID, TaskLog.seq <= sa.bindparam("p_through", type_=sa.BigInteger))
    gone = sa.delete(TaskLog).where(*oldest).returning(_LINE_SIZE.label("bytes")).cte("gone")
    more, less = (sa.select(sa.func.coalesce(sa.func.sum(each.c.bytes), 0)).scalar_subquery() for each in (added, gone))
    counted = (
        sa.update(Task)
        .where(Task.id == _TASK_ID)
        .values(attached_bytes=Task.attached_bytes + more - less)
        .returning(Task.id)
        .cte("counted")
    )
    # A body may hold its own row in a transaction that goes on: lines wait for the next time, and do not hang.
    return sa.select(counted.c.id).execution_options(**{SET_LOCAL: {**BY_KEY, "lock_timeout": "200ms"}})


WRITE_LOG = _log_statement()


def write_log(db: Executor, task_id: UUID, attempt: int, lines: Sequence[LogLine], through: int) -> bool:
    """Add these lines, and delete those up to the number `through`. Lines that are there already are left.

    Returns False where there is no such task any more: then nothing was written.
    """
    rows = [dict(zip(_LINE_COLUMNS, line, strict=True)) for line in lines]
    values = {"p_task_id": task_id, "p_attempt": attempt, "p_lines": json.dumps(rows), "p_through": through}
    return db.execute(WRITE_LOG, values).one_or_none() is not None


# -- Writing what a body emits. Reading it is portable: `app/services/tasks/task_history.py` ---------------------------

_GIVEN_CHUNKS = (
    sa.func.json_to_recordset(sa.cast(sa.bindparam("p_chunks", type_=sa.Text), sa.JSON))
    .table_valued(
        sa.column("seq", sa.BigInteger),
        sa.column("stream", sa.Text),
        sa.column("at", UTCDateTime),
        sa.column("chunk", sa.Text),
        sa.column("bytes", sa.Integer),
    )
    .render_derived(name="given", with_types=True)
)


def _output_statement() -> sa.Select[Any]:
    """Lock the task's row, add chunks, and count their bytes: one round trip, one commit."""
    held = (
        sa.select(TASKS.c.id, TASKS.c.attempt, TASKS.c.cancel_requested_at)
        .where(
            TASKS.c.id == sa.bindparam("p_task_id", type_=sa.Uuid),
            TASKS.c.attempt == sa.bindparam("p_attempt", type_=sa.Integer),
            sa.or_(in_state(TaskStatus.RUNNING), sa.bindparam("p_has_ended", type_=sa.Boolean)),
        )
        .with_for_update()
        .cte("held")
    )
    names = list(Chunk._fields)
    rows = sa.select(held.c.id, held.c.attempt, *(_GIVEN_CHUNKS.c[name] for name in names))
    added = (
        insert(OUTPUT)
        .from_select(["task_id", "attempt", *names], rows.select_from(held.join(_GIVEN_CHUNKS, sa.true())))
        .on_conflict_do_nothing()  # sent again after a lost reply
        .returning(OUTPUT.c.bytes)
        .cte("added")
    )
    more = sa.select(sa.func.coalesce(sa.func.sum(added.c.bytes), 0)).scalar_subquery()
    counted = (
        sa.update(TASKS)
        .where(TASKS.c.id == held.c.id)
        .values(attached_bytes=TASKS.c.attached_bytes + more)
        .returning(held.c.cancel_requested_at)
        .cte("counted")
    )
    # A body may hold its own row in a transaction that goes on: chunks wait for the next time, and do not hang.
    return sa.select(counted.c.cancel_requested_at).execution_options(
        **{SET_LOCAL: {**BY_KEY, "lock_timeout": "200ms"}}
    )  # fmt: skip


WRITE_OUTPUT = _output_statement()


def write_output(
    db: Executor, task_id: UUID, attempt: int, chunks: Sequence[Chunk], *, has_ended: bool
) -> Cancellation:
    """Add these chunks. Those that are there already are left: they were sent again after a lost reply.

    Returns None, and writes nothing, where the attempt does not hold the task: it is not running, or in another
    attempt. `has_ended`: the body has ended its own attempt, which need not be running any more.
    """
    given = json.dumps([chunk._asdict() for chunk in chunks])
    values = {"p_task_id": task_id, "p_attempt": attempt, "p_chunks": given, "p_has_ended": has_ended}
    return db.execute(WRITE_OUTPUT, values).one_or_none()


# -- Steps of a task, as an attempt writes them: one statement in the place of two, one round trip, one commit ---------

StepExecutor = Session | sa.Connection | PreparedConnection


def _step_statement() -> sa.Select[Any]:
    held = (
        sa.select(TASKS.c.user_id, TASKS.c.cancel_requested_at)
        .where(TASKS.c.id == STEP_TASK_ID, TASKS.c.attempt == STEP_ATTEMPT, in_state(TaskStatus.RUNNING))
        .with_for_update(read=True)
        .cte("held")
    )
    row = sa.select(*STEP_VALUES.values(), held.c.user_id)
    # What is there already is of this attempt: the reply to an earlier try was lost.
    kept = insert(STEPS).from_select([*STEP_VALUES, "user_id"], row).on_conflict_do_nothing().cte("kept")
    # A body may have changed its own row in a transaction that goes on.
    return sa.select(held.c.cancel_requested_at).add_cte(kept).execution_options(**{SET_LOCAL: {"lock_timeout": "2s"}})


WRITE_STEP = _step_statement()


def write_step(db: StepExecutor, task_id: UUID, attempt: int, step: Step) -> Cancellation:
    """Keep a step. Safe to run again after a lost reply: no other attempt writes one of this name."""
    return db.execute(WRITE_STEP, step_parameters(task_id, attempt, step)).one_or_none()
