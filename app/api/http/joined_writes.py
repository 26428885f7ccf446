"""A transport that sends the head of a response and the start of its body in one system call."""

from asyncio import AbstractEventLoop, Transport


class JoinedWrites:
    """What an answer is written with: its head goes out with the body that follows at once.

    uvicorn writes each by itself and uvloop sends each at once: two system calls here and two wake-ups of the client,
    a tenth of what a small answer costs. A head whose body takes its time leaves at the loop's next turn.
    """

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held: bytes | None = None
        self._is_head = True

    def write(self, data: bytes) -> None:
        if self._is_head:
            self._is_head, self._held = False, data
            self._loop.call_soon(self._flush)
            return
        held, self._held = self._held, None
        self._transport.write(data if held is None else held + data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def _flush(self) -> None:
        if self._held is not None:
            held, self._held = self._held, None
            self._transport.write(held)
