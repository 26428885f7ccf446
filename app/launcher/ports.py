"""Choosing a port on this machine. Between the choice and the bind another process may take it: callers retry."""

import errno
import socket

LOOPBACK = "127.0.0.1"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def is_free(host: str, port: int) -> bool:
    """Could a server listen there? Lingering connections of an earlier one do not count: servers set SO_REUSEADDR."""
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise  # no address of this machine, or a port that only root may have: looking on is no use
            return False
    return True


def free_loopback_port() -> int:
    """A port that the kernel calls free right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def next_free(host: str, port: int, tries: int = 100) -> int | None:
    """The first free port from this one on."""
    return next((number for number in range(port, min(port + tries, 65536)) if is_free(host, number)), None)
