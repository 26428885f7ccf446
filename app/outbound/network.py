"""Connections for httpcore: a name is resolved once, each of its addresses checked, and one of these connected to.

httpcore is told of names alone, so TLS checks the certificate for the name and sends it as SNI, and the Host header is
the name's, whatever the address. All of a connection's life stays within one deadline.
"""

import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpcore

from app.outbound.errors import AddressRefused, AnswerRefused, CertificateRefused, Interrupted, NotConnected
from app.outbound.policy import Policy

MAX_ADDRESSES = 4
# Status line and headers, any `100 Continue` before them included. (h11 bounds each by itself at 100 KiB.)
MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Address:
    """One answer of getaddrinfo: as a socket takes it."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]


Resolve = Callable[[str, int], Sequence[Address]]


def resolve(host: str, port: int) -> list[Address]:
    """What the machine's resolver says, each address once. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))


@dataclass(frozen=True)
class StepTimeouts:
    """Seconds for one step, within the deadline of the whole."""

    connect: float
    read: float


class Deadline:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self, at_most: float) -> float:
        """Seconds that may still be waited. Raises Interrupted when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Interrupted(f"no whole answer within {self.seconds:g} seconds")
        return min(left, at_most)


class GuardedBackend(httpcore.NetworkBackend):
    """For one connection."""

    def __init__(self, policy: Policy, resolve: Resolve, deadline: Deadline, timeouts: StepTimeouts) -> None:
        self._policy, self._resolve, self._deadline, self._timeouts = policy, resolve, deadline, timeouts
        self._stream: BoundedStream | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 (the deadline's instead)
        local_address: str | None = None,  # noqa: ARG002 (never asked for)
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 (never asked for)
    ) -> "BoundedStream":
        addresses = self._look_up(host, port)
        for address in addresses:
            why = self._policy.refusal(host, port, ipaddress.ip_address(address.sockaddr[0]))
            if why is not None:
                raise AddressRefused(f"{host} port {port} is {why}")
        self._stream = BoundedStream(self._connect(host, port, addresses), self._deadline, self._timeouts)
        return self._stream

    def head_is_in(self) -> None:
        """The answer's headers have been read: what follows is its body, which the reader bounds."""
        if self._stream is not None:
            self._stream.head_is_in()

    def _look_up(self, host: str, port: int) -> Sequence[Address]:
        """In a thread: getaddrinfo knows no timeout, and a body that waits in it hears no cancellation."""
        answers: queue.SimpleQueue[Sequence[Address] | None] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put(self._resolve(host, port))
            except (OSError, UnicodeError):
                answers.put(None)

        threading.Thread(target=ask, name="outbound-resolver", daemon=True).start()
        try:
            found = answers.get(timeout=self._deadline.left(self._timeouts.connect))
        except queue.Empty:
            found = None
        if not found:
            raise NotConnected(f"{host} has no address, or nobody says so in time")
        return found

    def _connect(self, host: str, port: int, addresses: Sequence[Address]) -> socket.socket:
        """To the first of the checked addresses that answers; no name is looked up any more."""
        why = ""
        for address in addresses[:MAX_ADDRESSES]:
            connection = socket.socket(address.family, socket.SOCK_STREAM)
            try:
                connection.settimeout(self._deadline.left(self._timeouts.connect))
                connection.connect(address.sockaddr)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            except TimeoutError:
                connection.close()
                why = "no answer"
            except OSError as error:
                connection.close()
                why = error.strerror or "no connection"
            except BaseException:  # cancelled while it waited
                connection.close()
                raise
        raise NotConnected(f"cannot connect to {host} port {port}: {why}")


class BoundedStream(httpcore.NetworkStream):
    """A socket on which nothing waits longer than the deadline, and whose first answer has a size."""

    def __init__(self, connection: socket.socket, deadline: Deadline, timeouts: StepTimeouts) -> None:
        self._socket, self._deadline, self._timeouts = connection, deadline, timeouts
        self._head_left: int | None = MAX_HEAD_BYTES

    def head_is_in(self) -> None:
        self._head_left = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        if self._head_left is not None:
            max_bytes = min(max_bytes, self._head_left)
            if max_bytes == 0:
                raise AnswerRefused(f"the answer's headers are larger than {MAX_HEAD_BYTES} bytes")
        self._socket.settimeout(self._deadline.left(self._timeouts.read))
        try:
            data = self._socket.recv(max_bytes)
        except TimeoutError:
            raise self._silent() from None
        except OSError:
            raise Interrupted("the connection broke off before the answer was whole") from None
        if self._head_left is not None:
            self._head_left -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        rest = memoryview(buffer)
        while rest:
            self._socket.settimeout(self._deadline.left(self._timeouts.read))
            try:
                rest = rest[self._socket.send(rest) :]
            except TimeoutError:
                raise self._silent() from None
            except OSError:
                # httpcore goes on to read: a server may answer before it has heard everything.
                raise httpcore.WriteError from None

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> "BoundedStream":
        self._socket.settimeout(self._deadline.left(self._timeouts.connect))
        try:
            self._socket = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise CertificateRefused(f"the certificate of {server_hostname}: {error.verify_message}") from None
        except (OSError, ValueError):
            self.close()
            raise NotConnected(f"no TLS connection with {server_hostname}") from None
        except BaseException:
            self.close()
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        return self._socket if info == "socket" else None

    def _silent(self) -> Interrupted:
        self._deadline.left(self._timeouts.read)  # it may have been the deadline: that says so itself
        return Interrupted(f"no answer for {self._timeouts.read:g} seconds")
