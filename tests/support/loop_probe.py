"""The application with a probe of its event loop: `uvicorn tests.support.loop_probe:app`.

`GET /longest-stretch` answers the longest time in which the loop could not run anything since the last such request, in
milliseconds of the process's CPU time. A thread that holds the interpreter's lock counts as well, waiting for a
processor does not. `busy` is the CPU time that the loop's own thread has taken since. `reference` is the CPU time of a
fixed computation, by which tests scale their bounds.
"""

import asyncio
import json
import time

from starlette.types import Receive, Scope, Send

from app.main import app as application

PATH = "/longest-stretch"
TICK_SECONDS = 0.001
_TEXT = b"[" + b"{}," * 100_000 + b"{}]"


class LoopProbe:
    """Measures the time between two turns of the loop that runs the application."""

    def __init__(self) -> None:
        self._longest = self._busy_until = 0.0
        self._ticking: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await application(scope, receive, send)
            return
        if self._ticking is None:
            self._ticking = asyncio.create_task(self._tick())
        busy = time.thread_time() - self._busy_until
        seen = {"longest": self._longest * 1000, "busy": busy * 1000, "reference": _reference() * 1000}
        await asyncio.sleep(TICK_SECONDS * 3)  # the reference's own stretch is over
        self._longest = 0.0
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(json.dumps(seen)))],
            }
        )
        await send({"type": "http.response.body", "body": json.dumps(seen).encode()})
        self._busy_until = time.thread_time()

    async def _tick(self) -> None:
        last = time.process_time()
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.process_time()
            self._longest, last = max(self._longest, now - last), now


def _reference() -> float:
    begun = time.process_time()
    json.loads(_TEXT)
    return time.process_time() - begun


app = LoopProbe()
