"""What the connections of one API process hold for their clients, in bytes and in time.

Memory is held for a client whose body has not arrived or that does not read its answer. These bytes are counted under
their owner, which is the user of the request in progress, before that the peer's address. They are bounded by owner and
by process; the number of connections and of a user's requests is bounded too.
"""

from asyncio import AbstractEventLoop, TimerHandle
from collections import Counter
from collections.abc import Callable
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

Owner = UUID | str


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings that bound connections. Seconds and bytes; `connections` and `requests` are numbers."""

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
            settings.transfer_timeout_seconds,
            settings.transfer_min_bytes_per_second,
            settings.buffered_bytes_per_user,
            settings.buffered_bytes,
            max(1, min(settings.requests_per_user, connections // 2)),  # one user never has all connections
            connections,
        )


def count_for_user(request: Request, user: UUID) -> None:
    """Count a request under its user. Raises TooManyInProgress, Overloaded. Does nothing on another server."""
    extension = request.scope.get("extensions", {}).get(SET_USER)
    if extension is not None:
        extension["call"](user)


class Waiting(Protocol):
    """A connection (`app/api/http/peer.py`). Its owner is the user of the request in progress, else the address."""

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
