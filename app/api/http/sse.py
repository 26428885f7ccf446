"""Server-sent events: a `text/event-stream` response of pieces as they become available; its end on shutdown.

FastAPI's own implementation (`fastapi.sse`) keeps a producer, a task group and a buffer for each stream, and renders
each event for each stream. Here a stream is one coroutine and one task that waits for the client's disconnect.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.live.streams import Subscription

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

    def __init__(self, stream: Subscription, leave: Callable[[Subscription], None]) -> None:
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


def stream_or_204(stream: Subscription | None, leave: Callable[[Subscription], None]) -> Response:
    """Return the response for the stream; without one 204, at which an EventSource stops."""
    return Response(status_code=204) if stream is None else EventStream(stream, leave)


async def _wait_for_disconnect(receive: Receive, stream: Subscription) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.close()


# -- The end of long-lived responses on shutdown -----------------------------------------------------------------------
# uvicorn tells the application of a shutdown only after every open connection has closed. Event streams, and requests
# that wait for a task, must therefore receive the signal themselves.

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_shutdown(stop: Callable[[], None]) -> Iterator[None]:
    """Within the block, SIGTERM and SIGINT call `stop` in this event loop, then the server's own handler."""
    if threading.current_thread() is not threading.main_thread():  # a test server gets no signals
        yield
        return
    loop = asyncio.get_running_loop()
    with ExitStack() as restored:
        for number in _SIGNALS:
            _chain_handler(number, lambda: loop.call_soon_threadsafe(stop), restored)
        yield


def _chain_handler(number: signal.Signals, before: Callable[[], object], restored: ExitStack) -> None:
    previous = signal.getsignal(number)
    if not callable(previous):
        return

    def handle(received: int, frame: FrameType | None) -> None:
        before()
        previous(received, frame)

    signal.signal(number, handle)
    restored.callback(signal.signal, number, previous)
