"""How a pool child tells its parent of a success: one datagram on a socket pair that was made before the fork."""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from app.services.execution.successes import Success

# Of one message; the child writes a larger result itself.
MAX_BYTES = 32 * 1024
# How long the child waits for a parent that does not read.
SEND_SECONDS = 1.0
_HEAD = struct.Struct("=16sq?")  # task, attempt, whether a result follows
_WAKE = b"."  # shorter than any success


class HandOver:
    """Closed until `open`, as in pools that do not fork: nothing can be handed over then."""

    def __init__(self) -> None:
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def open(self) -> None:
        """Make the sockets, before a fork."""
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
        """The parent's end; None while closed."""
        return self._ends[0] if self._ends is not None else None

    def become_child(self) -> None:
        """In a forked child: close the read end, so that a send fails at once when the parent dies."""
        if self._ends is not None:
            self._ends[0].close()

    def send(self, success: Success) -> bool:
        """Whether the parent has it now. Waits for at most SEND_SECONDS."""
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
        """Wake the thread that waits for the inbox. A full inbox needs no waking."""
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
