"""Workflows: create, read, cancel, retry, delete.

Each method is one transaction; with `commit=False` the caller commits. `owner` limits a call to one user's workflows:
another user's raises WorkflowNotFound, like one that does not exist.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.validation_errors import parsed
from app.db.listing import Page
from app.db.session import transaction
from app.db.statements import workflows
from app.db.transactions import after_commit, retries_deadlocks
from app.errors import IdempotentWorkflowDeleted, InvalidWorkflow, WorkflowNotFound
from app.models.workflow import Workflow, WorkflowEvent
from app.schemas.workflow import WorkflowCreate, WorkflowRead, WorkflowSummary
from app.services import audit
from app.services.accounts.users import Rights
from app.services.audit import Subject
from app.services.tasks.idempotency import Accepted, Take, once
from app.services.tasks.permissions import check_may_create
from app.services.workflows import dependents, lifecycle, reading
from app.services.workflows.reading import WorkflowFilter
from app.workflows.canvas import UnusableCanvas, write

MOST_CHARACTERS = 200  # of a name


class WorkflowService:
    """The operations of workflows. Stateless: `workflow_service` is the shared instance."""

    def create_workflow(
        self, db: Session, name: str, tasks: Iterable[dict[str, Any]], *, user_id: UUID, on_failure: str = "cancel",
        commit: bool = True, within_quota: bool = False,
    ) -> WorkflowRead:  # fmt: skip
        """Create all tasks or none; each as in WorkflowTask: `ref`, `depends_on` by refs, and the fields of TaskCreate.

        Raises InvalidWorkflow, UnknownTask, InvalidArguments, PriorityNotAllowed, UniqueKeyTaken, UnknownLimit,
        LimitReached; with `within_quota`, which the API sets, also QuotaExceeded.
        """
        fields = {"name": name, "tasks": list(tasks), "on_failure": on_failure}
        wanted = parsed(WorkflowCreate, fields, InvalidWorkflow)
        return self.accept(db, wanted, user_id, rights=None, commit=commit, within_quota=within_quota).result

    def create_from_canvas(
        self, db: Session, canvas: Any, *, user_id: UUID, name: str | None = None, on_failure: str = "cancel",
        commit: bool = True, within_quota: bool = False, **fields: Any,
    ) -> WorkflowRead:  # fmt: skip
        """Create the tasks of a Celery canvas; `fields` of TaskCreate are those of each, such as `priority`.

        Parents' results are prepended as Celery does. Raises InvalidWorkflow for what a workflow cannot carry over,
        which says what to write instead, and as `create_workflow`.
        """
        try:
            tasks = write(canvas, {"task_type": "workflow", **fields}).tasks
        except UnusableCanvas as error:
            raise InvalidWorkflow(str(error)) from None
        return self.create_workflow(
            db, name or _name_of(tasks), tasks, user_id=user_id, on_failure=on_failure, commit=commit,
            within_quota=within_quota,
        )  # fmt: skip

    @retries_deadlocks
    def accept(
        self, db: Session, wanted: WorkflowCreate, user_id: UUID, key: str | None = None, *, rights: Rights | None,
        commit: bool = True, within_quota: bool = True,
    ) -> Accepted[WorkflowRead]:  # fmt: skip
        """Create the workflow of a request, once for this idempotency key. `rights`: the caller's, None for code.

        Raises as `create_workflow`, and TaskNotAllowed, InsufficientScope, IdempotencyKeyReused,
        IdempotencyKeyInFlight, IdempotentWorkflowDeleted.
        """
        if rights is not None:
            check_may_create(wanted.tasks, rights)

        def make(take: Take) -> Accepted[WorkflowRead]:
            new = lifecycle.check_request(wanted, user_id)
            with lifecycle.creating(db, new, commit=commit, within_quota=within_quota):
                take([new.id])
                return Accepted(self.get_workflow(db, new.id))

        def find(ids: Sequence[UUID]) -> WorkflowRead | None:
            with suppress(WorkflowNotFound):
                return self.get_workflow(db, ids[0])
            return None

        return once(db, user_id, key, wanted, make=make, find=find, gone=IdempotentWorkflowDeleted)

    def get_workflow(self, db: Session, workflow_id: UUID, *, owner: UUID | None = None) -> WorkflowRead:
        """Return the workflow with its tasks. Raises WorkflowNotFound."""
        return WorkflowRead.model_validate(reading.read_workflow(db, workflow_id, owner))

    def list_workflows(
        self, db: Session, wanted: WorkflowFilter | None = None, limit: int = 50, *, cursor: str | None = None
    ) -> Page[WorkflowSummary]:
        """Return a page of workflows, the newest first; without a filter those of all users. Raises InvalidCursor."""
        rows, last = reading.WORKFLOWS.page(db, limit, cursor, *(wanted or WorkflowFilter()).conditions())
        return Page([WorkflowSummary.model_validate(each) for each in reading.summaries(db, rows)], last)

    @retries_deadlocks
    def cancel_workflow(
        self, db: Session, workflow_id: UUID, *, owner: UUID | None = None, commit: bool = True
    ) -> WorkflowRead:  # fmt: skip
        """Revoke the tasks that wait, and ask those that run to stop. Returns the workflow as it is then.

        Raises WorkflowNotFound, WorkflowTransition if it has ended otherwise than revoked.
        """
        with transaction(db, commit=commit):
            workflow = _lock(db, workflow_id, owner)
            revoked = lifecycle.cancel_workflow(db, workflow_id)
            if revoked is not None:
                _record(db, WorkflowEvent.CANCELLED, workflow)
                dependents.note_in_workflows(db, revoked)
                after_commit(db, partial(dependents.release_children, revoked))
            return self.get_workflow(db, workflow_id)

    @retries_deadlocks
    def retry_workflow(
        self, db: Session, workflow_id: UUID, *, owner: UUID | None = None, commit: bool = True,
        within_quota: bool = False, rights: Rights | None = None,
    ) -> WorkflowRead:  # fmt: skip
        """Run again what failed or was revoked; what has succeeded stays.

        Raises WorkflowNotFound, WorkflowTransition if there is nothing to retry, ParentDeleted, UniqueKeyTaken,
        UnknownLimit; with `rights`, those of the caller, TaskNotAllowed, PriorityNotAllowed and InsufficientScope; with
        `within_quota` QuotaExceeded.
        """
        with ExitStack() as until_commit, transaction(db, commit=commit):
            workflow = _lock(db, workflow_id, owner)
            lifecycle.retry_workflow(db, workflow_id, until_commit, rights=rights, within_quota=within_quota)
            _record(db, WorkflowEvent.RETRIED, workflow)
            return self.get_workflow(db, workflow_id)

    @retries_deadlocks
    def delete_workflow(
        self, db: Session, workflow_id: UUID, *, owner: UUID | None = None, commit: bool = True
    ) -> None:  # fmt: skip
        """Delete an ended workflow with its tasks.

        Raises WorkflowNotFound, WorkflowActive, and TaskHasChildren if a pending task depends on one of them.
        """
        with transaction(db, commit=commit):
            workflow = _lock(db, workflow_id, owner)
            _record(db, WorkflowEvent.DELETED, workflow)
            lifecycle.delete_workflow(db, workflow_id)


def _name_of(tasks: Sequence[Mapping[str, Any]]) -> str:
    """Return the names of its tasks: the canvas as text would show their arguments."""
    return ", ".join(dict.fromkeys(task["celery_task_name"] for task in tasks))[:MOST_CHARACTERS]


def _lock(db: Session, workflow_id: UUID, owner: UUID | None) -> Workflow:
    """Lock the workflow until the commit. Raises WorkflowNotFound."""
    workflow = reading.find_workflow(db, workflow_id, owner)
    if not workflows.lock(db, [workflow_id]):
        raise WorkflowNotFound
    return workflow


def _record(db: Session, event: WorkflowEvent, workflow: Workflow) -> None:
    about = Subject("workflow", str(workflow.id))
    audit.record(db, event, about, actor=None, owner=str(workflow.user_id), name=workflow.name)


workflow_service = WorkflowService()
