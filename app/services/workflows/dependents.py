"""What the ends of tasks mean for those that wait for them, which go on or are revoked, and for their workflows.

It follows from the states of the rows alone, so that it may be done twice, and late. The outbox has it done once for
sure: the end of a task that others depend on writes a row, in its own transaction (`settle_ends`).

`note_in_workflows` notes what became of the tasks of workflows: the end of the last one ends the workflow. Its row is
locked meanwhile: of two tasks that end at once, the second one is seen to be the last.

`release_children` has what depends on tasks go on right after they have ended, off the path of whoever has ended them;
`release_at_once` on it, where nothing else waits. The children that run come first, in a transaction of their own. The
rows of the outbox are handed over behind them, which notes the ends in workflows, revokes what has a failed parent, and
finds the other children done. What is lost with the process, maintenance does within a pass.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.fork import PerProcess
from app.db.background import Background
from app.db.session import SessionLocal, engine
from app.db.sql import prepared, released_children
from app.db.statements import workflows
from app.db.transactions import after_commit
from app.models.outbox import ConsumerNumber
from app.models.task import TERMINAL, Task, TaskStatus
from app.models.webhook import EventType
from app.schemas.workflow import WorkflowRead
from app.services.execution import ends
from app.services.outbox import Consumer, TaskEvent, deliver_batch
from app.services.tasks import due_tasks
from app.services.tasks.task_dependencies import PARENT_FAILED
from app.services.webhooks import new_deliveries
from app.services.workflows.reading import final_status, read_workflow


def settle_ends(db: Session, ids: Collection[UUID]) -> None:
    """Note in their workflows what became of these tasks, and have the children of those that have ended go on."""
    note_in_workflows(db, ids)
    if revoked := go_on(db, ids):
        note_in_workflows(db, revoked)


def go_on(db: Session, ids: Collection[UUID]) -> set[UUID]:
    """Let the children of those of these tasks go on that have ended, or revoke them with all that depends on them.

    Returns the tasks that it has revoked.
    """
    revoked = set[UUID]()
    ended: Collection[UUID] = ids
    while ended:
        due_tasks.wake_known(db, released_children.let_go_on(db, ended))
        ended = released_children.close_failed(db, ended)
        if ended:
            ends.end_tasks(db, ends.withdrawn(PARENT_FAILED), Task.id.in_(ended))
        revoked |= ended
    return revoked


def _settle_all(db: Session, events: Sequence[TaskEvent]) -> None:
    settle_ends(db, [event.task_id for event in events])


CONSUMER = Consumer("children", ConsumerNumber.CHILDREN, _settle_all)


# -- What the ends of tasks mean for their workflows -------------------------------------------------------------------


def note_in_workflows(db: Session, task_ids: Collection[UUID]) -> None:
    """Note what these tasks are now, which ended, were retried or deleted. Those of no workflow are passed over."""
    ids = workflows.of_tasks(db, task_ids)
    if not ids:
        return
    known = workflows.lock(db, ids)
    workflows.note_tasks(db, task_ids)
    ended: dict[TaskStatus, list[UUID]] = {}
    for workflow_id, statuses in workflows.statuses(db, known).items():
        status, was = final_status(statuses), known[workflow_id].status
        if status is None and was is not None:
            workflows.reopen(db, [workflow_id])
        elif status is not None and was is None:
            ended.setdefault(status, []).append(workflow_id)
    for status, those in ended.items():
        workflows.end(db, those, status)
        _record_ended(db, status, {each: known[each].user_id for each in those})


def _record_ended(db: Session, status: TaskStatus, owners: Mapping[UUID, UUID]) -> None:
    """Record the ends of these workflows for the webhooks of their owners."""
    kind = EventType(f"workflow.{status.value}")
    endpoints = {owner: new_deliveries.find_endpoints(db, owner, kind) for owner in set(owners.values())}
    for workflow_id, owner in owners.items():
        if endpoints[owner]:
            shown = WorkflowRead.model_validate(read_workflow(db, workflow_id))
            new_deliveries.record_made(db, owner, kind, endpoints[owner], shown)


# -- The release of children right after a commit, off the path of whoever has committed -------------------------------

# Both cost nearly as much for fifty tasks as for one. So after so many ends the next ones are waited for, a millisecond
# for each; and workflows are noted so often at most.
EACH_SECONDS, PACE_SECONDS = 0.001, 0.04


def _release(ids: Collection[UUID]) -> float:
    try:
        with due_tasks.connected(engine()) as db:
            children = released_children.let_go_on(db, ids)
        due_tasks.wake_committed(children)
    finally:
        _noter().enqueue(ids)  # which waits for what is locked
    return min(PACE_SECONDS, len(ids) * EACH_SECONDS)


def _hand_over(ids: Collection[UUID]) -> float:
    with SessionLocal() as db:
        deliver_batch(db, CONSUMER, of=list(ids))
    return PACE_SECONDS


_releaser = PerProcess(
    lambda: Background[UUID]("children", "the release of what depends on others is left to maintenance", _release)
)
_noter = PerProcess(
    lambda: Background[UUID](
        "ends of workflows", "what ends of tasks mean for workflows is left to maintenance", _hand_over
    )
)


def release_at_once(db: prepared.PreparedConnection, task_id: UUID) -> list[released_children.Child]:
    """Have the children of this task go on, whose end is committed, before the call returns. Returns them.

    The caller wakes slots for them (`due_tasks.wake_committed`). Raises DBAPIError: then `release_children` has it
    done, or maintenance.
    """
    children = released_children.let_go_on(db, [task_id])
    _noter().enqueue([task_id])
    return children


def release_children(ids: Collection[UUID]) -> None:
    """Have the children of these tasks go on, whose ends are committed. Never blocks, never raises."""
    if ids:
        _releaser().enqueue(ids)


def release_after_commit(db: Session, task: Task) -> None:
    """Have the children go on, after the commit, of a task that this transaction has ended."""
    if task.status in TERMINAL and ConsumerNumber.CHILDREN.is_in(task.followers):
        after_commit(db, partial(release_children, [task.id]))


def flush_releases(seconds: float) -> bool:
    """Wait for at most `seconds` until all is done that was asked for; True when it is."""
    until = time.monotonic() + seconds
    is_released = _releaser().flush(seconds)
    return _noter().flush(max(0.0, until - time.monotonic())) and is_released
