"""What the ends of tasks mean for those that wait for them, which go on or are revoked, and for their workflows.

It follows from the states of the rows alone, so that it may be done twice, and late. The outbox has it done once for
sure: the end of a task that others depend on writes a row, in its own transaction. Whoever ends one has its children
go on at once (`app/services/workflows/releasing.py`); what is lost on the way, maintenance does within a pass.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.statements import dependencies
from app.models.outbox import ConsumerNumber
from app.models.task import Task
from app.services.execution import ends
from app.services.outbox import Consumer, TaskEvent
from app.services.tasks import due_tasks
from app.services.tasks.task_dependencies import PARENT_FAILED
from app.services.workflows import progress


def settle(db: Session, ids: Collection[UUID]) -> None:
    """Note in their workflows what became of these tasks, and have the children of those that have ended go on."""
    progress.note(db, ids)
    if revoked := go_on(db, ids):
        progress.note(db, revoked)


def go_on(db: Session, ids: Collection[UUID]) -> set[UUID]:
    """Let the children of those of these tasks go on that have ended, or revoke them with all that depends on them.

    Returns the tasks that it has revoked. Two parents that end at once wait here for the row of their child: the second
    one sees that the first has ended.
    """
    revoked = set[UUID]()
    ended: Collection[UUID] = ids
    while ended:
        ended = _go_on(db, ended)
        revoked |= ended
    return revoked


def _go_on(db: Session, ids: Collection[UUID]) -> set[UUID]:
    """Returns the tasks that it has revoked, whose children are next."""
    waiting = dependencies.waiting_children(db, ids)
    if not waiting:
        return set()
    children = dependencies.lock_children(db, waiting)
    # Behind the lock: a retry of a parent holds it, too. Who has come since is told of by another end.
    edges = [edge for edge in dependencies.open_edges(db, ids) if edge.has_ended and edge.child_id in waiting]
    if not edges:
        return set()
    dependencies.close_edges(db, edges)
    failed = {edge.child_id for edge in edges if not edge.lets_go_on} & children.keys()
    if failed:
        ends.end_tasks(db, ends.withdrawn(PARENT_FAILED), Task.id.in_(failed))
    left = {edge.child_id for edge in edges} & children.keys() - failed
    free = left - dependencies.still_waiting(db, left) if left else left
    if free:
        dependencies.release(db, free)
        due_tasks.wake_known(db, [children[each] for each in sorted(free)])
    return failed


def _settle_one(db: Session, event: TaskEvent) -> None:
    settle(db, [event.task_id])


def _settle_all(db: Session, events: Sequence[TaskEvent]) -> None:
    settle(db, [event.task_id for event in events])


CONSUMER = Consumer("children", ConsumerNumber.CHILDREN, _settle_one, _settle_all)
