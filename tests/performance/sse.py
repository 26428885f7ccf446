"""Streams of server-sent events as a client reads them: the data of each event and when it came."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from tests.performance.wire import Request
from tests.support.loopback import Address

# What came, and when, by the machine's clock.
OnEvent = Callable[[dict[str, Any], float], None]


class Stream:
    """One open stream. `ended` is True once the server has closed it in order."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._writer: asyncio.StreamWriter | None = None
        self._text = ""
        self.ended = False
        self.reading: asyncio.Task[None] | None = None

    async def open(self, address: Address, path: str, token: str) -> "Stream":
        reader, self._writer = await asyncio.open_connection(address.host, address.port)
        self._writer.write(Request("GET", path, token=token).encode(f"{address.host}:{address.port}"))
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        assert b" 200 " in head.split(b"\r\n", 1)[0], head
        assert b"text/event-stream" in head.lower(), head
        self.reading = asyncio.create_task(self._read(reader))
        return self

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while size := int((await reader.readline()).split(b";")[0] or b"0", 16):
                self._take((await reader.readexactly(size + 2))[:-2].decode())
            self.ended = True
        except (OSError, EOFError):
            pass  # `ended` tells

    def _take(self, text: str) -> None:
        came = time.time()
        self._text += text.replace("\r\n", "\n")
        while "\n\n" in self._text:
            event, self._text = self._text.split("\n\n", 1)
            lines = [line[5:].lstrip() for line in event.splitlines() if line.startswith("data:")]
            if lines:
                self._on_event(json.loads("\n".join(lines)), came)

    async def close(self) -> None:
        if self.reading is not None:
            self.reading.cancel()
            await asyncio.gather(self.reading, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()
