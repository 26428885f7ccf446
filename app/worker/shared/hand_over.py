"""How a pool child tells its parent of a success: one packet on a socket pair that was made before the fork."""

import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from app.services.execution.ends import Success

# Of one message; the child writes a larger result itself.
MAX_BYTES = 32 * 1024
# How long the child waits for a parent that does not read.
SEND_SECONDS = 1.0
_HEAD = struct.Struct("=16sqd???")  # task, attempt, begun_after, whether it has a place of a limit, children, a result
_WAKE = b"."  # shorter than any success
# The socket's: as much as Linux allows by default, room for 555 successes with small results. Where it is full, the
# rows of a claim wait for the parent, and go back after 100 ms.
_ROOM_BYTES = 212_992


def _pair() -> tuple[socket.socket, socket.socket]:
    """Return a pair of sockets for packets, bounded by bytes: of datagrams Linux keeps 10, too few for the children."""
    try:
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    except OSError:  # macOS has none of this kind
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


class HandOver:
    """Closed until `open`, as in pools that do not fork: nothing can be handed over then."""

    def __init__(self) -> None:
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._was_full = False

    def is_full(self) -> bool:
        """Return whether this child has found no room, and most of it is still in use. macOS tells of neither."""
        if self._was_full:
            self._was_full = not self._has_room(0)
        return self._was_full

    def _has_room(self, seconds: float) -> bool:
        """Wait for so long at most. Linux says so only once three quarters are free."""
        return self._ends is None or bool(select.select([], [self._ends[1]], [], seconds)[1])

    def open(self) -> None:
        """Make the sockets, before a fork."""
        if self._ends is None:
            inbox, outbox = _pair()
            inbox.setblocking(False)
            outbox.setblocking(False)
            with suppress(OSError):  # less room is only slower
                outbox.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM_BYTES)
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
        """Close the read end, in a forked child, so that a send fails at once when the parent dies."""
        if self._ends is not None:
            self._ends[0].close()

    def send(self, success: Success) -> bool:
        """Return whether the parent has it now. Waits for at most SEND_SECONDS."""
        if self._ends is None:
            return False
        result = b"" if success.result is None else success.result.encode()
        flags = (success.is_limited, success.has_children)
        head = (success.task_id.bytes, success.attempt, success.begun_after, *flags)
        message = _HEAD.pack(*head, success.result is not None) + result
        if len(message) > MAX_BYTES:
            return False
        deadline = time.monotonic() + SEND_SECONDS
        while True:
            try:
                self._ends[1].send(message)
            except BlockingIOError:
                self._was_full = True
                # Only where it is full: a wait before each packet would be one for the parent.
                if not self._has_room(max(0.0, deadline - time.monotonic())):
                    return False
            except OSError:
                return False
            else:
                return True

    def wake(self) -> None:
        """Wake the thread that waits for the inbox. A full inbox needs no waking."""
        if self._ends is not None:
            with suppress(OSError):
                os.write(self._ends[1].fileno(), _WAKE)  # the socket's own `send` would wait for its time limit

    def received(self) -> Iterator[Success]:
        """Yield all that was sent before this call."""
        while self._ends is not None:
            try:
                message = self._ends[0].recv(MAX_BYTES)
            except BlockingIOError:
                return
            if message != _WAKE:
                task, attempt, begun_after, *flags, has_result = _HEAD.unpack_from(message)
                result = message[_HEAD.size :].decode() if has_result else None
                yield Success(UUID(bytes=task), attempt, result, begun_after, *flags)
