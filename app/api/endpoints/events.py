"""Live events: one task's states, or those of all of one's tasks, as Server-Sent Events."""

from typing import Annotated, Any

from fastapi import Header, Response, status

from app.api.deps import BearerToken, TaskReader, WatcherDep
from app.api.endpoints.tasks import TaskId
from app.api.http.problems import problems
from app.api.http.router import SlashRouter
from app.api.http.sse import EventStream
from app.core.security import read_access_token
from app.errors import InsufficientScope, InvalidToken, TaskNotFound, TooManyStreams
from app.live.frames import version_of
from app.live.streams import Credential
from app.services.accounts.auth_service import Principal

router = SlashRouter(prefix="/tasks", tags=["tasks"])

LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The `id` of the last event that you have: EventSource sends it by itself when it connects again. "
        "What is none of ours counts as none.",
        examples=["22"],
    ),
]

_TASK = '{"id":"019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d11", …, "status":"running","progress":19, …, "version":22, …}'
_HEADERS = {
    "Cache-Control": {"description": "`no-store, no-transform`", "schema": {"type": "string"}},
    "X-Accel-Buffering": {"description": "`no`: a proxy is to pass on what comes", "schema": {"type": "string"}},
}


_READ = {"$ref": "#/components/schemas/TaskRead"}


def _stream(example: str, kinds: list[str], content: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """The schema is of one event, as OpenAPI 3.2 has it for this media type (§4.14.4)."""
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": content}
    event = {
        "type": "object",
        "properties": {
            "event": {"type": "string", "enum": kinds},
            "id": {"type": "string"},
            "data": data,
            "retry": {"type": "integer", "minimum": 0},
        },
    }
    content = {"text/event-stream": {"schema": event, "example": example}}
    return {200: {"description": "Events, until the stream ends", "headers": _HEADERS, "content": content}}


@router.get(
    "/events",
    status_code=status.HTTP_200_OK,
    response_class=EventStream,
    responses={
        **_stream(
            f"retry: 2100\n: connected\nid: 6447e5a0c1b2d\n\nevent: task\nid: 6447e5a0c1b2d\ndata: {_TASK}\n\n",
            ["task", "reset"],
            {"anyOf": [_READ, {"type": "object", "maxProperties": 0}]},
        ),
        **problems(401, InsufficientScope, TooManyStreams),
    },
)
async def follow_tasks(
    user: TaskReader, token: BearerToken, watcher: WatcherDep, last_event_id: LastEventId = None
) -> Response:
    """Every change of your tasks from now on, new tasks included: `event: task`, `data:` the task as it is committed.

    States, not a log: who reads slowly gets the newest one of each. `id:` is a cursor; with it, a new connection begins
    with what has changed since (a state may come twice: its `version` tells). `event: reset` instead means that this is
    too much (1,000 tasks) or too long ago (five minutes): list your tasks anew. Deleted tasks just come no more. One
    stream serves a whole browser tab; browsers allow six connections to a host over HTTP/1.1. A comment line comes
    every 15 seconds, and the stream ends with the login or API key that opened it.
    """
    feed = await watcher.feed(user.id, _credential(user, token), last_event_id)
    return EventStream(feed, watcher.leave)


@router.get(
    "/{task_id}/events",
    status_code=status.HTTP_200_OK,
    response_class=EventStream,
    responses={
        **_stream(f"retry: 2100\nevent: task\nid: 22\ndata: {_TASK}\n\n", ["task"], _READ),
        204: {"description": "It has ended, and you have its last state: an EventSource stops here"},
        **problems(401, InsufficientScope, TaskNotFound, TooManyStreams),
    },
)
async def follow_task(
    user: TaskReader, token: BearerToken, watcher: WatcherDep, task_id: TaskId, last_event_id: LastEventId = None
) -> Response:
    """One task's states, from the current one to the terminal one, with which the stream ends.

    `event: task`, `id:` its `version`, `data:` the task as it is committed. States, not a log: who reads slowly gets
    the newest. With `Last-Event-ID` only what is newer comes. A task that is deleted ends the stream too; asked again
    it is 404. A comment line comes every 15 seconds, and the stream ends with the login or API key that opened it.
    """
    seen = version_of(last_event_id)
    stream = await watcher.follow(task_id, user.id, user.owner, _credential(user, token), seen)
    if stream is None:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    return EventStream(stream, watcher.leave)


def _credential(user: Principal, token: str | None) -> Credential:
    """Until when, by what, and with which rights the stream was opened."""
    if user.api_key_id is not None:
        return Credential(user.api_key_id, is_key=True, role=user.role, expires_at=None)
    if token is None or user.session_id is None:
        raise InvalidToken
    return Credential(user.session_id, is_key=False, role=user.role, expires_at=read_access_token(token).expires_at)
