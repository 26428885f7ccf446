"""Connections for httpcore: a name is resolved once, every address is checked, and one of them is connected to.

httpcore gets only the name. So TLS checks the certificate for the name and sends it as SNI, and the Host header is the
name, whatever the address. Each request stays within one deadline, that for its connection included.
"""

import ipaddress
import queue
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpcore

from app.outbound.errors import AddressRefused, AnswerRefused, CertificateRefused, Interrupted, NotConnected, Stale
from app.outbound.targets import Policy

MAX_ADDRESSES = 4
IPV6 = 6
# For the status line and headers, including any `100 Continue` before them. (h11 limits each part to 100 KiB.)
MAX_HEAD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Address:
    """One result of getaddrinfo, in the form that a socket takes."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]


Resolve = Callable[[str, int], Sequence[Address]]


def resolve_host(host: str, port: int) -> list[Address]:
    """Return the addresses that the system's resolver finds, without duplicates. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(Address(family, sockaddr) for family, _, _, _, sockaddr in found))


@dataclass(frozen=True)
class StepTimeouts:
    """The timeouts of single steps in seconds, within the deadline of the whole request."""

    connect: float
    read: float


class Deadline:
    """The end of the time for a whole request."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self, at_most: float) -> float:
        """Return the seconds left, at most `at_most`. Raises Interrupted if none are left."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise Interrupted(f"no complete response within {self.seconds:g} seconds")
        return min(left, at_most)


class GuardedBackend(httpcore.NetworkBackend):
    """A network backend for one connection. `begin` comes before each request."""

    def __init__(self, policy: Policy, resolve: Resolve, timeouts: StepTimeouts) -> None:
        self._policy, self._resolve, self._timeouts = policy, resolve, timeouts
        self._deadline = Deadline(timeouts.connect)
        self._stream: BoundedStream | None = None

    def begin(self, deadline: Deadline) -> None:
        """Begin a request, which is over by this deadline."""
        self._deadline = deadline
        if self._stream is not None:
            self._stream.begin_again(deadline)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 (the deadline replaces it)
        local_address: str | None = None,  # noqa: ARG002 (never used)
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 (never used)
    ) -> "BoundedStream":
        """Resolve the host, check every address, and connect to the first that accepts.

        Raises AddressRefused, NotConnected.
        """
        addresses = self._look_up(host, port)
        for address in addresses:
            reason = self._policy.refusal(host, port, ipaddress.ip_address(address.sockaddr[0]))
            if reason is not None:
                raise AddressRefused(f"{host} port {port} is {reason}")
        self._stream = BoundedStream(self._connect(host, port, addresses), self._deadline, self._timeouts)
        return self._stream

    def end_head(self) -> None:
        """Stop limiting the response's head: its reader limits the body."""
        if self._stream is not None:
            self._stream.end_head()

    def _look_up(self, host: str, port: int) -> Sequence[Address]:
        """Resolve the host in a thread: getaddrinfo has no timeout, and cancellation cannot interrupt it.

        An address is no question for a resolver.
        """
        if (address := _as_address(host, port)) is not None:
            return [address]
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
            raise NotConnected(f"{host} has no address, or the resolver did not answer in time")
        return found

    def _connect(self, host: str, port: int, addresses: Sequence[Address]) -> socket.socket:
        """Connect to the first checked address that accepts. The name is not resolved again."""
        reason = ""
        for address in addresses[:MAX_ADDRESSES]:
            connection = socket.socket(address.family, socket.SOCK_STREAM)
            try:
                connection.settimeout(self._deadline.left(self._timeouts.connect))
                connection.connect(address.sockaddr)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
            except TimeoutError:
                connection.close()
                reason = "no answer"
            except OSError as error:
                connection.close()
                reason = error.strerror or "no connection"
            except BaseException:  # cancelled during the wait
                connection.close()
                raise
        raise NotConnected(f"cannot connect to {host} port {port}: {reason}")


def _as_address(host: str, port: int) -> Address | None:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    if version == IPV6:
        return Address(socket.AF_INET6, (host, port, 0, 0))
    return Address(socket.AF_INET, (host, port))


class BoundedStream(httpcore.NetworkStream):
    """A socket whose operations end at the deadline of a request, and whose response head has a maximal size."""

    def __init__(self, connection: socket.socket, deadline: Deadline, timeouts: StepTimeouts) -> None:
        self._socket, self._deadline, self._timeouts = connection, deadline, timeouts
        self._head_left: int | None = MAX_HEAD_BYTES
        # Whether an earlier request was answered, and nothing has come in answer to this one.
        self._may_be_stale = False

    def begin_again(self, deadline: Deadline) -> None:
        """Begin a further request, with a response of its own."""
        self._deadline, self._head_left, self._may_be_stale = deadline, MAX_HEAD_BYTES, True

    def end_head(self) -> None:
        """Stop limiting the response's head."""
        self._head_left = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """Return the next bytes. Raises Interrupted, Stale, AnswerRefused if the head is too large."""
        if self._head_left is not None:
            max_bytes = min(max_bytes, self._head_left)
            if max_bytes == 0:
                raise AnswerRefused(f"the response's headers are larger than {MAX_HEAD_BYTES} bytes")
        self._socket.settimeout(self._deadline.left(self._timeouts.read))
        try:
            data = self._socket.recv(max_bytes)
        except TimeoutError:
            raise self._read_timeout() from None
        except OSError:
            kind = Stale if self._may_be_stale else Interrupted
            raise kind("the connection closed before the response was complete") from None
        if self._may_be_stale and not data:
            raise Stale("the connection closed before the response")
        self._may_be_stale = False
        if self._head_left is not None:
            self._head_left -= len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send all bytes. Raises httpcore.WriteError, Interrupted."""
        rest = memoryview(buffer)
        while rest:
            self._socket.settimeout(self._deadline.left(self._timeouts.read))
            try:
                rest = rest[self._socket.send(rest) :]
            except TimeoutError:
                raise self._read_timeout() from None
            except OSError:
                # httpcore then reads: a server may respond before it has read the whole request.
                raise httpcore.WriteError from None

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> "BoundedStream":
        """Wrap the socket in TLS. Raises CertificateRefused, NotConnected."""
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
        if info == "is_readable":  # httpcore asks while nothing is expected: the server has closed it
            with selectors.DefaultSelector() as selector:
                selector.register(self._socket, selectors.EVENT_READ)
                return bool(selector.select(timeout=0))
        return self._socket if info == "socket" else None

    def _read_timeout(self) -> Interrupted:
        self._deadline.left(self._timeouts.read)  # raises if it was the deadline
        return Interrupted(f"no data for {self._timeouts.read:g} seconds")
