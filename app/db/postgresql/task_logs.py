"""Writing the log lines of a task. Reading them is portable: `app/services/tasks/task_history.py`."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    SmallInteger,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from app.db.postgresql.attempts import Executor
from app.db.statements.attached_rows import BY_KEY
from app.db.statements.executing import SET_LOCAL
from app.db.statements.task_logs import beyond, stored_bytes
from app.ddl.columns import UTCDateTime
from app.ddl.sizes import LOG_LINE_BYTES
from app.models.task import LogLine, Task, TaskLog

__all__ = ["beyond", "stored_bytes"]

_COLUMNS = ("seq", "at", "level", "logger", "message", "fields")
_TASK = bindparam("p_task_id", type_=Uuid)
_SIZE: ColumnElement[int] = (
    literal(LOG_LINE_BYTES, Integer)
    + func.octet_length(TaskLog.logger)
    + func.octet_length(TaskLog.message)
    + func.octet_length(TaskLog.fields)
)
_GIVEN = (
    func.json_to_recordset(cast(bindparam("p_lines", type_=Text), JSON))
    .table_valued(
        column("seq", BigInteger),
        column("at", UTCDateTime),
        column("level", SmallInteger),
        column("logger", Text),
        column("message", Text),
        column("fields", Text),
    )
    .render_derived(name="given", with_types=True)
)


def _write() -> Select[Any]:
    """Add lines, delete the oldest ones, and count the bytes of both with the task: one round trip, one commit."""
    is_there = exists(select(Task.id).where(Task.id == _TASK))
    lines = select(_TASK, bindparam("p_attempt", type_=Integer), *(_GIVEN.c[name] for name in _COLUMNS))
    added = (
        insert(TaskLog)
        .from_select(["task_id", "attempt", *_COLUMNS], lines.where(is_there))
        .on_conflict_do_nothing()  # sent again after a lost reply
        .returning(_SIZE.label("bytes"))
        .cte("added")
    )
    oldest = (TaskLog.task_id == _TASK, TaskLog.seq <= bindparam("p_through", type_=BigInteger))
    gone = delete(TaskLog).where(*oldest).returning(_SIZE.label("bytes")).cte("gone")
    more, less = (select(func.coalesce(func.sum(each.c.bytes), 0)).scalar_subquery() for each in (added, gone))
    counted = (
        update(Task)
        .where(Task.id == _TASK)
        .values(attached_bytes=Task.attached_bytes + more - less)
        .returning(Task.id)
        .cte("counted")
    )
    # A body may hold its own row in a transaction that goes on: lines wait for the next time, and do not hang.
    return select(counted.c.id).execution_options(**{SET_LOCAL: {**BY_KEY, "lock_timeout": "200ms"}})


WRITE = _write()


def write(db: Executor, task_id: UUID, attempt: int, lines: Sequence[LogLine], through: int) -> bool:
    """Add these lines, and delete those up to the number `through`. Lines that are there already are left.

    Returns False where there is no such task any more: then nothing was written.
    """
    rows = [dict(zip(_COLUMNS, line, strict=True)) for line in lines]
    values = {"p_task_id": task_id, "p_attempt": attempt, "p_lines": json.dumps(rows), "p_through": through}
    return db.execute(WRITE, values).one_or_none() is not None
