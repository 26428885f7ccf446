"""The endpoint of what a task's bodies emitted: in pages, or as Server-Sent Events."""

import json
from typing import Annotated, Any

from fastapi import Query, Request, Response, status

from app.api.deps import BearerToken, SessionDep, TaskReader, WatcherDep
from app.api.endpoints.events import LastEventId, credential_of, stream_answer
from app.api.endpoints.logs import MAX_SEQ, seq_of
from app.api.endpoints.tasks import TaskId
from app.api.http.paging import LINK_HEADER, MAX_LIMIT, Limit
from app.api.http.problems import problems
from app.api.http.rendering import ListRenderer
from app.api.http.router import SlashRouter
from app.api.http.sse import EventStream
from app.api.http.turns import in_turn
from app.errors import InsufficientScope, TaskNotFound, TooManyStreams
from app.schemas.task_output import TaskOutputRead
from app.services.execution.attempts import MOST_NAME_CHARACTERS
from app.services.task_service import task_service

router = SlashRouter(prefix="/tasks", tags=["tasks"])

OfStream = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=MOST_NAME_CHARACTERS,
        description="Only the chunks of this stream.",
        examples=["output"],
    ),
]
After = Annotated[
    int, Query(ge=0, le=MAX_SEQ, description="Only chunks with a greater `seq`: where the page or the stream begins.")
]
Follow = Annotated[
    bool, Query(description="Send the chunks as Server-Sent Events, those that come later too, until the task ends.")
]

_CHUNKS = ListRenderer(TaskOutputRead)
_EXAMPLE = {
    "seq": 4294967297,
    "stream": "output",
    "attempt": 1,
    "at": "2026-11-25T10:30:00.123456Z",
    "chunk": "The answer is",
}
_STREAM: dict[str, Any] = stream_answer(
    f"retry: 2100\nevent: output\nid: {_EXAMPLE['seq']}\ndata: {json.dumps(_EXAMPLE, separators=(',', ':'))}\n\n",
    "With `follow`. `event` is `output`, `id` is the chunk's `seq`; `data` is a `TaskOutputRead` as JSON. "
    'A new attempt sends `event: reset` with `{"attempt": 2}`.',
)[200]


@router.get(
    "/{task_id}/output",
    status_code=status.HTTP_200_OK,
    response_model=list[TaskOutputRead],
    response_description="The chunks, oldest first",
    responses={
        200: {"content": _STREAM["content"], "headers": LINK_HEADER},
        204: {"description": "With `follow`: the task has ended and you have its last chunk; an EventSource stops"},
        **problems(401, InsufficientScope, TaskNotFound, TooManyStreams),
    },
)
async def list_task_output(
    request: Request,
    db: SessionDep,
    user: TaskReader,
    token: BearerToken,
    watcher: WatcherDep,
    task_id: TaskId,
    stream: OfStream = None,
    after: After = 0,
    limit: Limit = MAX_LIMIT,
    follow: Follow = False,
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
    if not follow:
        answer: Response = await _list(
            request=request, db=db, task_id=task_id, user=user, stream=stream, after=after, limit=limit
        )
        return answer
    seen = seq_of(last_event_id)
    events = await watcher.follow_output(
        task_id, user.id, user.owner, credential_of(user, token), stream, after if seen is None else seen
    )
    return Response(status_code=status.HTTP_204_NO_CONTENT) if events is None else EventStream(events, watcher.leave)


def _page(
    request: Request, db: SessionDep, task_id: TaskId, user: TaskReader, stream: str | None, after: int, limit: int
) -> Response:
    page = task_service.list_output(db, task_id, limit, owner=user.owner, after=after, stream=stream)
    return _CHUNKS.page(request, page, lambda chunk: chunk.seq, parameter="after")


# In a thread, in the user's turn: as the router does it with a plain function.
_list = in_turn(_page, status.HTTP_200_OK, None)
