"""Has what depends on tasks go on right after they have ended, off the path of whoever has ended them.

The children come first, in a transaction of their own, as they can start then. The rows of the outbox are handed over
behind them, which notes the ends in workflows, and finds the children done. What is lost with the process, maintenance
does (`app/services/workflows/settling.py`).
"""

from collections.abc import Collection
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.fork import PerProcess
from app.db.after_commit import after_commit
from app.db.session import SessionLocal, transaction
from app.models.outbox import ConsumerNumber
from app.models.task import TERMINAL, Task
from app.services.operations.background import Background
from app.services.outbox import deliver_batch
from app.services.workflows.settling import CONSUMER, go_on

# Both cost nearly as much for fifty tasks as for one. So after so many ends the next ones are waited for, a millisecond
# for each; and workflows are noted so often at most.
EACH_SECONDS, PACE_SECONDS = 0.001, 0.04


def _release(ids: Collection[UUID]) -> float:
    with SessionLocal() as db, transaction(db):
        revoked = go_on(db, ids)
    _noter().enqueue({*ids, *revoked})
    return min(PACE_SECONDS, len(ids) * EACH_SECONDS)


def _note(ids: Collection[UUID]) -> float:
    with SessionLocal() as db:
        deliver_batch(db, CONSUMER, of=list(ids))
    return PACE_SECONDS


_releaser = PerProcess(lambda: Background[UUID]("children", "the release of what depends on others", _release))
_noter = PerProcess(lambda: Background[UUID]("ends of workflows", "what ends of tasks mean for workflows", _note))


def release_children(ids: Collection[UUID]) -> None:
    """Have the children of these tasks go on, whose ends are committed. Never blocks, never raises."""
    if ids:
        _releaser().enqueue(ids)


def release_after_commit(db: Session, task: Task) -> None:
    """The same for a task that this transaction has ended, if others depend on it."""
    if task.status in TERMINAL and ConsumerNumber.CHILDREN.is_in(task.followers):
        after_commit(db, partial(release_children, [task.id]))


def flush(seconds: float) -> bool:
    """Wait for at most `seconds` until all is done that was asked for; True when it is."""
    return _releaser().flush(seconds) and _noter().flush(seconds)
