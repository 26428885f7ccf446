"""Single messages that the broker lost: pending rows that it should still hold a message for, and does not.

Messages of one queue and priority leave in the order in which they came (a *line*). Where the broker holds n of them,
they are those of the n rows that were dispatched last; an older row that is still pending has been overtaken: its
message is gone, or was popped a moment ago. A timer instead would send an overloaded system several messages a task.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import Text, bindparam, column, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.maintenance.passes import DISPATCHED, PENDING, send_again
from app.models.task import Task, TaskPriority
from app.services.execution.transitions import NOW, STATEMENT_TIME

# Popping and claiming take milliseconds: what has been out for less may be on its way.
LOST_AFTER = timedelta(seconds=5)


@dataclass(frozen=True)
class Line:
    """Messages that overtake each other in no case: of one queue, of one priority."""

    queue: str
    priority: TaskPriority


@dataclass(frozen=True)
class Front:
    """The oldest row of a line that is out, when it was seen."""

    line: Line
    id: UUID
    seen_at: datetime


_LINES = (
    func.unnest(bindparam("p_queues", type_=ARRAY(Text)), bindparam("p_priorities", type_=ARRAY(Text)))
    .table_valued(column("queue", Text), column("priority", Text), name="lines")
    .render_derived()
)
_OLDEST = (
    select(Task.id, Task.dispatched_at)
    .where(PENDING, DISPATCHED, Task.queue == _LINES.c.queue, Task.priority == _LINES.c.priority)
    .order_by(Task.dispatched_at)
    .limit(1)
    .lateral("oldest")
)
_FRONTS = (
    select(_LINES.c.queue, _LINES.c.priority, _OLDEST.c.id, NOW)
    .select_from(_LINES.join(_OLDEST, true()))
    .where(_OLDEST.c.dispatched_at < STATEMENT_TIME - LOST_AFTER)
)


class Doubt:
    """Remembers the fronts. A line that moves has lost nothing that will not come to its front."""

    def __init__(self) -> None:
        self._seen: dict[Line, UUID] = {}

    def stuck(self, db: Session, queues: list[str]) -> list[Front]:
        """The fronts that have not moved since the last look: an index lookup for each line."""
        lines = [(queue, priority.value) for queue in queues for priority in TaskPriority]
        parameters = {"p_queues": [queue for queue, _ in lines], "p_priorities": [name for _, name in lines]}
        with transaction(db):
            rows = db.execute(_FRONTS, parameters).all()
        fronts = [Front(Line(queue, TaskPriority(name)), task_id, at) for queue, name, task_id, at in rows]
        stuck = [front for front in fronts if self._seen.get(front.line) == front.id]
        self._seen = {front.line: front.id for front in fronts}
        return stuck


def resend_overtaken(db: Session, front: Front, depth: int) -> int:
    """Make the rows due again that the line's `depth` messages cannot be of. Returns how many, at most a batch.

    `depth` was read after the front: what was dispatched since then is counted among the messages and not among the
    rows, which errs on the side of waiting.
    """
    line = (PENDING, DISPATCHED, Task.queue == front.line.queue, Task.priority == front.line.priority)
    newest_lost = (
        select(Task.dispatched_at)
        .where(*line, Task.dispatched_at <= front.seen_at)
        .order_by(Task.dispatched_at.desc())
        .offset(depth)
        .limit(1)
        .scalar_subquery()
    )
    lost = (*line, Task.dispatched_at <= newest_lost, Task.dispatched_at < STATEMENT_TIME - LOST_AFTER)
    return send_again(db, select(Task.id).where(*lost).order_by(Task.dispatched_at))
