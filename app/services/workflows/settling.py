"""What the ends of tasks mean for those that wait for them, which go on or are revoked, and for their workflows.

It follows from the states of the rows alone, so that it may be done twice, and late. The outbox has it done once for
sure: the end of a task that others depend on writes a row, in its own transaction. Whoever ends one asks for it to be
handed over at once (`app/services/workflows/releasing.py`); what is lost on the way, maintenance does within a pass.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.statements import dependencies
from app.models.outbox import ConsumerNumber
from app.models.task import TERMINAL, Task, TaskStatus
from app.services.execution import ends
from app.services.outbox import Consumer, TaskEvent
from app.services.tasks import waking
from app.services.tasks.task_parents import PARENT_FAILED
from app.services.workflows import progress


def settle(db: Session, ids: Collection[UUID]) -> None:
    """Let the children of those of these tasks go on that have ended, or revoke them with all that depends on them.

    Two parents that end at once wait here for the row of their child: the second one sees that the first has ended.
    """
    while ids:
        ids = _settle(db, ids)


def _settle(db: Session, ids: Collection[UUID]) -> Collection[UUID]:
    """Returns the tasks that it has revoked, whose children are to be settled next."""
    states = dependencies.states(db, ids)
    if len(states) < len(ids) or any(state.workflow_id is not None for state in states.values()):
        progress.note(db, ids)
    ended = [each for each in ids if each not in states or states[each].status in TERMINAL]
    edges = dependencies.open_edges(db, ended) if ended else []
    if not edges:
        return ()
    children = dependencies.lock_children(db, {edge.child_id for edge in edges})
    dependencies.close_edges(db, edges)
    succeeded = {each for each, state in states.items() if state.status is TaskStatus.SUCCEEDED}
    failed = {
        edge.child_id
        for edge in edges
        if edge.parent_id not in succeeded and not edge.goes_on and edge.child_id in children
    }
    if failed:
        ends.end_tasks(db, ends.withdrawn(PARENT_FAILED), Task.id.in_(failed))
    left = children.keys() - failed
    free = left - dependencies.still_waiting(db, left) if left else left
    if free:
        dependencies.release(db, free)
        waking.wake_known(db, [children[each] for each in sorted(free)])
    return failed


def _settle_one(db: Session, event: TaskEvent) -> None:
    settle(db, [event.task_id])


def _settle_all(db: Session, events: Sequence[TaskEvent]) -> None:
    settle(db, [event.task_id for event in events])


CONSUMER = Consumer("children", ConsumerNumber.CHILDREN, _settle_one, _settle_all)
