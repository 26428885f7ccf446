"""The endpoint of what a task's bodies logged: in pages, or as Server-Sent Events."""

import json
import re
from typing import Annotated, Any

from fastapi import Query, Request, Response, status
from pydantic import BeforeValidator

from app.api.deps import BearerToken, SessionDep, TaskReader, WatcherDep
from app.api.endpoints.events import LastEventId, credential_of, stream_answer
from app.api.endpoints.tasks import TaskId
from app.api.http.paging import LINK_HEADER, MAX_LIMIT, Limit
from app.api.http.problems import problems
from app.api.http.rendering import ListRenderer
from app.api.http.router import SlashRouter
from app.api.http.sse import EventStream
from app.api.http.turns import in_turn
from app.errors import InsufficientScope, TaskNotFound, TooManyStreams
from app.models.task_log import LogLevel
from app.schemas.task_log import TaskLogRead
from app.services.task_service import task_service
from app.services.tasks.task_history import LogFilter

router = SlashRouter(prefix="/tasks", tags=["tasks"])

MAX_SEQ = 2**63 - 1

Attempt = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="Only the lines of this attempt.", examples=[1])]
Level = Annotated[
    LogLevel | None,
    BeforeValidator(lambda level: level.upper() if isinstance(level, str) else level),
    Query(description="Only lines of this level and above.", examples=["WARNING"]),
]
After = Annotated[
    int, Query(ge=0, le=MAX_SEQ, description="Only lines with a greater `seq`: where the page or the stream begins.")
]
Follow = Annotated[
    bool, Query(description="Send the lines as Server-Sent Events, those that come later too, until the task ends.")
]

_LINES = ListRenderer(TaskLogRead)
_SEQ = re.compile(r"[0-9]{1,19}")
_EXAMPLE = {
    "seq": 4294967297,
    "at": "2026-11-25T10:30:00.123456Z",
    "level": "INFO",
    "logger": "myteam.tasks",
    "message": "read 100 rows",
    "attempt": 1,
    "fields": {"rows": 100},
}
_STREAM: dict[str, Any] = stream_answer(
    f"retry: 2100\nevent: log\nid: {_EXAMPLE['seq']}\ndata: {json.dumps(_EXAMPLE, separators=(',', ':'))}\n\n",
    "With `follow`. `event` is `log`, `id` is the line's `seq`; `data` is a `TaskLogRead` as JSON.",
)[200]


@router.get(
    "/{task_id}/logs",
    status_code=status.HTTP_200_OK,
    response_model=list[TaskLogRead],
    response_description="The lines, oldest first",
    responses={
        200: {"content": _STREAM["content"], "headers": LINK_HEADER},
        204: {"description": "With `follow`: the task has ended and you have its last line; an EventSource stops"},
        **problems(401, InsufficientScope, TaskNotFound, TooManyStreams),
    },
)
async def list_task_logs(
    request: Request,
    db: SessionDep,
    user: TaskReader,
    token: BearerToken,
    watcher: WatcherDep,
    task_id: TaskId,
    attempt: Attempt = None,
    level: Level = None,
    after: After = 0,
    limit: Limit = MAX_LIMIT,
    follow: Follow = False,
    last_event_id: LastEventId = None,
) -> Response:
    """List what the task's bodies logged with `logging` or printed, in all attempts.

    A page ends at `limit` lines and at 1 MiB; the `Link` header then names the next page. The newest `TASK_LOG_BYTES`
    of a task are kept. A line is written within a second, and before the end of its attempt can be seen.

    With `follow=true`, the answer is a stream of the lines behind `after` or `Last-Event-ID`, without a `limit`.
    The stream ends after the last line, once the task has ended. It also ends with the login or API key that opened it.
    """
    wanted = LogFilter(attempt, level)
    if not follow:
        answer: Response = await _list(
            request=request, db=db, task_id=task_id, user=user, wanted=wanted, after=after, limit=limit
        )
        return answer
    seen = seq_of(last_event_id)
    stream = await watcher.follow_logs(
        task_id, user.id, user.owner, credential_of(user, token), wanted, after if seen is None else seen
    )
    if stream is None:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    return EventStream(stream, watcher.leave)


def _page(
    request: Request, db: SessionDep, task_id: TaskId, user: TaskReader, wanted: Any, after: int, limit: int
) -> Response:
    page = task_service.list_logs(
        db, task_id, limit, owner=user.owner, after=after, attempt=wanted.attempt, level=wanted.level
    )
    return _LINES.page(request, page, lambda line: line.seq, parameter="after")


# In a thread, in the user's turn: as the router does it with a plain function.
_list = in_turn(_page, status.HTTP_200_OK, None)


def seq_of(event_id: str | None) -> int | None:
    """Return the number in a `Last-Event-ID`, or None if it names none."""
    if event_id is None or not _SEQ.fullmatch(event_id):
        return None
    return min(int(event_id), MAX_SEQ)
