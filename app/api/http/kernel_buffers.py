"""What the kernel keeps for a client that does not read, also after this process has closed the connection.

Unbounded, Linux keeps several megabytes of answers for each connection, for minutes.
"""

import socket
import struct
import sys
from asyncio import Transport
from collections.abc import Iterator
from contextlib import contextmanager

# Bytes of answers; Linux doubles this.
SEND_BUFFER = 256 * 1024
# The kernel gives up a client after so many times the seconds after which this process does.
PATIENCE = 3
_RESET = struct.pack("ii", 1, 0)


def bound_kernel_buffer(transport: Transport, seconds: float) -> None:
    """Bound it in bytes and, on Linux, in time (TCP_USER_TIMEOUT, RFC 5482)."""
    with _tcp_socket(transport) as connection:
        if connection is None:
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if sys.platform == "linux":
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(PATIENCE * seconds * 1000))


def abort(transport: Transport) -> None:
    """Close the connection with a reset, so that the kernel drops what it keeps."""
    with _tcp_socket(transport) as connection:
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


@contextmanager
def _tcp_socket(transport: Transport) -> Iterator[socket.socket | None]:
    """Yield the TCP socket, or None. uvloop's own object would duplicate it for each option."""
    found = transport.get_extra_info("socket")
    if found is None or found.family not in {socket.AF_INET, socket.AF_INET6} or found.fileno() < 0:
        yield None
        return
    connection = socket.socket(found.family, socket.SOCK_STREAM, 0, fileno=found.fileno())
    try:
        yield connection
    finally:
        connection.detach()
