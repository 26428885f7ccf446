"""Tasks: create, list, follow, change, cancel, retry, delete."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Header, Path, Query, Request, Response, status

from app.api.deps import SessionDep, SubmitterDep, TaskLookupDep, TaskReader, TaskWriter, WatcherDep, authenticated
from app.api.http.etags import check_if_match, etag, not_modified
from app.api.http.fast_path import bearer_token, directly, has_header, json_body
from app.api.http.paging import LINK_HEADER, Cursor, Limit, Skip, read_cursor, set_next_link
from app.api.http.problems import problems
from app.api.http.rendering import rendered
from app.api.http.router import SlashRouter
from app.api.task_filters import TaskFilterDep
from app.catalogue import TaskType, catalogue
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
    TaskNotFound,
    TooManyBytesQueued,
    TooManySubmissions,
    TooManyTasksQueued,
    UnknownTask,
)
from app.models.api_key import Scope
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
from app.services.batched.submitter import Submitted, Submitter
from app.services.task_service import task_service

router = SlashRouter(prefix="/tasks", tags=["tasks"])

MAX_WAIT_SECONDS = 60

TaskId = Annotated[UUID, Path(description="The task's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"])]
Wait = Annotated[
    float,
    Query(ge=0, le=MAX_WAIT_SECONDS, description="Hold the answer until the task has ended, or for so many seconds."),
]
IfNoneMatch = Annotated[str | None, Header(description="The ETag that you have; 304 if it is still the task's.")]
IfMatch = Annotated[str | None, Header(description="Only if the task still has this ETag; else 412.")]
Force = Annotated[bool, Query(description="Delete a pending task too, and a running one once it has been stopped.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[ -~]*$",
        description="Makes repeating this request safe, for 24 hours: the same key with the same body answers the task "
        "that the first request has created. A name of your own for this one task, such as a random UUID: printable "
        "ASCII characters.",
        examples=["0f8fad5b-d9cb-469f-a165-70867728950e"],
    ),
]

_ETAG: dict[str, Any] = {"ETag": {"description": "The task's version", "schema": {"type": "string"}}}
_REPLAYED = "Idempotency-Replayed"
_CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "Location": {"description": "The task's own URL", "schema": {"type": "string"}},
            **_ETAG,
            _REPLAYED: {
                "description": "`true` where an earlier request with this key created the task, shown as it stands "
                "now; else the header is absent",
                "schema": {"type": "string", "enum": ["true"]},
            },
        }
    }
}
_KEY_PROBLEMS = (IdempotencyKeyReused, IdempotencyKeyInFlight, IdempotentTaskDeleted)
_QUOTA_PROBLEMS = (TooManyTasksQueued, TooManyBytesQueued, TooManySubmissions)


async def _create_directly(request: Request) -> Response | None:
    token = bearer_token(request)
    if token is None or request.scope["query_string"] or has_header(request, b"idempotency-key"):
        return None
    body = await json_body(request, TaskCreate)
    if body is None:
        return None
    submitter: Submitter = request.state.submitter
    claims = login_claims(token)
    if claims is not None:
        return _created(request, await submitter.submit_of_login(body, claims))
    user = await authenticated(request, token, Scope.TASKS_WRITE)
    return await create_task(request, user, submitter, body)


def _created(request: Request, accepted: Submitted) -> Response:
    headers = {
        "Location": f"{request.scope['path'].rstrip('/')}/{accepted.task.id}",
        "ETag": etag(accepted.task.version),
    }
    if accepted.replayed:
        headers[_REPLAYED] = "true"
    return rendered(accepted.task, status.HTTP_201_CREATED, headers)


async def _get_directly(request: Request) -> Response | None:
    token = bearer_token(request)
    if token is None or request.scope["query_string"] or has_header(request, b"if-none-match"):
        return None
    user = await authenticated(request, token, Scope.TASKS_READ)
    return await get_task(user, request.state.task_lookup, request.state.watcher, UUID(request.path_params["task_id"]))


@router.post(
    "/",
    status_code=status.HTTP_201_CREATED,
    response_model=TaskRead,
    response_description="Accepted: the task is committed, and it will end",
    responses={
        **_CREATED,
        **problems(
            401, InsufficientScope, InvalidInput, UnknownTask, InvalidArguments, *_KEY_PROBLEMS, *_QUOTA_PROBLEMS
        ),
    },
)
@directly(_create_directly)
async def create_task(
    request: Request,
    user: TaskWriter,
    submitter: SubmitterDep,
    body: TaskCreate,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Have a task run. Once this has answered 201, the task is a row in the database and will not be lost.

    Where no answer comes, send the same again with the same `Idempotency-Key`: there will be one task. 429 tells by its
    code which of your quotas is used up, and by `Retry-After` when to try again.
    """
    return _created(request, await submitter.submit(body, user.id, idempotency_key))


@router.post(
    "/batch",
    status_code=status.HTTP_201_CREATED,
    response_model=TaskBatchRead,
    response_description="Accepted: all of them are committed",
    responses=problems(401, InsufficientScope, InvalidInput, UnknownTask, InvalidArguments, *_QUOTA_PROBLEMS),
)
async def create_tasks(user: TaskWriter, submitter: SubmitterDep, body: TaskBatchCreate) -> Response:
    """Have up to 1,000 tasks run, in one transaction: all are accepted, or none is.

    What is refused is named by its place: `["body", "tasks", 3, "kwargs", …]`. Quotas count each of the tasks; with one
    too many, none is created.
    """
    return rendered(TaskBatchRead(tasks=await submitter.submit_all(body.tasks, user.id)), status.HTTP_201_CREATED)


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
    """Your tasks, newest first, a page at a time: the `Link` header names the next one.

    With a filter that few tasks fit, a page may come back short, even empty, with a `next` link: so far it has looked.
    Follow the links until there is none.
    """
    tasks, last = task_service.list_page(db, wanted, limit, before=read_cursor(cursor), skip=skip)
    set_next_link(request, response, None if last is None else last.hex)
    return tasks


@router.get("/count", response_description="Exact numbers", responses=problems(401, InsufficientScope, AdminOnly))
def count_tasks(db: SessionDep, wanted: TaskFilterDep) -> TaskCounts:
    """How many tasks there are, in all and by status; the filters of the list apply.

    Always exact. Ended tasks are counted as they end, by status, type, task, priority and queue: such a count costs the
    same however many there are. A time alone, or with a status, is counted in an index. `tag`, `name`, and a time with
    any other filter have each task looked at that may fit: about a second for a million. What takes the database longer
    than it may is stopped: 503 `took_too_long`.
    """
    return TaskCounts(**task_service.count(db, wanted))


@router.get(
    "/types",
    response_model=list[TaskTypeRead],
    response_description="The catalogue",
    responses=problems(401, InsufficientScope),
)
def list_task_types(_user: TaskReader) -> list[TaskType]:
    """What may be created, with the parameters of each as JSON Schema."""
    return list(catalogue().values())


@router.get(
    "/{task_id}",
    response_model=TaskRead,
    response_description="The task as it is committed",
    responses={
        200: {"headers": _ETAG},
        304: {"description": "Not modified", "headers": _ETAG},
        **problems(401, InsufficientScope, TaskNotFound),
    },
)
@directly(_get_directly)
async def get_task(
    user: TaskReader,
    lookup: TaskLookupDep,
    watcher: WatcherDep,
    task_id: TaskId,
    wait: Wait = 0,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """One task. With `wait`, the answer comes when the task has ended, or when the seconds are over."""
    task = await lookup.read(task_id, user.owner)
    if wait and task.status not in TERMINAL:
        await watcher.ended(task_id, wait)
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
    """Change a task. What is left out stays; some fields can be changed only while the task is pending."""
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
    response_description="Revoked: it never starts, or has stopped already",
    responses={
        202: {"model": TaskRead, "description": "Asked to stop: `revoked` follows within seconds"},
        **problems(401, InsufficientScope, TaskNotFound, InvalidTransition),
    },
)
def cancel_task(response: Response, db: SessionDep, user: TaskWriter, task_id: TaskId) -> Task:
    """Cancel a task. A pending one is revoked at once, a running one as soon as it has stopped."""
    task = task_service.cancel(db, task_id, owner=user.owner)
    if task.status is TaskStatus.RUNNING:
        response.status_code = status.HTTP_202_ACCEPTED
    return task


@router.post(
    "/{task_id}/retry",
    status_code=status.HTTP_202_ACCEPTED,
    response_model=TaskRead,
    response_description="Pending again, under the same id",
    responses=problems(401, InsufficientScope, TaskNotFound, InvalidTransition, *_QUOTA_PROBLEMS),
)
def retry_task(db: SessionDep, user: TaskWriter, task_id: TaskId) -> Task:
    """Run a failed or revoked task again. `attempt` goes on counting; failures are counted anew."""
    return task_service.retry_task(db, task_id, owner=user.owner, within_quota=True)


@router.delete(
    "/{task_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="Gone",
    responses={
        202: {"description": "Asked to stop, and gone once it has"},
        **problems(401, InsufficientScope, TaskNotFound, TaskActive),
    },
)
def delete_task(db: SessionDep, user: TaskWriter, task_id: TaskId, force: Force = False) -> Response:
    """Delete a task that has ended."""
    gone = task_service.delete(db, task_id, owner=user.owner, force=force)
    # A Response of its own: FastAPI would write `null` as the 202's body.
    return Response(status_code=status.HTTP_204_NO_CONTENT if gone else status.HTTP_202_ACCEPTED)


@router.get(
    "/{task_id}/attempts",
    response_model=list[TaskAttemptRead],
    response_description="Oldest first",
    responses=problems(401, InsufficientScope, TaskNotFound),
)
def list_attempts(db: SessionDep, user: TaskReader, task_id: TaskId) -> list[Any]:
    """Every start of the task, the current one included: where it ran, when, and how it ended."""
    return task_service.get_attempts(db, task_id, owner=user.owner)
