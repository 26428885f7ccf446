"""Endpoints of Server-Sent Events: the states of one task, or of all tasks of a user."""

import json
from typing import Annotated, Any

from fastapi import Header, Response, status

from app.api.deps import BearerToken, TaskReader, WatcherDep
from app.api.endpoints.tasks import TaskId
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.api.http.sse import MEDIA_TYPE, EventStream
from app.core.security import read_access_token
from app.errors import InsufficientScope, InvalidToken, TaskNotFound, TooManyStreams
from app.live.streams import Credential, version_of
from app.schemas.task import TASK
from app.services.accounts.auth_service import Principal

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
        ),
        **problems(401, InsufficientScope, TooManyStreams),
    },
)
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
    feed = await watcher.feed(user.id, credential_of(user, token), last_event_id)
    return EventStream(feed, watcher.leave)


@router.get(
    "/{task_id}/events",
    status_code=status.HTTP_200_OK,
    response_class=EventStream,
    responses={
        **stream_answer(
            f"retry: 2100\nevent: task\nid: 22\ndata: {_DATA}\n\n", "`event` is `task`; `data` is a `TaskRead` as JSON."
        ),
        204: {"description": "The task has ended and you have its last state; an EventSource stops"},
        **problems(401, InsufficientScope, TaskNotFound, TooManyStreams),
    },
)
async def follow_task(
    user: TaskReader, token: BearerToken, watcher: WatcherDep, task_id: TaskId, last_event_id: LastEventId = None
) -> Response:
    """Stream the states of one task. The first event is the current state; the terminal state ends the stream.

    `event` is `task`, `id` is the task's `version`, and `data` is the task. A slow reader gets the newest state, not
    every state. With `Last-Event-ID` only newer states come. Deleting the task ends the stream.
    The stream also ends when the login or API key that opened it ends.
    """
    seen = version_of(last_event_id)
    stream = await watcher.follow(task_id, user.id, user.owner, credential_of(user, token), seen)
    if stream is None:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    return EventStream(stream, watcher.leave)


def credential_of(user: Principal, token: str | None) -> Credential:
    """Return the login or API key that opened the stream, its rights, and its expiry."""
    if user.api_key_id is not None:
        return Credential(user.api_key_id, is_key=True, role=user.role, expires_at=None)
    if token is None or user.session_id is None:
        raise InvalidToken
    return Credential(user.session_id, is_key=False, role=user.role, expires_at=read_access_token(token).expires_at)
