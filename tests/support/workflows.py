"""Workflows in tests."""

from typing import Any

from sqlalchemy.orm import Session

from app.schemas.workflow import WorkflowRead
from app.services.outbox import deliver_batch
from app.services.workflows.dependents import CONSUMER
from tests.support.tasks import LONG_RUNNING


def sleep(ref: str, *parents: str, **options: Any) -> dict[str, Any]:
    """A task of a workflow that takes a second."""
    task = {"ref": ref, "name": ref, "task_type": "test", "celery_task_name": LONG_RUNNING, "depends_on": list(parents)}
    return {**task, "args": [1], **({"args": []} if "kwargs" in options else {}), **options}


def settle(db: Session) -> None:
    """What maintenance does within a pass."""
    while deliver_batch(db, CONSUMER):
        pass


def statuses_of(workflow: WorkflowRead) -> dict[str, str]:
    """The statuses of its tasks, by their refs."""
    return {node.ref: node.status.value for node in workflow.tasks}
