"""A transport that sends the head of a response and the start of its body in one system call."""

from asyncio import AbstractEventLoop, Transport


class JoinedWrites:
    """Delays the head of a response until its body or the next turn of the event loop, whichever comes first.

    uvicorn writes head and body separately, and uvloop sends each write at once. That costs two system calls here and
    two wake-ups of the client.
    """

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: bytes | None = None
        self._is_head = True

    def write(self, data: bytes) -> None:
        """Hold the first write, and send it together with the second one."""
        if self._is_head:
            self._is_head, self._held = False, data
            self._loop.call_soon(self._flush)
            return
        held, self._held = self._held, None
        self._transport.write(data if held is None else held + data)

    def close(self) -> None:
        """Send what is held, then close the transport."""
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)
