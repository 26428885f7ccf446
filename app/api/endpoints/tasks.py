"""Endpoints of tasks: create, list, follow, change, cancel, retry, delete."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Path, Query, Request, Response, status

from app.api.deps import SessionDep, SubmitterDep, TaskLookupDep, TaskReader, TaskWriter, WatcherDep, authenticated
from app.api.http.etags import check_if_match, etag, not_modified
from app.api.http.fast_path import bearer_token, has_header, json_body, read_fast
from app.api.http.paging import LINK_HEADER, Cursor, Limit, Skip, read_cursor, set_next_link
from app.api.http.peers import count_for_user
from app.api.http.problems import problems
from app.api.http.rendering import rendered
from app.api.http.router import SlashRouter
from app.api.task_filters import TaskFilterDep
from app.catalogue import TaskType
from app.errors import (
    AdminOnly,
    IdempotencyKeyInFlight,
    IdempotencyKeyReused,
    IdempotentTaskDeleted,
    InsufficientScope,
    InvalidArguments,
    InvalidCursor,
    InvalidInput,
    InvalidTransition,
    PreconditionFailed,
    TaskActive,
    TaskNotAllowed,
    TaskNotFound,
    TooManyBytesQueued,
    TooManySubmissions,
    TooManyTasksQueued,
    UnknownTask,
)
from app.models.task import TERMINAL, Task, TaskStatus
from app.schemas.task import (
    TaskAttemptRead,
    TaskBatchCreate,
    TaskBatchRead,
    TaskCounts,
    TaskCreate,
    TaskPatch,
    TaskRead,
    TaskTypeRead,
)
from app.services.batched.authenticator import login_claims
from app.services.batched.submitter import Submitter
from app.services.task_service import task_service
from app.services.tasks.idempotency import Accepted, AcceptedBatch
from app.services.tasks.permissions import check_may_create, types_for

router = SlashRouter(prefix="/tasks", tags=["tasks"])

MAX_WAIT_SECONDS = 60

TaskId = Annotated[UUID, Path(description="The task's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"])]
Wait = Annotated[
    float,
    Query(ge=0, le=MAX_WAIT_SECONDS, description="Delay the answer until the task ends, at most this many seconds."),
]
IfNoneMatch = Annotated[str | None, Header(description="An ETag. The answer is 304 if the task still has it.")]
IfMatch = Annotated[str | None, Header(description="An ETag. The answer is 412 if the task has another one.")]
Force = Annotated[bool, Query(description="Delete a pending task too. Stop a running task, then delete it.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[ -~]*$",
        description="Makes it safe to repeat this request within 24 hours. The same key with the same body returns "
        "what the first one created. Choose a new value for each request in printable ASCII, such as a random UUID.",
        examples=["0f8fad5b-d9cb-469f-a165-70867728950e"],
    ),
]

_ETAG: dict[str, Any] = {"ETag": {"description": "The task's version, in quotes", "schema": {"type": "string"}}}
_REPLAYED = "Idempotency-Replayed"
_REPLAYED_HEADER: dict[str, Any] = {
    _REPLAYED: {
        "description": "`true` if an earlier request with this key was accepted. Otherwise absent",
        "schema": {"type": "string", "const": "true"},
    }
}
_LOCATION: dict[str, Any] = {"Location": {"description": "The URL of the task", "schema": {"type": "string"}}}
_KEY_PROBLEMS = (IdempotencyKeyReused, IdempotencyKeyInFlight, IdempotentTaskDeleted)
_CREATE_PROBLEMS = (TaskNotAllowed, InvalidInput, UnknownTask, InvalidArguments)
_QUOTA_PROBLEMS = (TooManyTasksQueued, TooManyBytesQueued, TooManySubmissions)


async def _create_fast(request: Request, scopes: Sequence[str]) -> Response | None:
    token = bearer_token(request)
    if token is None or request.scope["query_string"] or has_header(request, b"idempotency-key"):
        return None
    body = await json_body(request, TaskCreate)
    if body is None:
        return None
    submitter: Submitter = request.state.submitter
    claims = login_claims(token)
    if claims is not None:  # scopes limit API keys alone
        count_for_user(request, claims.user_id)
        return _created(request, await submitter.submit_of_login(body, claims))
    user = await authenticated(request, token, *scopes)
    return await create_task(request, user, submitter, body)


def _created(request: Request, accepted: Accepted) -> Response:
    location = f"{request.scope['path'].rstrip('/')}/{accepted.task.id}"
    headers = {"Location": location, "ETag": etag(accepted.task.version), **_replayed(accepted)}
    return rendered(accepted.task, status.HTTP_201_CREATED, headers)


def _replayed(accepted: Accepted | AcceptedBatch) -> dict[str, str]:
    return {_REPLAYED: "true"} if accepted.replayed else {}


async def _get_fast(request: Request, scopes: Sequence[str]) -> Response | None:
    token = bearer_token(request)
    if token is None or request.scope["query_string"] or has_header(request, b"if-none-match"):
        return None
    user = await authenticated(request, token, *scopes)
    return await get_task(user, request.state.task_lookup, request.state.watcher, UUID(request.path_params["task_id"]))


@router.post(
    "/",
    status_code=status.HTTP_201_CREATED,
    response_model=TaskRead,
    response_description="The task is committed and will run",
    responses={
        201: {"headers": {**_LOCATION, **_ETAG, **_REPLAYED_HEADER}},
        **problems(401, InsufficientScope, *_CREATE_PROBLEMS, *_KEY_PROBLEMS, *_QUOTA_PROBLEMS),
    },
)
@read_fast(_create_fast)
async def create_task(
    request: Request,
    user: TaskWriter,
    submitter: SubmitterDep,
    body: TaskCreate,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a task. After the answer 201 the task is committed to the database and cannot be lost.

    If a request times out, repeat it with the same `Idempotency-Key`: only one task is created. In a 429, `code` names
    the exhausted quota, and `Retry-After` says when to try again.
    """
    check_may_create([body.celery_task_name], user.id, user.role)
    return _created(request, await submitter.submit(body, user.id, idempotency_key))


@router.post(
    "/batch",
    status_code=status.HTTP_201_CREATED,
    response_model=TaskBatchRead,
    response_description="All tasks are committed and will run",
    responses={
        201: {"headers": _REPLAYED_HEADER},
        **problems(401, InsufficientScope, *_CREATE_PROBLEMS, *_KEY_PROBLEMS, *_QUOTA_PROBLEMS),
    },
)
async def create_tasks(
    user: TaskWriter, submitter: SubmitterDep, body: TaskBatchCreate, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create up to 1,000 tasks in one transaction: all are accepted, or none.

    An error names the place of the refused field, such as `["body", "tasks", 3, "kwargs", "step"]`. Each task counts
    against the quotas. An `Idempotency-Key` makes it safe to repeat the request: the same tasks are answered.
    """
    check_may_create([task.celery_task_name for task in body.tasks], user.id, user.role)
    accepted = await submitter.submit_all(body.tasks, user.id, idempotency_key)
    return rendered(TaskBatchRead(tasks=accepted.tasks), status.HTTP_201_CREATED, _replayed(accepted))


@router.get(
    "/",
    response_model=list[TaskRead],
    response_description="Tasks, newest first",
    responses={200: {"headers": LINK_HEADER}, **problems(401, InsufficientScope, AdminOnly, InvalidCursor)},
)
def list_tasks(
    request: Request,
    response: Response,
    db: SessionDep,
    wanted: TaskFilterDep,
    limit: Limit = 50,
    skip: Skip = 0,
    cursor: Cursor = None,
) -> list[Task]:
    """List tasks, newest first. The `Link` header names the next page.

    With a selective filter, a page can be short or empty and still have a `next` link. Follow the links until there is
    none.
    """
    tasks, last = task_service.list_page(db, wanted, limit, before=read_cursor(cursor), skip=skip)
    set_next_link(request, response, last)
    return tasks


@router.get(
    "/count", response_description="The numbers of tasks", responses=problems(401, InsufficientScope, AdminOnly)
)
def count_tasks(db: SessionDep, wanted: TaskFilterDep) -> TaskCounts:
    """Count tasks, in total and by status. The filters are those of the list, and the numbers are exact.

    Counts by status, type, task, priority and queue are fast for any number of tasks. So are counts by time, alone or
    with a status. Other filters and combinations read each candidate task, and can be slow. A query that exceeds the
    database's time limit answers 503 `took_too_long`.
    """
    return TaskCounts(**task_service.count(db, wanted))


@router.get(
    "/types",
    response_model=list[TaskTypeRead],
    response_description="The tasks that can be created",
    responses=problems(401, InsufficientScope),
)
def list_task_types(user: TaskReader) -> list[TaskType]:
    """List the tasks that you can create, with the JSON Schema of their parameters."""
    return types_for(user.id, user.role)


@router.get(
    "/{task_id}",
    response_model=TaskRead,
    response_description="The task",
    responses={
        200: {"headers": _ETAG},
        304: {"description": "The task still has this ETag", "headers": _ETAG},
        **problems(401, InsufficientScope, TaskNotFound),
    },
)
@read_fast(_get_fast)
async def get_task(
    user: TaskReader,
    lookup: TaskLookupDep,
    watcher: WatcherDep,
    task_id: TaskId,
    wait: Wait = 0,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Get a task. With `wait`, the answer comes when the task ends or the time is over."""
    task = await lookup.read(task_id, user.owner)
    if wait and task.status not in TERMINAL:
        await watcher.wait_for_end(task_id, wait)
        task = await lookup.read(task_id, user.owner)
    headers = {"ETag": etag(task.version)}
    if not_modified(if_none_match, task.version):
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return rendered(task, headers=headers)


@router.patch(
    "/{task_id}",
    response_model=TaskRead,
    response_description="The changed task",
    responses={
        200: {"headers": _ETAG},
        **problems(401, InsufficientScope, AdminOnly, TaskNotFound, InvalidTransition, PreconditionFailed),
    },
)
def update_task(
    response: Response, db: SessionDep, user: TaskWriter, task_id: TaskId, body: TaskPatch, if_match: IfMatch = None
) -> Task:
    """Change a task. Omitted fields keep their values. Some fields can change only while the task is pending."""
    changes = body.model_dump(exclude_unset=True)
    task = task_service.update_task(
        db,
        task_id,
        changes,
        owner=user.owner,
        check_admin=user.check_admin,
        check_version=lambda version: check_if_match(if_match, version),
    )
    response.headers["ETag"] = etag(task.version)
    return task


@router.post(
    "/{task_id}/cancel",
    response_model=TaskRead,
    response_description="The task is revoked: it will not start, or has stopped",
    responses={
        202: {"model": TaskRead, "description": "The task is stopping: `revoked` follows within seconds"},
        **problems(401, InsufficientScope, TaskNotFound, InvalidTransition),
    },
)
def cancel_task(response: Response, db: SessionDep, user: TaskWriter, task_id: TaskId) -> Task:
    """Cancel a task. A pending task is revoked at once, a running task when it has stopped."""
    task = task_service.cancel(db, task_id, owner=user.owner)
    if task.status is TaskStatus.RUNNING:
        response.status_code = status.HTTP_202_ACCEPTED
    return task


@router.post(
    "/{task_id}/retry",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=TaskRead,
    response_description="The task is pending again, under the same id",
    responses=problems(401, InsufficientScope, TaskNotAllowed, TaskNotFound, InvalidTransition, *_QUOTA_PROBLEMS),
)
def retry_task(db: SessionDep, user: TaskWriter, task_id: TaskId) -> Task:
    """Run a failed or revoked task again. `attempt` keeps counting; the number of failures starts at zero."""

    def check(task: Task) -> None:
        check_may_create([task.celery_task_name], user.id, user.role)

    return task_service.retry_task(db, task_id, owner=user.owner, within_quota=True, check=check)


@router.delete(
    "/{task_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The task is deleted",
    responses={
        202: {"description": "The task is stopping, and will then be deleted"},
        **problems(401, InsufficientScope, TaskNotFound, TaskActive),
    },
)
def delete_task(db: SessionDep, user: TaskWriter, task_id: TaskId, force: Force = False) -> Response:
    """Delete a task that has ended. With `force`, delete a pending or running task too."""
    gone = task_service.delete(db, task_id, owner=user.owner, force=force)
    # A Response of its own: FastAPI would write `null` as the 202's body.
    return Response(status_code=status.HTTP_204_NO_CONTENT if gone else status.HTTP_202_ACCEPTED)


@router.get(
    "/{task_id}/attempts",
    response_model=list[TaskAttemptRead],
    response_description="The attempts, oldest first",
    responses=problems(401, InsufficientScope, TaskNotFound),
)
def list_task_attempts(db: SessionDep, user: TaskReader, task_id: TaskId) -> list[Any]:
    """List the attempts to run a task, including the current one."""
    return task_service.get_attempts(db, task_id, owner=user.owner)
