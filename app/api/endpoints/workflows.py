"""Endpoints of workflows: create, read, cancel, retry, delete."""

import json
from typing import Annotated, Any
from uuid import UUID

from fastapi import Path, Query, Request, Response, status

from app import errors
from app.api.deps import BearerToken, SessionDep, TaskReader, TaskWriter, WatcherDep
from app.api.endpoints.events import LastEventId, credential_of, stream_answer
from app.api.endpoints.tasks import QUOTA_PROBLEMS, REPLAYED_HEADER, TASK_PROBLEMS, IdempotencyKey
from app.api.http.body_route import body_limit
from app.api.http.problems import Answers, raises
from app.api.http.responses import Cursor, Limit, ListRenderer, created, rendered
from app.api.http.router import SlashRouter
from app.api.http.sse import EventStream, stream_or_204
from app.api.task_filters import seen_by
from app.live.streams import version_of
from app.models.task import TERMINAL
from app.schemas.workflow import EXAMPLE, WorkflowCreate, WorkflowRead, WorkflowSummary
from app.services.workflows.reading import WORKFLOWS, WorkflowFilter
from app.services.workflows.service import workflow_service

router = SlashRouter(prefix="/workflows", tags=["workflows"])
TAG_DESCRIPTION = "Run tasks one after the other: each starts once those that it waits for have succeeded."

WorkflowId = Annotated[
    UUID,
    Path(description="The workflow's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d13"]),
    Answers(errors.WorkflowNotFound),
]

_DATA = json.dumps(EXAMPLE, separators=(",", ":"))
_WORKFLOWS = ListRenderer(WorkflowSummary, WORKFLOWS)
_HEADERS: dict[str, Any] = {
    "Location": {"description": "The URL of the workflow", "schema": {"type": "string"}},
    **REPLAYED_HEADER,
}


@router.post(
    "/",
    status_code=status.HTTP_201_CREATED,
    response_model=WorkflowRead,
    response_description="All tasks are committed and will run",
    responses={201: {"headers": _HEADERS}},
)
@raises(
    *(errors.LimitReached, errors.UniqueKeyTaken, errors.InvalidInput, errors.InvalidWorkflow, *TASK_PROBLEMS),
    *(*QUOTA_PROBLEMS, errors.IdempotencyKeyReused, errors.IdempotencyKeyInFlight, errors.IdempotentWorkflowDeleted),
)
@body_limit(lambda settings: settings.max_body_bytes)
def create_workflow(
    request: Request, db: SessionDep, user: TaskWriter, body: WorkflowCreate, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create up to 1,000 tasks in one transaction, each of which starts after those that it depends on.

    All are accepted, or none. In `args` and `kwargs`, `$result` stands for the result of another task. It is filled in
    as the task starts, and the arguments are checked then. Each task counts against the quotas.
    """
    accepted = workflow_service.accept(db, body, user.id, idempotency_key, rights=user.rights)
    return created(request, accepted.result, replayed=accepted.replayed)


@router.get("/", response_model=list[WorkflowSummary], response_description="Workflows, the newest first")
@raises(errors.AdminOnly)
def list_workflows(
    request: Request,
    db: SessionDep,
    user: TaskReader,
    wanted: Annotated[WorkflowFilter, Query()],
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List workflows, the newest first, without their tasks. The `Link` header names the next page."""
    page = workflow_service.list_workflows(db, seen_by(user, wanted), limit, cursor=cursor)
    return _WORKFLOWS.page(request, page)


@router.get(
    "/{workflow_id}", response_model=WorkflowRead, response_description="The workflow"
)  # fmt: skip
def get_workflow(db: SessionDep, user: TaskReader, workflow_id: WorkflowId) -> Response:
    """Return one workflow with its tasks."""
    return rendered(workflow_service.get_workflow(db, workflow_id, owner=user.owner))


@router.get(
    "/{workflow_id}/events",
    status_code=status.HTTP_200_OK,
    response_class=EventStream,
    responses={
        **stream_answer(
            f"retry: 2100\nevent: workflow\nid: 3\ndata: {_DATA}\n\n",
            "`event` is `workflow`; `data` is a `WorkflowRead` as JSON.",
        ),
        204: {"description": "The workflow has ended and you have its last state; an EventSource stops"},
    },
)
@raises(errors.TooManyStreams)
async def follow_workflow(
    user: TaskReader,
    token: BearerToken,
    watcher: WatcherDep,
    workflow_id: WorkflowId,
    last_event_id: LastEventId = None,
) -> Response:
    """Stream the states of one workflow, at most four a second. The first event is the current state.

    `event` is `workflow`, `id` is its `version`, and `data` is the workflow. Its terminal state ends the stream.
    The end of the login or API key that opened it does, too. With `Last-Event-ID` only newer states come.
    """
    stream = await watcher.follow_workflow(workflow_id, credential_of(user, token), version_of(last_event_id))
    return stream_or_204(stream, watcher.leave)


@router.post(
    "/{workflow_id}/cancel",
    response_model=WorkflowRead,
    response_description="The workflow is revoked",
    responses={202: {"model": WorkflowRead, "description": "Tasks still run, and are asked to stop"}},
)
@raises(errors.WorkflowTransition)
def cancel_workflow(db: SessionDep, user: TaskWriter, workflow_id: WorkflowId) -> Response:
    """Revoke the tasks that wait, and ask those that run to stop."""
    found = workflow_service.cancel_workflow(db, workflow_id, owner=user.owner)
    return rendered(found, status.HTTP_200_OK if found.status in TERMINAL else status.HTTP_202_ACCEPTED)


@router.post("/{workflow_id}/retry", response_model=WorkflowRead, response_description="The workflow runs again")
@raises(
    errors.WorkflowTransition,
    errors.ParentDeleted,
    errors.TaskNotAllowed,
    errors.PriorityNotAllowed,
    errors.UniqueKeyTaken,
    errors.UnknownLimit,
    *QUOTA_PROBLEMS,
)
def retry_workflow(db: SessionDep, user: TaskWriter, workflow_id: WorkflowId) -> Response:
    """Run again what failed or was revoked. What has succeeded stays."""
    found = workflow_service.retry_workflow(
        db, workflow_id, owner=user.owner, within_quota=True, rights=user.rights
    )  # fmt: skip
    return rendered(found)


@router.delete(
    "/{workflow_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The workflow and its tasks are deleted",
)
@raises(errors.WorkflowActive, errors.TaskHasChildren)
def delete_workflow(db: SessionDep, user: TaskWriter, workflow_id: WorkflowId) -> None:
    """Delete an ended workflow with its tasks."""
    workflow_service.delete_workflow(db, workflow_id, owner=user.owner)
