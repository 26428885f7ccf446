"""Has what depends on tasks go on right after they have ended, off the path of whoever has ended them.

What is lost with the process, maintenance does (`app/services/workflows/settling.py`).
"""

from collections.abc import Collection
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.fork import PerProcess
from app.db.after_commit import after_commit
from app.db.session import SessionLocal
from app.models.task import TERMINAL, Task
from app.services.operations.background import Background
from app.services.outbox import deliver_batch
from app.services.workflows.settling import CONSUMER

# It costs as much for fifty tasks as for one: where more end at once than FEW, the next ones are waited for.
FEW, PACE_SECONDS = 4, 0.04


def _release(ids: Collection[UUID]) -> float:
    with SessionLocal() as db:
        deliver_batch(db, CONSUMER, len(ids), of=list(ids))
    return PACE_SECONDS if len(ids) > FEW else 0.0


_releaser = PerProcess(lambda: Background[UUID]("children", "the release of what depends on others", _release))


def release_children(ids: Collection[UUID]) -> None:
    """Have the children of these tasks go on, whose ends are committed. Never blocks, never raises."""
    if ids:
        _releaser().enqueue(ids)


def release_after_commit(db: Session, task: Task) -> None:
    """The same for a task that this transaction has ended, if others depend on it."""
    if task.status in TERMINAL and (task.followers or 0) & CONSUMER.bit:
        after_commit(db, partial(release_children, [task.id]))


def flush(seconds: float) -> bool:
    """Wait for at most `seconds` until all is done that was asked for; True when it is."""
    return _releaser().flush(seconds)
