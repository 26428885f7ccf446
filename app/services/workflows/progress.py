"""Notes in workflows what became of their tasks: the end of the last one ends the workflow.

It follows from the rows of the tasks alone, as `settling` does. The row of the workflow is locked meanwhile: of two
tasks that end at once, the second one is seen to be the last.
"""

from collections.abc import Collection
from uuid import UUID

from sqlalchemy.orm import Session

from app.db.statements import workflows
from app.models.task import TaskStatus
from app.models.webhook import EventType
from app.schemas.workflow import WorkflowRead
from app.services.webhooks import recording
from app.services.workflows.reading import final, find, read


def note(db: Session, task_ids: Collection[UUID]) -> None:
    """Note what these tasks are now, which ended, were retried or deleted. Those of no workflow are passed over."""
    ids = workflows.of_tasks(db, task_ids)
    if not ids:
        return
    known = workflows.lock(db, ids)
    workflows.note_tasks(db, task_ids)
    for workflow_id, statuses in workflows.statuses(db, known).items():
        status = final(statuses)
        if status is None and known[workflow_id] is not None:
            workflows.reopen(db, [workflow_id])
        elif status is not None and known[workflow_id] is None:
            workflows.end(db, workflow_id, status)
            _tell(db, workflow_id, status)


def _tell(db: Session, workflow_id: UUID, status: TaskStatus) -> None:
    """Record the end for the webhooks of the owner."""
    owner = find(db, workflow_id).user_id
    kind = EventType(f"workflow.{status.value}")
    recording.record_made(db, owner, kind, lambda: WorkflowRead.model_validate(read(db, workflow_id)))
