"""The answer of an event stream: `text/event-stream`, sent piece by piece for as long as there are any.

FastAPI's own way (`fastapi.sse`, an endpoint that yields) keeps a producer, a task group and a buffer for each stream,
and renders each event for each. Here a stream is one coroutine, and a task that notices the client's leaving.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.live.streams import Stream

# How the server's protocol lets a stream cut its connection off (`BoundedProtocol`).
ABORT = "task_service.abort"

MEDIA_TYPE = "text/event-stream"
HEADERS = {
    "Content-Type": MEDIA_TYPE,
    # Nothing on the way may keep it, change it, or wait until there is more of it (nginx reads the last one).
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}


class EventStream(Response):
    """`leave` is called once, when the stream is over for whatever reason."""

    media_type = MEDIA_TYPE

    def __init__(self, stream: Stream, leave: Callable[[Stream], None]) -> None:
        self._stream, self._leave = stream, leave
        self.status_code, self.background = 200, None
        self.init_headers(HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = self._stream
        abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT, {}).get("call")
        leaving = asyncio.create_task(_until_gone(receive, stream))
        try:
            await self._send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers}, abort)
            while (piece := await stream.next()) is not None:
                await self._send(send, {"type": "http.response.body", "body": piece, "more_body": True}, abort)
            await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False}, abort)
        finally:
            leaving.cancel()
            self._leave(stream)

    async def _send(self, send: Send, message: dict[str, Any], abort: Callable[[], None] | None) -> None:
        self._stream.sending(abort)
        await send(message)
        self._stream.sent()


async def _until_gone(receive: Receive, stream: Stream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.close()
