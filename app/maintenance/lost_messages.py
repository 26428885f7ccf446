"""Finds single messages that the broker lost: pending rows whose message is no longer in the queue.

Messages of one queue and priority (a *line*) are taken in the order in which they were sent. If the broker holds n of
them, they belong to the n rows that were dispatched last. An older row that is still pending was overtaken: its message
is lost, or was taken a moment ago. A timer instead would send several messages for each task to an overloaded system.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.clock import STATEMENT_TIME
from app.db.postgresql import maintenance
from app.db.postgresql.maintenance import DISPATCHED, PENDING
from app.db.session import transaction
from app.maintenance.passes import send_again
from app.models.task import Task, TaskPriority

# Taking a message and claiming its row takes milliseconds; a younger message may still be on its way.
LOST_AFTER = timedelta(seconds=5)


@dataclass(frozen=True)
class Line:
    """Messages of one queue and priority: they never overtake each other."""

    queue: str
    priority: TaskPriority


@dataclass(frozen=True)
class OldestDispatched:
    """The oldest dispatched row of a line, and when it was read."""

    line: Line
    id: UUID
    seen_at: datetime


class LostMessages:
    """Remembers the oldest dispatched row of each line. A lost message becomes the oldest row and stays there."""

    def __init__(self) -> None:
        self._seen: dict[Line, UUID] = {}

    def stuck(self, db: Session, queues: list[str]) -> list[OldestDispatched]:
        """The oldest dispatched rows that were the oldest at the last call too: one index lookup for each line."""
        lines = [(queue, priority.value) for queue in queues for priority in TaskPriority]
        with transaction(db):
            rows = maintenance.oldest_dispatched(db, lines, LOST_AFTER)
        oldest = [OldestDispatched(Line(queue, TaskPriority(name)), id_, at) for queue, name, id_, at in rows]
        stuck = [row for row in oldest if self._seen.get(row.line) == row.id]
        self._seen = {row.line: row.id for row in oldest}
        return stuck


def resend_overtaken(db: Session, oldest: OldestDispatched, depth: int) -> int:
    """Make the rows due again that none of the line's `depth` messages belongs to. Returns how many, at most a batch.

    `depth` was read after the oldest row. Messages sent since then count, and their rows do not: an error only delays.
    """
    line = (PENDING, DISPATCHED, Task.queue == oldest.line.queue, Task.priority == oldest.line.priority)
    newest_lost = (
        select(Task.dispatched_at)
        .where(*line, Task.dispatched_at <= oldest.seen_at)
        .order_by(Task.dispatched_at.desc())
        .offset(depth)
        .limit(1)
        .scalar_subquery()
    )
    lost = (*line, Task.dispatched_at <= newest_lost, Task.dispatched_at < STATEMENT_TIME - LOST_AFTER)
    return send_again(db, select(Task.id).where(*lost).order_by(Task.dispatched_at))
