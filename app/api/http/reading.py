"""uvicorn's flow control of one connection, which tells when the server stops and starts to read."""

from asyncio import Transport
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl


class Reading(FlowControl):
    """Calls `paused` and `resumed` at each change. What is parsed and what is sent both cause changes."""

    def __init__(self, transport: Transport, paused: Callable[[], None], resumed: Callable[[], None]) -> None:
        super().__init__(transport)
        self._paused, self._resumed = paused, resumed

    def pause_reading(self) -> None:
        if not self.read_paused:
            super().pause_reading()
            self._paused()

    def resume_reading(self) -> None:
        if self.read_paused:
            super().resume_reading()
            self._resumed()
