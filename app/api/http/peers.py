"""What the connections of one API process hold for their clients, in bytes and in time.

Memory is held for a client whose body has not arrived or that does not read its answer. These bytes are counted under
their owner, which is the user of the request in progress, before that the peer's address. They are bounded by owner and
by process; the number of connections and of a user's requests is bounded too.
"""

import socket
import struct
import sys
from asyncio import AbstractEventLoop, TimerHandle, Transport
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from fastapi import Request

from app.core.api_process import open_files_limit
from app.core.setting_fields import SettingFields
from app.errors import Overloaded, TooManyInProgress

# The ASGI extension with which the application names the user of a request (`Peer.set_user`).
SET_USER = "task_service.set_user"
# The one with which it says that it holds bytes of a body no longer (`Peer.body_taken`).
BODY_TAKEN = "task_service.body_taken"

TICK_SECONDS = 1.0
# Files of the process that are no connections of clients: its database and broker connections, logs, sockets.
OTHER_FILES = 128
# When there are too many connections, so many are ended at once: a search for each one would take the loop's time.
EVICTED_SHARE = 16
RETRY_SECONDS = 1
# A transfer without a byte for so long ends, and one below the rate some time later: a phone that changes its network
# is back by then, and a client that holds a connection for nothing holds it no longer.
TRANSFER_SECONDS = 20.0
BYTES_PER_SECOND = 2048.0
# Of one user: a dozen of the largest bodies. In all: eight such users.
BYTES_PER_USER = 32 * 1024 * 1024
BYTES_IN_ALL = 256 * 1024 * 1024
# In progress at a time, `?wait=` and event streams included.
REQUESTS_PER_USER = 1000

Owner = UUID | str


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds connections. Seconds and bytes; `connections` and `requests_per_user` are numbers."""

    seconds: float
    bytes_per_second: float
    bytes_per_user: int
    bytes_in_all: int
    requests_per_user: int
    connections: int

    @classmethod
    def of(cls, settings: SettingFields) -> "Limits":
        """Return the limits; the number of connections follows from the limit of open files unless it is set."""
        files = open_files_limit()
        connections = settings.max_connections or max(files - OTHER_FILES, files // 2)
        return cls(
            TRANSFER_SECONDS,
            BYTES_PER_SECOND,
            BYTES_PER_USER,
            BYTES_IN_ALL,
            max(1, min(REQUESTS_PER_USER, connections // 2)),  # one user never has all connections
            connections,
        )


def count_for_user(request: Request, user: UUID) -> None:
    """Count a request under its user. Raises TooManyInProgress, Overloaded. Does nothing on another server."""
    extension = request.scope.get("extensions", {}).get(SET_USER)
    if extension is not None:
        extension["call"](user)


class Waiting(Protocol):
    """A connection (`Peer`). Its owner is the user of the request in progress, else the address."""

    owner: Owner
    address: str
    since: float

    @property
    def is_unread(self) -> bool: ...
    def check(self, now: float) -> None: ...
    def end(self) -> None: ...


class Peers:
    """All connections of one server. Belongs to its event loop."""

    def __init__(self, loop: AbstractEventLoop, limits: Limits) -> None:
        self.limits, self.loop = limits, loop
        self._bytes: dict[Owner, int] = {}
        self._bytes_in_all = 0
        self._requests: dict[Owner, int] = {}
        self._waiting: dict[Waiting, None] = {}  # those that wait for their client, the longest wait first
        self._ticker: TimerHandle | None = None

    @property
    def held_bytes(self) -> int:
        """The bytes of bodies and unread answers of all connections."""
        return self._bytes_in_all

    @property
    def owners(self) -> int:
        """The number of users and addresses that hold any of them, or have requests in progress."""
        return len(self._bytes.keys() | self._requests.keys())

    def begin(self, owner: Owner, held: int) -> None:
        """Count a request of this user, of whose body so many bytes are held already.

        Raises TooManyInProgress if the user has too many requests or bytes in progress, Overloaded if the process has.
        """
        requests = self._requests.get(owner, 0)
        if requests >= self.limits.requests_per_user:
            raise TooManyInProgress(retry_after=RETRY_SECONDS)
        if self._bytes.get(owner, 0) + held > self.limits.bytes_per_user:
            raise TooManyInProgress(
                "The bodies that you send and the answers that you do not read are too large in total",
                retry_after=RETRY_SECONDS,
            )
        if held and self._bytes_in_all > self.limits.bytes_in_all:
            raise Overloaded(retry_after=RETRY_SECONDS)
        self._requests[owner] = requests + 1

    def end(self, owner: Owner) -> None:
        """Count a request of this user no longer."""
        _take(self._requests, owner, 1)

    def hold(self, owner: Owner, count: int) -> None:
        """Count bytes that are held for an owner."""
        self._bytes[owner] = self._bytes.get(owner, 0) + count
        self._bytes_in_all += count

    def release(self, owner: Owner, count: int) -> None:
        """Count these bytes no longer."""
        _take(self._bytes, owner, count)
        self._bytes_in_all -= count

    def wait_for(self, peer: Waiting) -> None:
        """Check the rate of this connection once a second until `stop_waiting`."""
        self._waiting[peer] = None
        if self._ticker is None:
            self._ticker = self.loop.call_later(TICK_SECONDS, self._tick)

    def stop_waiting(self, peer: Waiting) -> None:
        self._waiting.pop(peer, None)

    def enforce(self, owner: Owner) -> None:
        """End the transfers that wait longest: unread answers of an owner, then, if the process holds too much, any."""
        if self._holds_more_than_a_user_may(owner):
            unread = [each for each in self._waiting if each.owner == owner and each.is_unread]
            self._end_first(unread, lambda: self._holds_more_than_a_user_may(owner))
        while self._bytes_in_all > self.limits.bytes_in_all:
            heaviest = self._heaviest_waiting()
            if heaviest is None:
                return
            self._end_first([each for each in self._waiting if each.owner == heaviest], self._holds_too_much)

    def make_room(self, idle: list[Waiting]) -> bool:
        """End idle connections of the address that has most of them, else those that wait for their client.

        Returns False if there is none of either.
        """
        found = idle or list(self._waiting)
        if not found:
            return False
        ((address, _),) = Counter(each.address for each in found).most_common(1)
        mine = sorted((each for each in found if each.address == address), key=lambda each: each.since)
        for peer in mine[: max(1, self.limits.connections // EVICTED_SHARE)]:
            peer.end()
        return True

    def _holds_more_than_a_user_may(self, owner: Owner) -> bool:
        return self._bytes.get(owner, 0) > self.limits.bytes_per_user

    def _holds_too_much(self) -> bool:
        return self._bytes_in_all > self.limits.bytes_in_all

    def _heaviest_waiting(self) -> Owner | None:
        owners = {each.owner for each in self._waiting}
        return max(owners, key=lambda owner: self._bytes.get(owner, 0), default=None)

    def _end_first(self, peers: list[Waiting], goes_on: Callable[[], bool]) -> None:
        for peer in peers:
            if not goes_on():
                return
            peer.end()

    def _tick(self) -> None:
        self._ticker = None
        now = self.loop.time()
        for peer in list(self._waiting):
            peer.check(now)
        if self._waiting:
            self._ticker = self.loop.call_later(TICK_SECONDS, self._tick)


def _take(counts: dict[Owner, int], owner: Owner, count: int) -> None:
    left = counts.get(owner, 0) - count
    if left > 0:
        counts[owner] = left
    else:
        counts.pop(owner, None)  # not there if several have held nothing


# -- How fast a client must send a body and take an answer -------------------------------------------------------------


class MinimumRate:
    """The time that one transfer has left.

    It starts with `seconds`. Time takes from it, and each `bytes_per_second` bytes give a second back, up to `seconds`.
    So a transfer without progress ends after `seconds`, and one below the rate a while later. At the rate none ends.
    """

    __slots__ = ("_at", "_left", "_rate", "_seconds")

    def __init__(self, seconds: float, bytes_per_second: float, now: float) -> None:
        self._seconds, self._rate = seconds, bytes_per_second
        self._left, self._at = seconds, now

    def moved(self, count: int, now: float) -> bool:
        """Note the bytes that were transferred since the last call. Returns False when no time is left."""
        self._left = min(self._seconds, self._left - (now - self._at) + count / self._rate)
        self._at = now
        return self._left >= 0

    def excuse(self, now: float) -> None:
        """Do not count the time since the last call: the server was not ready for more."""
        self._at = now


# -- What the kernel keeps for a client that does not read, also after this process has closed the connection ----------
# Unbounded, Linux keeps several megabytes of answers for each connection, for minutes.

# Bytes of answers; Linux doubles this.
SEND_BUFFER = 256 * 1024
# The kernel gives up a client after so many times the seconds after which this process does.
KERNEL_PATIENCE = 3
_RESET = struct.pack("ii", 1, 0)


def bound_kernel_buffer(transport: Transport, seconds: float) -> None:
    """Bound it in bytes and, on Linux, in time (TCP_USER_TIMEOUT, RFC 5482)."""
    with _tcp_socket(transport) as connection:
        if connection is None:
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        if sys.platform == "linux":
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(KERNEL_PATIENCE * seconds * 1000))


def abort_with_reset(transport: Transport) -> None:
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


# -- What one connection holds for its client, and whether the client sends and reads fast enough ----------------------
# A transfer that does not wait for its client costs a few comparisons and no timer.


class BodyReader(Protocol):
    """The other side of a body's transfer."""

    def is_reading(self) -> bool:
        """Return whether the server takes more of the body."""
        ...

    def refuse_slow_body(self) -> None:
        """End a body that came too slowly."""


class Peer:
    """The part of one connection."""

    __slots__ = (
        "_arrived", "_body", "_body_rate", "_has_request", "_of", "_reader", "_send_rate", "_transport", "_unread",
        "_unsent", "address", "owner", "since",
    )  # fmt: skip

    def __init__(self, of: Peers, transport: Transport, address: str) -> None:
        self._of, self._transport, self.address = of, transport, address
        self.owner: Owner = address
        self.since = of.loop.time()
        self._has_request = False  # of a user
        self._body = self._arrived = 0  # bytes held of the request's body; bytes of it since the last check
        self._unsent = self._unread = 0  # bytes held of the answer; bytes of it that the client has not taken
        self._body_rate: MinimumRate | None = None
        self._send_rate: MinimumRate | None = None
        self._reader: BodyReader | None = None

    @property
    def is_unread(self) -> bool:
        """Whether an answer waits for its client to read it."""
        return self._send_rate is not None

    @property
    def waits_for_body(self) -> bool:
        return self._body_rate is not None

    def set_user(self, user: UUID) -> None:
        """Name the user of the request in progress. Raises TooManyInProgress, Overloaded."""
        if self._has_request:
            return
        self._of.begin(user, self._body)
        self._has_request = True
        held = self._body + self._unsent  # an answer without a body is sent after its response is complete
        if held:
            self._of.release(self.owner, held)
            self._of.hold(user, held)
        self.owner = user

    def body_arrived(self, count: int) -> None:
        """Count bytes of a body, which are held until the response is complete."""
        self._body += count
        self._of.hold(self.owner, count)

    def body_taken(self, count: int) -> None:
        """Count these bytes of a body no longer: the application has passed them on, and holds them no more."""
        taken = min(count, self._body)
        self._body -= taken
        self._of.release(self.owner, taken)

    def body_waits(self, count: int, reader: BodyReader) -> None:
        """Note that so many bytes of a body have arrived, and that more must come."""
        self._arrived += count
        self._reader = reader
        if self._body_rate is None:
            self._body_rate = self._new_rate()
            self._of.wait_for(self)
        self._of.enforce(self.owner)

    def body_complete(self) -> None:
        """Note that the client need not send more of the body."""
        self._body_rate, self._reader, self._arrived = None, None, 0
        self._stop_waiting()

    def answer_waits(self) -> None:
        """Note that the kernel did not take all of an answer at once."""
        self._unsent = self._unread = self._transport.get_write_buffer_size()
        self._of.hold(self.owner, self._unsent)
        self._send_rate = self._new_rate()
        self._of.wait_for(self)
        self._of.enforce(self.owner)

    def answer_sent(self) -> None:
        """Note that the kernel has taken all of it."""
        if self._send_rate is not None:
            self._of.release(self.owner, self._unsent)
            self._unsent, self._send_rate = 0, None
            self._stop_waiting()
            self._forget_owner()

    def response_complete(self) -> None:
        """Note that the application has answered: it holds nothing of the request any more."""
        self.since = self._of.loop.time()
        if self._has_request:
            self._has_request = False
            self._of.end(self.owner)
        if self._body:
            self._of.release(self.owner, self._body)
            self._body = 0
        self._forget_owner()

    def check(self, now: float) -> None:
        """End the connection if its client takes or sends too little."""
        if self._send_rate is not None:
            unread = self._transport.get_write_buffer_size()
            taken, self._unread = max(0, self._unread - unread), unread
            if not self._send_rate.moved(taken, now):
                self.end()
                return
        if self._body_rate is not None and self._reader is not None:
            arrived, self._arrived = self._arrived, 0
            if not self._reader.is_reading():
                self._body_rate.excuse(now)
            elif not self._body_rate.moved(arrived, now):
                self._reader.refuse_slow_body()

    def end(self) -> None:
        """Abort the connection, and release what it holds."""
        abort_with_reset(self._transport)
        self.lost()

    def lost(self) -> None:
        """Release what the connection holds."""
        if self._body_rate is not None:
            self.body_complete()
        self.answer_sent()
        self.response_complete()

    def _forget_owner(self) -> None:
        if not (self._has_request or self._unsent):
            self.owner = self.address

    def _new_rate(self) -> MinimumRate:
        return MinimumRate(self._of.limits.seconds, self._of.limits.bytes_per_second, self._of.loop.time())

    def _stop_waiting(self) -> None:
        if self._send_rate is None and self._body_rate is None:
            self._of.stop_waiting(self)
