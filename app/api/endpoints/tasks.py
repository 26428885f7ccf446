"""Endpoints of tasks: create, list, follow, change, cancel, retry, delete."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Header, Path, Query, Request, Response, status

from app import errors
from app.api.deps import SessionDep, SubmitterDep, TaskLookupDep, TaskReader, TaskWriter, WatcherDep, authenticated
from app.api.http.body_route import body_limit
from app.api.http.fast_path import bearer_token, has_header, json_body, query_values, read_fast
from app.api.http.peers import count_for_user
from app.api.http.problems import Answers, raises
from app.api.http.responses import (
    MAX_LIMIT,
    REPLAYED,
    Cursor,
    Limit,
    ListRenderer,
    Skip,
    check_if_match,
    etag,
    json_response,
    not_modified,
    page_response,
    rendered,
    to_json,
)
from app.api.http.router import SlashRouter
from app.api.http.turns import costly
from app.api.task_filters import TaskFilterDep
from app.catalogue import TaskType
from app.core.config import Settings
from app.core.security import AccessClaims
from app.models.auth import Scope
from app.models.task import TERMINAL, Task, TaskStatus
from app.schemas.task import (
    TaskAttemptRead,
    TaskBatchCreate,
    TaskBatchRead,
    TaskCounts,
    TaskCountsByReason,
    TaskCreate,
    TaskRead,
    TaskTypeRead,
)
from app.schemas.task_changes import TaskPatch, TaskRetry, named_in
from app.schemas.task_filter import MAX_VALUES
from app.schemas.values import MAX_METADATA_BYTES
from app.services.batched.authenticator import login_claims
from app.services.batched.submitter import AcceptedTasks, Submitter
from app.services.batched.task_reads import NewestTasks, ReadTask, TaskLists, TaskLookup
from app.services.task_service import task_service
from app.services.tasks import task_counts, task_queries
from app.services.tasks.permissions import types_for
from app.services.tasks.task_history import ATTEMPTS

router = SlashRouter(prefix="/tasks", tags=["tasks"])
TAG_DESCRIPTION = "Create tasks, follow their progress, cancel them and retry them."

MAX_WAIT_SECONDS = 60
LIMIT = 50  # of the list's pages, unless the query names one
# The limits of arguments, metadata and results are those of the stored text. In a body each character may be an escape.
LONGEST_ESCAPE = 6
# All other fields of a task: four short texts and fifty tags of characters that take two escapes each.
FIELDS_BYTES = 96 * 1024

TaskId = Annotated[
    UUID,
    Path(description="The task's id.", examples=["019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11"]),
    Answers(errors.TaskNotFound),
]
Wait = Annotated[
    float,
    Query(ge=0, le=MAX_WAIT_SECONDS, description="Delay the answer until the task ends, at most this many seconds."),
]
IfNoneMatch = Annotated[str | None, Header(description="An ETag. The answer is 304 if the task still has it.")]
IfMatch = Annotated[str | None, Header(description="An ETag. The answer is 412 if the task has another one.")]
Force = Annotated[bool, Query(description="Delete a pending task too. Stop a running task, then delete it.")]
FromStart = Annotated[bool, Query(description="Forget the steps that the task has done: it runs them again.")]
CountBy = Annotated[Literal["waiting_for"] | None, Query(description="Count the pending tasks by this, too.")]
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

TASKS, _ATTEMPTS = ListRenderer(TaskRead, task_queries.TASKS), ListRenderer(TaskAttemptRead, ATTEMPTS)
_ETAG: dict[str, Any] = {"ETag": {"description": "The task's version, in quotes", "schema": {"type": "string"}}}
REPLAYED_HEADER: dict[str, Any] = {
    REPLAYED: {
        "description": "`true` if an earlier request with this key was accepted. Otherwise absent",
        "schema": {"type": "string", "const": "true"},
    }
}
_LOCATION: dict[str, Any] = {"Location": {"description": "The URL of the task", "schema": {"type": "string"}}}
_KEY_PROBLEMS = (errors.IdempotencyKeyReused, errors.IdempotencyKeyInFlight, errors.IdempotentTaskDeleted)
# What the task of a request may be refused for, whichever resource asks for it.
TASK_PROBLEMS = (
    *(errors.TaskNotAllowed, errors.PriorityNotAllowed, errors.InvalidInput, errors.UnknownTask),
    *(errors.InvalidArguments, errors.UnknownLimit, errors.WebhooksOff),
)
_CREATE_PROBLEMS = (errors.LimitReached, *TASK_PROBLEMS)
_PATCH_PROBLEMS = (
    *(errors.AdminOnly, errors.PriorityNotAllowed, errors.InvalidTransition, errors.PreconditionFailed),
    *(errors.InvalidInput, errors.UnknownTask, errors.InvalidArguments),
    *(errors.TooManyBytesQueued, errors.TooManyBytesStored),
)
QUOTA_PROBLEMS = (
    errors.TooManyTasksQueued,
    errors.TooManyBytesQueued,
    errors.TooManySubmissions,
    errors.TooManyBytesStored,
)


def task_bytes(settings: Settings) -> int:
    return FIELDS_BYTES + LONGEST_ESCAPE * (settings.max_arguments_bytes + MAX_METADATA_BYTES)


def _patch_bytes(settings: Settings) -> int:
    """Return the limit for arguments, metadata, a result and a progress detail."""
    return task_bytes(settings) + LONGEST_ESCAPE * 2 * settings.max_result_bytes


async def _create_fast(request: Request, scopes: Sequence[str]) -> Response | None:
    token = bearer_token(request)
    if token is None or request.scope["query_string"] or has_header(request, b"idempotency-key"):
        return None
    claims = login_claims(token)  # before the body is read
    body = await json_body(request, TaskCreate)
    if body is None or body.unique_key is not None:
        return None
    submitter: Submitter = request.state.submitter
    if claims is not None:  # scopes limit API keys alone
        count_for_user(request, claims.user_id)
        try:
            return _created(request, await submitter.submit_of_login(body, claims))
        except (errors.Forbidden, errors.UnknownLimit):
            return None  # the long way knows the user, whose denial it counts and records, and what they may list
    user = await authenticated(request, token, *scopes)
    return await create_task(request, user, submitter, body)


def _created(request: Request, accepted: AcceptedTasks) -> Response:
    (task,) = accepted.result
    location = f"{request.scope['path'].rstrip('/')}/{task.id}"
    headers = {"Location": location, "ETag": etag(task.version), **_replayed(accepted)}
    return rendered(task, status.HTTP_201_CREATED if accepted.is_new else status.HTTP_200_OK, headers)


def _replayed(accepted: AcceptedTasks) -> dict[str, str]:
    return {REPLAYED: "true"} if accepted.replayed else {}


async def _get_fast(request: Request, scopes: Sequence[str]) -> Response | None:
    token = bearer_token(request)
    if token is None or request.scope["query_string"] or has_header(request, b"if-none-match"):
        return None
    claims, task_id = login_claims(token), UUID(request.path_params["task_id"])
    lookup: TaskLookup = request.state.task_lookup
    if claims is None:
        return _shown(await lookup.read(task_id, await authenticated(request, token, *scopes)))
    count_for_user(request, claims.user_id)  # scopes limit API keys alone
    return _shown(await lookup.read_of_login(task_id, claims))


# What the fast readers of lists and counts understand of a query; FastAPI reads any other.
_STATUS, _LIMIT, _CURSOR = re.compile("|".join(TaskStatus)), re.compile("[1-9][0-9]{0,2}"), re.compile("[0-9a-f]{32}")


async def _list_fast(request: Request, scopes: Sequence[str]) -> Response | None:
    query = query_values(request, status=_STATUS, limit=_LIMIT, cursor=_CURSOR)
    if query is None or any(len(values) > 1 for values in query.values()):
        return None
    limit, status, cursor = (query[name][0] if name in query else None for name in ("limit", "status", "cursor"))
    wanted = NewestTasks(LIMIT if limit is None else int(limit), None if status is None else TaskStatus(status), cursor)
    caller = await _caller(request, scopes) if wanted.limit <= MAX_LIMIT else None
    if caller is None:
        return None
    task_lists: TaskLists = request.state.task_lists
    page = await task_lists.list_newest(wanted, *caller)
    return page and page_response(request, *page)


async def _count_fast(request: Request, scopes: Sequence[str]) -> Response | None:
    query = query_values(request, status=_STATUS)
    if query is not None and len(query.get("status", ())) > MAX_VALUES:
        return None
    caller = None if query is None else await _caller(request, scopes)
    if query is None or caller is None:
        return None
    task_lists: TaskLists = request.state.task_lists
    counts = await task_lists.count(*caller)
    if "status" in query:
        counts = {status: counts[status] for status in query["status"]}
    return rendered(TaskCounts(total=sum(counts.values()), **counts))


async def _caller(request: Request, scopes: Sequence[str]) -> tuple[UUID, AccessClaims | None] | None:
    """Return whose tasks are asked for, and the claims if the login is still to be looked up. None without a token."""
    token = bearer_token(request)
    if token is None:
        return None
    claims = login_claims(token)
    if claims is None:
        return (await authenticated(request, token, *scopes)).id, None
    count_for_user(request, claims.user_id)  # scopes limit API keys alone
    return claims.user_id, claims


def _shown(found: ReadTask) -> Response:
    return json_response(found.json or to_json(found.task), {"ETag": etag(found.task.version)})


@router.post(
    "/",
    status_code=status.HTTP_201_CREATED,
    response_model=TaskRead,
    response_description="The task is committed and will run",
    responses={
        200: {
            "model": TaskRead,
            "description": "The task that has the `unique_key`, as it was or replaced, by `on_conflict`",
            "headers": {**_LOCATION, **_ETAG},
        },
        201: {"headers": {**_LOCATION, **_ETAG, **REPLAYED_HEADER}},
    },
)
@raises(*_CREATE_PROBLEMS, *_KEY_PROBLEMS, errors.UniqueKeyTaken, *QUOTA_PROBLEMS)
@read_fast(_create_fast)
@body_limit(task_bytes)
async def create_task(
    request: Request,
    user: TaskWriter,
    submitter: SubmitterDep,
    body: TaskCreate,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a task. After the answer 201 the task is committed to the database and cannot be lost.

    If a request times out, repeat it with the same `Idempotency-Key`: only one task is created. In a 429, `code` names
    the exhausted quota, and `Retry-After` says when to try again. Of your pending and running tasks, one at most has a
    `unique_key`. `on_conflict` says what happens if another task has it; a 409 names that task as `task_id`.
    """
    return _created(request, await submitter.submit(body, user, idempotency_key))


@router.post(
    "/batch",
    status_code=status.HTTP_201_CREATED,
    response_model=TaskBatchRead,
    response_description="All tasks are committed and will run",
    responses={201: {"headers": REPLAYED_HEADER}},
)
@raises(
    *_CREATE_PROBLEMS,
    *_KEY_PROBLEMS,
    errors.ReplayTooLarge,
    errors.UniqueKeyTaken,
    errors.KeptTasksTooLarge,
    *QUOTA_PROBLEMS,
)
@body_limit(lambda settings: settings.max_body_bytes)
def create_tasks(
    user: TaskWriter, submitter: SubmitterDep, body: TaskBatchCreate, idempotency_key: IdempotencyKey = None
) -> Response:
    """Create up to 1,000 tasks in one transaction: all are accepted, or none.

    An error names the place of the refused field, such as `["body", "tasks", 3, "kwargs", "step"]`. Each task counts
    against the quotas. An `Idempotency-Key` makes it safe to repeat the request: the same tasks are answered. A
    `unique_key` that stands twice in the batch counts as taken by the first of the two.
    """
    accepted = submitter.submit_all(body.tasks, user, idempotency_key)
    return rendered(TaskBatchRead(tasks=accepted.result), status.HTTP_201_CREATED, _replayed(accepted))


@router.get("/", response_model=list[TaskRead], response_description="Tasks, newest first")
@raises(errors.InvalidSearch)
@read_fast(_list_fast)
@costly(lambda arguments: task_queries.page_reads_many(arguments["wanted"], arguments["skip"]))
def list_tasks(
    request: Request, db: SessionDep, wanted: TaskFilterDep, limit: Limit = LIMIT, skip: Skip = 0, cursor: Cursor = None
) -> Response:
    """List tasks, newest first. The `Link` header names the next page.

    A page ends at `limit` tasks and at 1 MiB, with one task at least. With a selective filter it can be short or empty,
    too, and still have a `next` link. Follow the links until there is none. With `skip`, add the number of tasks that
    you received, not `limit`.
    """
    page = task_service.show_page(db, wanted, limit, cursor=cursor, skip=skip)
    return TASKS.page(request, page)


@router.get("/count", response_description="The numbers of tasks")
@raises(errors.InvalidSearch)
@read_fast(_count_fast)
@costly(lambda arguments: bool(arguments["by"]) or task_counts.reads_many(arguments["wanted"]))
def count_tasks(db: SessionDep, wanted: TaskFilterDep, by: CountBy = None) -> TaskCountsByReason | TaskCounts:
    """Count tasks, in total and by status. The filters are those of the list, and the numbers are exact.

    With `by=waiting_for`, the answer also says for which reasons the pending tasks wait.

    Counts by status, type, task, priority and queue are fast for any number of tasks. So are counts by time, alone or
    with a status. Other filters and combinations read each candidate task, and can be slow. One such count of a user
    runs at a time. A query that exceeds the database's time limit answers 503 `took_too_long`.
    """
    counts = task_service.show_counts(db, wanted, by_reason=by is not None)
    return TaskCounts(**counts) if by is None else TaskCountsByReason(**counts)


@router.get("/types", response_model=list[TaskTypeRead], response_description="The tasks that can be created")
def list_task_types(user: TaskReader) -> list[TaskType]:
    """List the tasks that you can create, with the JSON Schema of their parameters."""
    return types_for(user.rights)


@router.get(
    "/{task_id}",
    response_model=TaskRead,
    response_description="The task",
    responses={200: {"headers": _ETAG}, 304: {"description": "The task still has this ETag", "headers": _ETAG}},
)
@read_fast(_get_fast)
async def get_task(
    request: Request,
    user: TaskReader,
    lookup: TaskLookupDep,
    watcher: WatcherDep,
    task_id: TaskId,
    wait: Wait = 0,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Get a task. With `wait`, the answer comes when the task ends or the time is over.

    Your login or API key is checked again after the wait.
    """
    found = await lookup.read(task_id, user)
    if wait and found.task.status not in TERMINAL:
        await watcher.wait_for_end(task_id, wait)
        found = await lookup.read(task_id, await authenticated(request, bearer_token(request), Scope.TASKS_READ))
    if not_modified(if_none_match, found.task.version):
        headers = {"ETag": etag(found.task.version)}
        return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
    return _shown(found)


@router.patch(
    "/{task_id}", response_model=TaskRead, response_description="The changed task", responses={200: {"headers": _ETAG}}
)
@raises(*_PATCH_PROBLEMS)
@body_limit(_patch_bytes)
def update_task(
    response: Response, db: SessionDep, user: TaskWriter, task_id: TaskId, body: TaskPatch, if_match: IfMatch = None
) -> Task:
    """Change a task. Omitted fields keep their values. Some fields can change only while the task is pending.

    New arguments are checked as those of a new task. A `***` keeps the secret that stands there. For an administrator
    or an API key, it does so only where every other argument is as it was.
    """
    changes = named_in(body)
    task = task_service.update_task(
        db,
        task_id,
        changes,
        owner=user.owner,
        rights=user.rights,
        check_admin=user.check_admin,
        check_version=lambda version: check_if_match(if_match, version),
        within_quota=True,
        owns=user.owns,
    )
    response.headers["ETag"] = etag(task.version)
    return task


@router.post(
    "/{task_id}/cancel",
    response_model=TaskRead,
    response_description="The task is revoked: it will not start, or has stopped",
    responses={202: {"model": TaskRead, "description": "The task is stopping: `revoked` follows within seconds"}},
)
@raises(errors.InvalidTransition)
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
    responses={
        200: {
            "model": TaskRead,
            "description": "The task that has the `unique_key` of the body, as it was or replaced, by `on_conflict`",
            "headers": {**_LOCATION, **_ETAG},
        },
        201: {
            "model": TaskRead,
            "description": "The new task that repeats the old one with the changes of the body",
            "headers": {**_LOCATION, **_ETAG},
        },
    },
)
@raises(*_CREATE_PROBLEMS, errors.InvalidTransition, errors.UniqueKeyTaken, *QUOTA_PROBLEMS)
@body_limit(task_bytes)
def retry_task(
    request: Request,
    response: Response,
    db: SessionDep,
    user: TaskWriter,
    task_id: TaskId,
    body: TaskRetry | None = None,
    from_start: FromStart = False,
) -> Task:
    """Run a failed or revoked task again. `attempt` keeps counting; the number of failures starts at zero.

    The steps that it has done are not run again, but with `from_start=true`.

    It takes its `unique_key` again, unless another task has it.

    With a body that names a field, a new task is created instead, with `retry_of`, and the old one stays. It may have
    succeeded, too. The fields of the body replace those of the old task. The whole is checked as in `POST /tasks/`. A
    `***` keeps the secret that stands there. For an administrator or an API key, it does so only where every other
    argument is as it was. The rest is copied, but for `unique_key`, `run_at`, `delay_seconds` and
    `expires_at`. Each such request creates a task, also with an `Idempotency-Key`: a `unique_key` avoids that.
    """
    changes = named_in(body)
    if not changes:
        return task_service.retry_task(
            db, task_id, owner=user.owner, from_start=from_start, within_quota=True, rights=user.rights
        )
    task, is_new = task_service.retry_with_changes(
        db, task_id, changes, owner=user.owner, within_quota=True, rights=user.rights, owns=user.owns
    )
    response.status_code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
    tasks = request.scope["path"].rstrip("/").rsplit("/", 2)[0]
    response.headers["Location"] = f"{tasks}/{task.id}"
    response.headers["ETag"] = etag(task.version)
    return task


@router.post(
    "/{task_id}/run-now",
    response_model=TaskRead,
    response_description="The task is due: it starts when a slot is free and nothing else holds it",
)
@raises(errors.InvalidTransition)
def run_task_now(db: SessionDep, user: TaskWriter, task_id: TaskId) -> Task:
    """Make a pending task due now that waits for its time or for the pause after a failed attempt.

    Its `waiting_for` is `schedule` or `retry`; any other task answers 409. `run_at` becomes the time of the call. A
    paused queue, limits and quotas hold as before, and it takes its turn like any task that becomes due.
    """
    return task_service.run_now(db, task_id, owner=user.owner)


@router.delete(
    "/{task_id}",
    status_code=status.HTTP_204_NO_CONTENT,
    response_description="The task is deleted",
    responses={202: {"description": "The task is stopping, and will then be deleted"}},
)
@raises(errors.TaskActive)
def delete_task(db: SessionDep, user: TaskWriter, task_id: TaskId, force: Force = False) -> Response:
    """Delete a task that has ended. With `force`, delete a pending or running task too."""
    gone = task_service.delete(db, task_id, owner=user.owner, force=force)
    # A Response of its own: FastAPI would write `null` as the 202's body.
    return Response(status_code=status.HTTP_204_NO_CONTENT if gone else status.HTTP_202_ACCEPTED)


@router.get(
    "/{task_id}/attempts", response_model=list[TaskAttemptRead], response_description="The attempts, oldest first"
)
def list_task_attempts(
    request: Request, db: SessionDep, user: TaskReader, task_id: TaskId, limit: Limit = MAX_LIMIT, cursor: Cursor = None
) -> Response:
    """List the attempts to run a task, including the current one.

    A page ends at `limit` attempts and at 1 MiB; the `Link` header then names the next page.
    """
    page = task_service.list_attempts(db, task_id, limit, owner=user.owner, cursor=cursor)
    return _ATTEMPTS.page(request, page)
