"""Endpoints of what happens to tasks: states, what bodies log, emit and keep, and the webhooks of their ends.

States come as Server-Sent Events, of one task or of all tasks of a user; lines and chunks in pages, or as such events.
"""

import json
import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import Header, Query, Request, Response, status
from pydantic import BeforeValidator
from sqlalchemy.orm import Session

from app.api.deps import BearerToken, SessionDep, TaskReader, WatcherDep
from app.api.endpoints.tasks import TaskId
from app.api.endpoints.webhooks import DELIVERIES
from app.api.http.problems import raises
from app.api.http.responses import LINK_HEADER, MAX_LIMIT, Cursor, Limit, ListRenderer
from app.api.http.router import SlashRouter
from app.api.http.sse import MEDIA_TYPE, EventStream, stream_or_204
from app.api.http.turns import in_turn
from app.core.security import read_access_token
from app.db.listing import Page
from app.errors import InvalidToken, TooManyStreams
from app.live.streams import Credential, version_of
from app.models.task import LogLevel
from app.schemas.task import TASK, TaskLogRead, TaskOutputRead, TaskStepRead
from app.schemas.webhook import DeliveryRead
from app.services.accounts.auth_service import Principal
from app.services.execution.attempts import MOST_NAME_CHARACTERS
from app.services.task_service import task_service
from app.services.tasks.task_history import LOGS, OUTPUT, STEPS, LogFilter
from app.services.webhooks.service import webhook_service

router = SlashRouter(prefix="/tasks", tags=["tasks"])

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The `id` of the last event that you received. EventSource sends it when it reconnects. Unknown "
        "values are ignored.",
        examples=["22"],
    ),
]

_DATA = json.dumps(TASK, ensure_ascii=False, separators=(",", ":"))
_HEADERS = {
    "Cache-Control": {"description": "`no-store, no-transform`", "schema": {"type": "string"}},
    "X-Accel-Buffering": {"description": "`no`: a proxy must not buffer", "schema": {"type": "string"}},
}


def stream_answer(example: str, events: str) -> dict[int | str, dict[str, Any]]:
    """Return the 200 answer. Its schema is a string: code generators cannot parse a stream, but can return its text."""
    schema = {"type": "string", "description": f"Server-Sent Events. {events} A comment line comes every 15 seconds."}
    content = {MEDIA_TYPE: {"schema": schema, "example": example}}
    return {200: {"description": "Events, until the stream ends", "headers": _HEADERS, "content": content}}


@router.get(
    "/events",
    status_code=status.HTTP_200_OK,
    response_class=EventStream,
    responses={
        **stream_answer(
            f"retry: 2100\n: connected\nid: 6447e5a0c1b2d\n\nevent: task\nid: 6447e5a0c1b2d\ndata: {_DATA}\n\n",
            "`data` of `event: task` is a `TaskRead` as JSON. `data` of `event: reset` is `{}`.",
        )
    },
)
@raises(TooManyStreams)
async def follow_tasks(
    user: TaskReader, token: BearerToken, watcher: WatcherDep, last_event_id: LastEventId = None
) -> Response:
    """Stream the changes of all your tasks, including new ones. `event: task` carries a task in `data`.

    A slow reader gets the newest state of each task, not every state. `id` is a cursor: a reconnect with it continues
    there. A state may then come twice; compare `version`. `event: reset` means that the cursor is older
    than five minutes, or over 1,000 tasks changed since. List your tasks again then. A deleted task sends no event.

    The stream ends when the login or API key that opened it ends. Open one stream for a whole page: browsers allow six
    connections to a host over HTTP/1.1.
    """
    return EventStream(await watcher.feed(credential_of(user, token), last_event_id), watcher.leave)


@router.get(
    "/{task_id}/events",
    status_code=status.HTTP_200_OK,
    response_class=EventStream,
    responses={
        **stream_answer(
            f"retry: 2100\nevent: task\nid: 22\ndata: {_DATA}\n\n", "`event` is `task`; `data` is a `TaskRead` as JSON."
        ),
        204: {"description": "The task has ended and you have its last state; an EventSource stops"},
    },
)
@raises(TooManyStreams)
async def follow_task(
    user: TaskReader, token: BearerToken, watcher: WatcherDep, task_id: TaskId, last_event_id: LastEventId = None
) -> Response:
    """Stream the states of one task. The first event is the current state; the terminal state ends the stream.

    `event` is `task`, `id` is the task's `version`, and `data` is the task. A slow reader gets the newest state, not
    every state. With `Last-Event-ID` only newer states come. Deleting the task ends the stream.
    The stream also ends when the login or API key that opened it ends.
    """
    stream = await watcher.follow(task_id, credential_of(user, token), version_of(last_event_id))
    return stream_or_204(stream, watcher.leave)


def credential_of(user: Principal, token: str | None) -> Credential:
    """Return the login or API key that opened the stream, its rights, and its expiry."""
    if user.api_key_id is not None:
        return Credential.of(user)
    if token is None:
        raise InvalidToken
    return Credential.of(user, read_access_token(token).expires_at)


# -- The endpoints of what a task's bodies logged and emitted: in pages, or as Server-Sent Events ----------------------

MAX_SEQ = 2**63 - 1
_SEQ = re.compile(r"[0-9]{1,19}")


def _begin(last_event_id: str | None, after: int) -> int:
    """Return the number behind which a stream begins: that of `Last-Event-ID` where it is one, else `after`."""
    if last_event_id is None or not _SEQ.fullmatch(last_event_id):
        return after
    return min(int(last_event_id), MAX_SEQ)


def _after(items: str) -> Any:
    text = f"Only {items} with a greater `seq`: where the page or the stream begins."
    return Query(ge=0, le=MAX_SEQ, description=text)


def _follow(items: str) -> Any:
    text = f"Send the {items} as Server-Sent Events, those that come later too, until the task ends."
    return Query(description=text)


def _page(request: Request, db: SessionDep, read: Callable[[Session], Page[Any]], items: ListRenderer) -> Response:
    """Return the page that `read` finds, rendered by `items`."""
    return items.page(request, read(db))


# In a thread, in the user's turn: as the router does it with a plain function.
_page_in_turn = in_turn(_page, status.HTTP_200_OK, None)

OfAttempt = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="Only the lines of this attempt.", examples=[1])
]
LeastLevel = Annotated[
    LogLevel | None,
    BeforeValidator(lambda level: level.upper() if isinstance(level, str) else level),
    Query(description="Only lines of this level and above.", examples=["WARNING"]),
]
AfterLine = Annotated[int, _after("lines")]
FollowLines = Annotated[bool, _follow("lines")]

_LINES = ListRenderer(TaskLogRead, LOGS, parameter="after")
_LINE = {
    "seq": 4294967297,
    "at": "2026-11-25T10:30:00.123456Z",
    "level": "INFO",
    "logger": "myteam.tasks",
    "message": "read 100 rows",
    "attempt": 1,
    "fields": {"rows": 100},
}
_STREAM_OF_LINES: dict[str, Any] = stream_answer(
    f"retry: 2100\nevent: log\nid: {_LINE['seq']}\ndata: {json.dumps(_LINE, separators=(',', ':'))}\n\n",
    "With `follow`. `event` is `log`, `id` is the line's `seq`; `data` is a `TaskLogRead` as JSON.",
)[200]


@router.get(
    "/{task_id}/logs",
    status_code=status.HTTP_200_OK,
    response_model=list[TaskLogRead],
    response_description="The lines, oldest first",
    responses={
        200: {"content": _STREAM_OF_LINES["content"], "headers": LINK_HEADER},
        204: {"description": "With `follow`: the task has ended and you have its last line; an EventSource stops"},
    },
)
@raises(TooManyStreams)
async def list_task_logs(
    request: Request,
    db: SessionDep,
    user: TaskReader,
    token: BearerToken,
    watcher: WatcherDep,
    task_id: TaskId,
    attempt: OfAttempt = None,
    level: LeastLevel = None,
    after: AfterLine = 0,
    limit: Limit = MAX_LIMIT,
    follow: FollowLines = False,
    last_event_id: LastEventId = None,
) -> Response:
    """List what the task's bodies logged with `logging` or printed, in all attempts.

    A page ends at `limit` lines and at 1 MiB; the `Link` header then names the next page. The newest `TASK_LOG_BYTES`
    of a task are kept. A line is written within a second, and before the end of its attempt can be seen.

    With `follow=true`, the answer is a stream of the lines behind `after` or `Last-Event-ID`, without a `limit`.
    The stream ends after the last line, once the task has ended. It also ends with the login or API key that opened it.
    """
    if follow:
        credential, lines = credential_of(user, token), LogFilter(attempt, level)
        stream = await watcher.follow_logs(task_id, credential, lines, _begin(last_event_id, after))
        return stream_or_204(stream, watcher.leave)
    read = partial(
        task_service.list_logs,
        task_id=task_id, limit=limit, owner=user.owner, after=after, attempt=attempt, level=level,
    )  # fmt: skip
    page: Response = await _page_in_turn(request=request, db=db, read=read, items=_LINES)
    return page


OfStream = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=MOST_NAME_CHARACTERS,
        description="Only the chunks of this stream.",
        examples=["output"],
    ),
]
AfterChunk = Annotated[int, _after("chunks")]
FollowChunks = Annotated[bool, _follow("chunks")]

_CHUNKS = ListRenderer(TaskOutputRead, OUTPUT, parameter="after")
_CHUNK = {
    "seq": 4294967297,
    "stream": "output",
    "attempt": 1,
    "at": "2026-11-25T10:30:00.123456Z",
    "chunk": "The answer is",
}
_STREAM_OF_CHUNKS: dict[str, Any] = stream_answer(
    f"retry: 2100\nevent: output\nid: {_CHUNK['seq']}\ndata: {json.dumps(_CHUNK, separators=(',', ':'))}\n\n",
    "With `follow`. `event` is `output`, `id` is the chunk's `seq`; `data` is a `TaskOutputRead` as JSON. "
    'A new attempt sends `event: reset` with `{"attempt": 2}`.',
)[200]


@router.get(
    "/{task_id}/output",
    status_code=status.HTTP_200_OK,
    response_model=list[TaskOutputRead],
    response_description="The chunks, oldest first",
    responses={
        200: {"content": _STREAM_OF_CHUNKS["content"], "headers": LINK_HEADER},
        204: {"description": "With `follow`: the task has ended and you have its last chunk; an EventSource stops"},
    },
)
@raises(TooManyStreams)
async def list_task_output(
    request: Request,
    db: SessionDep,
    user: TaskReader,
    token: BearerToken,
    watcher: WatcherDep,
    task_id: TaskId,
    stream: OfStream = None,
    after: AfterChunk = 0,
    limit: Limit = MAX_LIMIT,
    follow: FollowChunks = False,
    last_event_id: LastEventId = None,
) -> Response:
    """List what the task's bodies emitted by `self.emit`, in all attempts.

    A page ends at `limit` chunks and at 1 MiB; the `Link` header then names the next page. A chunk is written within
    a second, and before the end of its attempt can be seen.

    With `follow=true`, the answer is a stream of the chunks behind `after` or `Last-Event-ID`, without a `limit`.
    A new attempt sends `event: reset`: what came before it is of an earlier attempt.
    The stream ends after the last chunk, once the task has ended.
    It also ends with the login or API key that opened it.
    """
    if follow:
        begin = _begin(last_event_id, after)
        chunks = await watcher.follow_output(task_id, credential_of(user, token), stream, begin)
        return stream_or_204(chunks, watcher.leave)
    read = partial(task_service.list_output, task_id=task_id, limit=limit, owner=user.owner, after=after, stream=stream)
    page: Response = await _page_in_turn(request=request, db=db, read=read, items=_CHUNKS)
    return page


# -- The endpoint of the steps that a task has done --------------------------------------------------------------------

_STEPS = ListRenderer(TaskStepRead, STEPS)


@router.get(
    "/{task_id}/steps",
    response_model=list[TaskStepRead],
    response_description="The steps, in the order in which they ended",
)
def list_task_steps(
    request: Request, db: SessionDep, user: TaskReader, task_id: TaskId, limit: Limit = MAX_LIMIT, cursor: Cursor = None
) -> Response:
    """List the steps that the bodies of a task have done by `self.step`, with their results.

    A later attempt gets the result of a step that is listed, and does not run it. A page ends at `limit` steps and at
    1 MiB; the `Link` header then names the next page.
    """
    page = task_service.list_steps(db, task_id, limit, owner=user.owner, cursor=cursor)
    return _STEPS.page(request, page)


# -- The endpoint of the webhooks of one task --------------------------------------------------------------------------


@router.get("/{task_id}/deliveries", response_model=list[DeliveryRead], response_description="Deliveries, newest first")
def list_task_deliveries(
    request: Request, db: SessionDep, user: TaskReader, task_id: TaskId, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    """List the webhooks of the task's ends, newest first: to its `webhook_url` and to endpoints of its owner."""
    page = webhook_service.list_deliveries_of_task(db, task_id, owner=user.owner, limit=limit, cursor=cursor)
    return DELIVERIES.page(request, page)
