"""Finds free ports of this machine. Another process may take a port before the caller binds it: callers retry."""

import errno
import socket

LOOPBACK = "127.0.0.1"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def is_free(host: str, port: int) -> bool:
    """Return whether a server could listen there now. Raises OSError for an address or port that it may not use.

    Connections of an earlier server that linger do not count, as servers set SO_REUSEADDR.
    """
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise  # another port would not help: not an address of this machine, or a port for root alone
            return False
    return True


def free_loopback_port() -> int:
    """Return a port of 127.0.0.1 that is free now, chosen by the kernel."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def next_free(host: str, port: int, tries: int = 100) -> int | None:
    """Return the first free port among `tries` from this one on; None when all are taken."""
    return next((number for number in range(port, min(port + tries, 65536)) if is_free(host, number)), None)
