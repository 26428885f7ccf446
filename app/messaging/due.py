"""Which rows a message is owed for, and the mark that one is out."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, DateTime, Uuid, bindparam, column, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.batches import batch
from app.db.session import transaction
from app.messaging.dispatches import DISPATCHED_COLUMNS, Dispatch
from app.models.task import Task, TaskStatus
from app.services.execution.transitions import NOW, STATEMENT_TIME, in_state, seconds

BATCH = 500

# Once its message is out, a row is due again only after this: a last resort, long after every other check. A
# shorter timer would send an overloaded system several messages a task.
FAR = timedelta(hours=1)

PENDING = Task.status == TaskStatus.PENDING.value


def take_due(db: Session, grace_seconds: float, limit: int = BATCH) -> list[Dispatch]:
    """Pending rows whose `dispatch_at` has come, oldest first, each put off by the grace time.

    Whoever takes a row sends it: any number of takers at once share the rows out (SKIP LOCKED), and one that dies
    before it has sent leaves rows that are due again after the grace time.
    """
    due = select(Task.id).where(PENDING, Task.dispatch_at <= STATEMENT_TIME).order_by(Task.dispatch_at)
    statement = (
        update(Task)
        .where(Task.id.in_(batch(due, limit)), PENDING)
        .values({"dispatch_at": NOW + timedelta(seconds=grace_seconds), "dispatched_at": None})
        .returning(*DISPATCHED_COLUMNS)
        .execution_options(synchronize_session=False)
    )
    with transaction(db):
        return [Dispatch.of(row) for row in db.execute(statement)]


_SENT = (
    func.unnest(bindparam("p_ids", type_=ARRAY(Uuid)), bindparam("p_windows", type_=ARRAY(DateTime(timezone=True))))
    .table_valued(
        column("id", Uuid), column("dispatch_at", DateTime(timezone=True)), with_ordinality="place", name="sent"
    )
    .render_derived()
)
# On the table rather than on the model: half the CPU, in a thread that shares it with the event loop.
_MARK = (
    update(Task.__table__)  # type: ignore[arg-type]  # (a Table, declared as FromClause)
    # The very window that was answered: a PATCH of run_at or a new generation in between opened another one.
    .where(Task.id == _SENT.c.id, Task.dispatch_at == _SENT.c.dispatch_at, in_state(TaskStatus.PENDING))
    # In the order in which the messages stand in their queue: the keeper tells by it whose message was lost.
    .values(
        {
            "dispatched_at": STATEMENT_TIME + seconds(_SENT.c.place * 0.000_001),
            "dispatch_at": NOW + FAR,
        }
    )
)


def mark_dispatched(db: Session | Connection, sent: Sequence[Dispatch]) -> None:
    """Push the rows' next dispatch far out, now that their messages are. Clients see no change in it.

    On a session one transaction; on a connection one statement.
    """
    windows: list[datetime] = [dispatch.dispatch_at for dispatch in sent]
    values = {"p_ids": [dispatch.id for dispatch in sent], "p_windows": windows}
    if isinstance(db, Connection):
        db.execute(_MARK, values)
        return
    with transaction(db):
        db.connection().execute(_MARK, values)
