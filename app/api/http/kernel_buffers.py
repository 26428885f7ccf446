"""What the kernel keeps for a client that does not read, also after this process has closed the connection."""

import socket
import sys
from asyncio import Transport

# Bytes of answers (Linux doubles this). Without a bound Linux keeps several megabytes for each connection.
SEND_BUFFER = 256 * 1024
# The kernel gives up a client after so many times the seconds after which this process does.
PATIENCE = 3


def bound_kernel_buffers(transport: Transport, seconds: float) -> None:
    """Bound the kernel's memory for answers, in bytes and, on Linux, in time (TCP_USER_TIMEOUT, RFC 5482)."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if sys.platform == "linux":
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(PATIENCE * seconds * 1000))
