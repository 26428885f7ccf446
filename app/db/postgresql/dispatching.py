"""The statements of sending messages: taking the rows that are due, and marking those whose message was sent."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, Uuid, bindparam, column, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.base import UTCDateTime
from app.db.clock import NOW, STATEMENT_TIME, seconds
from app.db.postgresql.batches import batch
from app.db.postgresql.transitions import in_state
from app.models.task import Task, TaskStatus

_PENDING = Task.status == TaskStatus.PENDING.value
# After its message was sent, a row is due again only after this time: a last resort, long after every other check. A
# shorter time would send an overloaded system several messages for each task.
RESEND_AFTER = timedelta(hours=1)


def take_due(db: Session, columns: Sequence[Any], grace_seconds: float, limit: int) -> Sequence[Row[Any]]:
    """At most `limit` pending tasks whose `dispatch_at` has come, each put off by the grace time.

    Several callers at once share the rows out (SKIP LOCKED). Returns the `columns` of each.
    """
    due = select(Task.id).where(_PENDING, Task.dispatch_at <= STATEMENT_TIME).order_by(Task.dispatch_at)
    statement = (
        update(Task)
        .where(Task.id.in_(batch(due, limit)), _PENDING)
        .values({"dispatch_at": NOW + timedelta(seconds=grace_seconds), "dispatched_at": None})
        .returning(*columns)
        .execution_options(synchronize_session=False)
    )
    return db.execute(statement).all()


_SENT = (
    func.unnest(bindparam("p_ids", type_=ARRAY(Uuid)), bindparam("p_windows", type_=ARRAY(UTCDateTime)))
    .table_valued(column("id", Uuid), column("dispatch_at", UTCDateTime), with_ordinality="place", name="sent")
    .render_derived()
)
# On the table rather than on the model: half the CPU, in a thread that shares it with the event loop.
_MARK = (
    update(Task.__table__)  # type: ignore[arg-type]  # (a Table, declared as FromClause)
    # The window that was answered: a PATCH of run_at or a new generation in between has opened another one.
    .where(Task.id == _SENT.c.id, Task.dispatch_at == _SENT.c.dispatch_at, in_state(TaskStatus.PENDING))
    # In the order of the messages in their queue, by which maintenance finds a lost message.
    .values(
        {
            "dispatched_at": STATEMENT_TIME + seconds(_SENT.c.place * 0.000_001),
            "dispatch_at": NOW + RESEND_AFTER,
        }
    )
)


def mark_dispatched(connection: Connection, ids: Sequence[UUID], windows: Sequence[datetime]) -> None:
    """Note that the messages of these tasks were sent, each in answer to its due window (the row's `dispatch_at`)."""
    connection.execute(_MARK, {"p_ids": ids, "p_windows": windows})
