"""The calls of tools: each does what the same call of the HTTP API does.

It has the same rights, quotas and records. First comes how the arguments of a tool, which have names, become those of
a Python function, of whose parameters some have none.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from inspect import Parameter, Signature
from typing import Any
from uuid import UUID

import anyio
from fastapi import Request
from mcp.types import CallToolResult, TextContent
from sqlalchemy.exc import DBAPIError, TimeoutError as PoolTimeoutError

from app.api.http.error_handlers import answer_to, database_error
from app.api.http.turns import check_rights_again
from app.catalogue import TaskType, catalogue, find_type
from app.core.fair_threads import CallerGone, FairThreads
from app.core.validation_errors import parsed
from app.db.session import SessionLocal
from app.errors import InvalidInput, ServiceError, TaskNotFound, TooManyStreams
from app.live.streams import Credential
from app.live.watcher import Watcher
from app.mcp.large_bodies import LARGE_ARGUMENTS, LargeArguments
from app.mcp.tools import CANCEL_TASK, GET_TASK, SHOWN, WAIT_TASK, TaskReference, TaskWait, scope_of, task_name
from app.models.auth import Scope
from app.models.task import TERMINAL, TaskPriority, TaskStatus
from app.schemas.task import TaskCreate, TaskRead
from app.services.accounts.auth_service import Principal
from app.services.batched.submitter import Submitter
from app.services.batched.task_reads import TaskLookup
from app.services.task_service import task_service


def arguments_by_place(signature: Signature, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return `args` and `kwargs` of a task with these arguments.

    Parameters that Python takes by position alone, and `*args`, stand in `args`; what cannot stand there, because one
    before it is missing, stays in `kwargs`, and the check of the parameters names it.
    """
    kwargs = dict(arguments)
    several = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    more = kwargs.get(several) if several is not None else None
    has_more = isinstance(more, list) and bool(more)
    placed = {Parameter.POSITIONAL_ONLY, *([Parameter.POSITIONAL_OR_KEYWORD] if has_more else ())}
    args: list[Any] = []
    for each in signature.parameters.values():
        if each.kind not in placed:
            continue
        if each.name not in kwargs:
            return args, kwargs
        args.append(kwargs.pop(each.name))
    if several is not None and isinstance(more, list):
        args += more
        del kwargs[several]
    return args, kwargs


# -- Waits for the end of a task as `GET /tasks/{id}?wait=` does, and tells of its progress meanwhile ------------------

# Is given the progress in percent, each time a higher one.
Report = Callable[[int], Awaitable[None]]


async def wait_for_end(watcher: Watcher, task_id: UUID, user: Principal, seconds: float, report: Report | None) -> None:
    """Return when the task has ended or was deleted, after `seconds`, or on shutdown.

    With `report`, the wait is one of the event streams of its user (STREAMS_PER_USER), and also returns when the
    key is revoked. Beyond their number the progress is left out.
    """
    if report is None or not await _report_until_end(watcher, task_id, user, seconds, report):
        await watcher.wait_for_end(task_id, seconds)


async def _report_until_end(watcher: Watcher, task_id: UUID, user: Principal, seconds: float, report: Report) -> bool:
    """Return False at once if there may be no further stream."""
    try:
        stream = await watcher.follow(task_id, Credential.of(user), None)
    except TooManyStreams:
        return False
    except TaskNotFound:  # deleted meanwhile: the caller finds that out
        return True
    assert stream is not None  # nothing was seen before
    told = 0
    try:
        with anyio.move_on_after(seconds):
            while (piece := await stream.next_piece()) is not None:
                # Each notification must tell more than the one before, and an attempt that is repeated begins at 0.
                if piece.state is not None and piece.state.progress > told:
                    told = piece.state.progress
                    await report(told)
    finally:
        watcher.leave(stream)
    return True


# -- What a call of a tool answers: the state of its task, or an error in words with its code --------------------------


def state_of(task: TaskRead) -> dict[str, Any]:
    """Return the members of the task that a client of a tool needs, as JSON values."""
    shown = task.model_dump(mode="json", include={*SHOWN})
    return {"task_id": str(task.id), **{name: shown[name] for name in SHOWN}}


def task_answer(task: TaskRead, *, is_outcome: bool = True, may_wait: bool = True) -> CallToolResult:
    """Return the state as structured content and as JSON text, behind a sentence where there is more to say.

    `is_outcome`: the call stands for the run of the task, so that its failure is an error of the tool. `may_wait`: the
    key may read tasks.
    """
    state = state_of(task)
    texts = [*_remarks_on(task, may_wait=may_wait), json.dumps(state, ensure_ascii=False)]
    return CallToolResult(
        content=[TextContent(text=text) for text in texts],
        structured_content=state,
        is_error=is_outcome and task.status in {TaskStatus.FAILED, TaskStatus.REVOKED},
    )


def refusal_answer(error: ServiceError) -> CallToolResult:
    """Return the error of a call that the service refuses: in words, and as JSON as in the API's problem documents.

    Both are texts: the SDK for TypeScript also checks the structured content of errors against the schema of a task.
    """
    problem: dict[str, Any] = {"code": error.code, "title": error.title, "detail": error.detail}
    if error.retry_after is not None:
        problem["retry_after_seconds"] = error.retry_after
    if isinstance(error, InvalidInput):
        problem["errors"] = error.errors
    after = "" if error.retry_after is None else f" Try again in {error.retry_after} s."
    texts = (f"{error.code}: {error.detail}{after}", json.dumps(problem, ensure_ascii=False))
    return CallToolResult(content=[TextContent(text=_encodable(text)) for text in texts], is_error=True)


def _remarks_on(task: TaskRead, *, may_wait: bool) -> list[str]:
    if task.status not in TERMINAL:
        further = f": call {WAIT_TASK} with this id" if may_wait else ""
        return [f"The task {task.id} is {task.status}, at {task.progress} %. It goes on{further}."]
    if task.status is TaskStatus.FAILED and task.error is not None:
        return [f"The task has failed: {task.error.type}: {task.error.message or ''}"]
    if task.status is TaskStatus.REVOKED:
        return [f"The task was revoked: {task.status_reason}"]
    return []


def _encodable(text: str) -> str:
    """Return the text with escapes for lone surrogates: names of arguments may hold them, and UTF-8 has none."""
    return text.encode("utf-8", "backslashreplace").decode()


# -- The calls: of the tools that are tasks, and of those that ask for a task, await or cancel it ----------------------

# The category of the tasks that tools create.
TASK_TYPE = "mcp"


class UnknownTool(Exception):
    """There is no tool of this name."""


class Call:
    """One call of a tool, by the API key of an authenticated request."""

    def __init__(self, request: Request, seconds: float, report: Report | None) -> None:
        self._request, self._report = request, report
        self._until = asyncio.get_running_loop().time() + seconds
        self._large: LargeArguments | None = request.scope["state"].get(LARGE_ARGUMENTS)
        self._user: Principal = request.scope["state"]["principal"]

    async def run(self, tool: str, arguments: Mapping[str, Any]) -> CallToolResult:
        """Return what the tool answers, an error of the service in words. Raises UnknownTool.

        If the caller is gone, the wait ends and the task goes on.
        """
        call = self._find(tool)
        try:
            self._user.check_scope(scope_of(tool))
            return await call(arguments)
        except ServiceError as error:
            return await self._refused(error)
        except (DBAPIError, PoolTimeoutError) as error:
            expected = database_error(self._request, error)
            if expected is None:
                raise
            return refusal_answer(expected)

    def _find(self, tool: str) -> Callable[[Mapping[str, Any]], Awaitable[CallToolResult]]:
        own = {GET_TASK: self._get, WAIT_TASK: self._wait, CANCEL_TASK: self._cancel}.get(tool)
        if own is not None:
            return own
        name = task_name(tool, catalogue())
        if name is None:
            raise UnknownTool
        return partial(self._create, name)

    async def _refused(self, error: ServiceError) -> CallToolResult:
        """Record a denial, as that of any other request, before the answer is sent: there is no hook behind it."""
        told, record = answer_to(self._request, error)
        if record is not None:
            await record()
        return refusal_answer(told)

    # -- the tools ---------------------------------------------------------------------------------------------------

    async def _create(self, name: str, arguments: Mapping[str, Any]) -> CallToolResult:
        if Scope.TASKS_READ not in self._user.scopes:  # it may create tasks, and not see what becomes of them
            return task_answer(await self._submit(name, arguments), may_wait=False)
        return await self._ended(await self._submit(name, arguments), float("inf"))

    async def _submit(self, name: str, arguments: Mapping[str, Any]) -> TaskRead:
        kind, user = find_type(name), self._user
        wanted = await self._in_turn(partial(self._wanted, kind, arguments))
        submitter: Submitter = self._request.state.submitter
        accepted = await submitter.submit(wanted, user)
        if self._large is not None:
            self._large.forget()
        return accepted.result[0]

    def _wanted(self, kind: TaskType, arguments: Mapping[str, Any]) -> TaskCreate:
        given = arguments if self._large is None else self._large.given
        if given is None:  # the caller went away, and what it had sent is forgotten
            raise CallerGone
        return wanted_task(kind, given, self._user.max_priority)

    async def _get(self, arguments: Mapping[str, Any]) -> CallToolResult:
        return task_answer(await self._read(parsed(TaskReference, arguments, InvalidInput).task_id), is_outcome=False)

    async def _wait(self, arguments: Mapping[str, Any]) -> CallToolResult:
        wanted = parsed(TaskWait, arguments, InvalidInput)
        seconds = float("inf") if wanted.seconds is None else wanted.seconds
        return await self._ended(await self._read(wanted.task_id), seconds)

    async def _cancel(self, arguments: Mapping[str, Any]) -> CallToolResult:
        task_id = parsed(TaskReference, arguments, InvalidInput).task_id
        threads: FairThreads = self._request.state.threads
        cancel = partial(_cancel, task_id, self._user.owner)
        check_again = partial(check_rights_again, self._request)
        return task_answer(await threads.run(self._user.id, cancel, check_again=check_again), is_outcome=False)

    async def _ended(self, task: TaskRead, seconds: float) -> CallToolResult:
        """Return the state once the task has ended, or its time is over. The key is authenticated again."""
        if task.status not in TERMINAL:
            task_id = task.id
            del task  # its arguments may be large
            seconds = min(seconds, self._until - asyncio.get_running_loop().time())
            watcher: Watcher = self._request.state.watcher
            await wait_for_end(watcher, task_id, self._user, max(0, seconds), self._report)
            await check_rights_again(self._request)
            task = await self._read(task_id)
        return task_answer(task)

    async def _read(self, task_id: UUID) -> TaskRead:
        lookup: TaskLookup = self._request.state.task_lookup
        return (await lookup.read(task_id, self._user)).task

    async def _in_turn(self, function: Callable[[], TaskCreate]) -> TaskCreate:
        """Call it, for large arguments in a thread: the event loop must not be held up."""
        if self._large is None:
            return function()
        threads: FairThreads = self._request.state.threads
        return await threads.run(self._user.id, function)


def wanted_task(kind: TaskType, arguments: Mapping[str, Any], max_priority: str) -> TaskCreate:
    """Return the task of a call. Its priority is normal, or the highest one of the user where that is lower.

    Raises InvalidInput.
    """
    highest = TaskPriority(max_priority)
    args, kwargs = arguments_by_place(kind.task_parameters.signature, arguments)
    fields = {
        "name": kind.celery_task_name,
        "task_type": TASK_TYPE,
        "celery_task_name": kind.celery_task_name,
        "args": args,
        "kwargs": kwargs,
        "priority": highest if TaskPriority.NORMAL.is_above(highest) else TaskPriority.NORMAL,
    }
    return parsed(TaskCreate, fields, InvalidInput)


def _cancel(task_id: UUID, owner: UUID | None) -> TaskRead:
    with SessionLocal() as db:
        return TaskRead.model_validate(task_service.cancel(db, task_id, owner=owner))
