"""Server-sent events: a `text/event-stream` response that sends pieces as they become available.

FastAPI's own implementation (`fastapi.sse`) keeps a producer, a task group and a buffer for each stream, and renders
each event for each stream. Here a stream is one coroutine and one task that waits for the client's disconnect.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.live.streams import Stream

# The ASGI extension with which a stream closes its connection (`BoundedProtocol`).
ABORT = "task_service.abort"

MEDIA_TYPE = "text/event-stream"
HEADERS = {
    "Content-Type": MEDIA_TYPE,
    # No proxy may store, change or buffer the stream. nginx reads the last header.
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}


class EventStream(Response):
    """The response for one stream. Calls `leave` once, when the stream has ended for any reason."""

    media_type = MEDIA_TYPE

    def __init__(self, stream: Stream, leave: Callable[[Stream], None]) -> None:
        self._stream, self._leave = stream, leave
        self.status_code, self.background = 200, None
        self.init_headers(HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = self._stream
        abort: Callable[[], None] | None = scope.get("extensions", {}).get(ABORT, {}).get("call")
        disconnect = asyncio.create_task(_wait_for_disconnect(receive, stream))
        try:
            await self._send(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers}, abort)
            while (piece := await stream.next()) is not None:
                await self._send(send, {"type": "http.response.body", "body": piece, "more_body": True}, abort)
            await self._send(send, {"type": "http.response.body", "body": b"", "more_body": False}, abort)
        finally:
            disconnect.cancel()
            self._leave(stream)

    async def _send(self, send: Send, message: dict[str, Any], abort: Callable[[], None] | None) -> None:
        self._stream.sending(abort)
        await send(message)
        self._stream.sent()


async def _wait_for_disconnect(receive: Receive, stream: Stream) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.close()
