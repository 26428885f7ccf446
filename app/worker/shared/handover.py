"""How a pool child tells its parent of a success: one datagram on a socket pair that was made before the fork."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from app.services.execution.successes import Success

# Of one message; a larger result is the child's own to write.
MAX_BYTES = 32 * 1024
# A parent that does not read is not waited for.
SEND_SECONDS = 1.0
_HEAD = struct.Struct("=16sq?")  # task, attempt, whether a result follows
_WAKE = b"."  # shorter than any success


class Handover:
    """Closed until `open`, as in pools that do not fork: nothing can be handed over then."""

    def __init__(self) -> None:
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def open(self) -> None:
        """Before a fork."""
        if self._ends is None:
            inbox, outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            inbox.setblocking(False)
            outbox.settimeout(SEND_SECONDS)
            self._ends = inbox, outbox

    def close(self) -> None:
        ends, self._ends = self._ends, None
        for end in ends or ():
            end.close()

    @property
    def inbox(self) -> socket.socket | None:
        return self._ends[0] if self._ends is not None else None

    def become_child(self) -> None:
        """Without the reading end here, a parent that is gone is an error at once."""
        if self._ends is not None:
            self._ends[0].close()

    def send(self, success: Success) -> bool:
        """Whether the parent has it now."""
        if self._ends is None:
            return False
        result = b"" if success.result is None else success.result.encode()
        message = _HEAD.pack(success.task_id.bytes, success.attempt, success.result is not None) + result
        if len(message) > MAX_BYTES:
            return False
        try:
            self._ends[1].send(message)
        except OSError:
            return False
        return True

    def wake(self) -> None:
        """Whoever waits for the inbox; if it is full, nobody does."""
        if self._ends is not None:
            with suppress(OSError):
                os.write(self._ends[1].fileno(), _WAKE)  # the socket's own `send` would wait for its time limit

    def received(self) -> Iterator[Success]:
        """All that was sent before this call."""
        while self._ends is not None:
            try:
                message = self._ends[0].recv(MAX_BYTES)
            except BlockingIOError:
                return
            if message != _WAKE:
                task, attempt, has_result = _HEAD.unpack_from(message)
                yield Success(UUID(bytes=task), attempt, message[_HEAD.size :].decode() if has_result else None)


handover = Handover()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=handover.become_child)
