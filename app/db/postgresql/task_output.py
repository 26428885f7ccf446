"""Writing what a body emits. Reading it is portable: `app/services/tasks/task_history.py`."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Integer,
    Select,
    Text,
    Uuid,
    bindparam,
    cast,
    column,
    func,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from app.db.postgresql.attempts import Executor
from app.db.postgresql.transitions import in_state
from app.db.statements.attached_rows import BY_KEY
from app.db.statements.ends import Cancellation
from app.db.statements.executing import SET_LOCAL
from app.db.statements.tables import OUTPUT, TASKS
from app.db.statements.task_output import Chunk, stored_bytes
from app.ddl.columns import UTCDateTime
from app.models.task import TaskStatus

__all__ = ["Chunk", "stored_bytes", "write"]

_GIVEN = (
    func.json_to_recordset(cast(bindparam("p_chunks", type_=Text), JSON))
    .table_valued(
        column("seq", BigInteger),
        column("stream", Text),
        column("at", UTCDateTime),
        column("chunk", Text),
        column("bytes", Integer),
    )
    .render_derived(name="given", with_types=True)
)


def _write() -> Select[Any]:
    """Lock the task's row, add chunks, and count their bytes: one round trip, one commit."""
    held = (
        select(TASKS.c.id, TASKS.c.attempt, TASKS.c.cancel_requested_at)
        .where(
            TASKS.c.id == bindparam("p_task_id", type_=Uuid),
            TASKS.c.attempt == bindparam("p_attempt", type_=Integer),
            or_(in_state(TaskStatus.RUNNING), bindparam("p_has_ended", type_=Boolean)),
        )
        .with_for_update()
        .cte("held")
    )
    names = list(Chunk._fields)
    rows = select(held.c.id, held.c.attempt, *(_GIVEN.c[name] for name in names))
    added = (
        insert(OUTPUT)
        .from_select(["task_id", "attempt", *names], rows.select_from(held.join(_GIVEN, true())))
        .on_conflict_do_nothing()  # sent again after a lost reply
        .returning(OUTPUT.c.bytes)
        .cte("added")
    )
    more = select(func.coalesce(func.sum(added.c.bytes), 0)).scalar_subquery()
    counted = (
        update(TASKS)
        .where(TASKS.c.id == held.c.id)
        .values(attached_bytes=TASKS.c.attached_bytes + more)
        .returning(held.c.cancel_requested_at)
        .cte("counted")
    )
    # A body may hold its own row in a transaction that goes on: chunks wait for the next time, and do not hang.
    return select(counted.c.cancel_requested_at).execution_options(
        **{SET_LOCAL: {**BY_KEY, "lock_timeout": "200ms"}}
    )  # fmt: skip


WRITE = _write()


def write(db: Executor, task_id: UUID, attempt: int, chunks: Sequence[Chunk], *, has_ended: bool) -> Cancellation:
    """Add these chunks. Those that are there already are left: they were sent again after a lost reply.

    Returns None, and writes nothing, where the attempt does not hold the task: it is not running, or in another
    attempt. `has_ended`: the body has ended its own attempt, which need not be running any more.
    """
    given = json.dumps([chunk._asdict() for chunk in chunks])
    values = {"p_task_id": task_id, "p_attempt": attempt, "p_chunks": given, "p_has_ended": has_ended}
    return db.execute(WRITE, values).one_or_none()
