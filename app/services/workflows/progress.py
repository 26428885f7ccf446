"""Notes in workflows what became of their tasks: the end of the last one ends the workflow.

It follows from the rows of the tasks alone, as `settling` does. The row of the workflow is locked meanwhile: of two
tasks that end at once, the second one is seen to be the last.
"""

from collections.abc import Collection, Mapping
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.statements import workflows
from app.models.task import TaskStatus
from app.models.webhook import EventType
from app.schemas.workflow import WorkflowRead
from app.services.webhooks import new_deliveries
from app.services.workflows.reading import final, read


def note(db: Session, task_ids: Collection[UUID]) -> None:
    """Note what these tasks are now, which ended, were retried or deleted. Those of no workflow are passed over."""
    ids = workflows.of_tasks(db, task_ids)
    if not ids:
        return
    known = workflows.lock(db, ids)
    workflows.note_tasks(db, task_ids)
    ended: dict[TaskStatus, list[UUID]] = {}
    for workflow_id, statuses in workflows.statuses(db, known).items():
        status, was = final(statuses), known[workflow_id].status
        if status is None and was is not None:
            workflows.reopen(db, [workflow_id])
        elif status is not None and was is None:
            ended.setdefault(status, []).append(workflow_id)
    for status, those in ended.items():
        workflows.end(db, those, status)
        _tell(db, status, {each: known[each].user_id for each in those})


def _tell(db: Session, status: TaskStatus, owners: Mapping[UUID, UUID]) -> None:
    """Record the ends of these workflows for the webhooks of their owners."""
    kind = EventType(f"workflow.{status.value}")
    endpoints = {owner: new_deliveries.find_endpoints(db, owner, kind) for owner in set(owners.values())}
    for workflow_id, owner in owners.items():
        if endpoints[owner]:
            shown = WorkflowRead.model_validate(read(db, workflow_id))
            new_deliveries.record_made(db, owner, kind, endpoints[owner], shown)
