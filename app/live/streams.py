"""Open event streams: one `Subscription` for each, and what it sends: states of tasks, log lines, output, workflows.

A subscription hears of news, reads what comes next, and sends it; meanwhile no more is read. Of the states of a task
only the newest one is pending, never a queue of all. A client that reads slowly therefore gets fewer events and uses no
more memory. A subscription belongs to the event loop.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from app.errors import InvalidToken
from app.models.task import TERMINAL
from app.schemas.task import TaskRead
from app.services.accounts.auth_service import Principal

# Its cursor is that of streams that are not resumed: a client that comes back is sent all states.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CURSOR = re.compile(r"[0-9a-f]{1,16}")
_VERSION = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class State:
    """A row of a task that was read, with the task's JSON as in `GET /tasks/{id}`.

    `data` is empty where no stream shows this version: a request that waits needs none. `attached_bytes` changes with
    each write of log lines and of output.
    """

    task_id: UUID
    user_id: UUID
    version: int
    ended: bool
    data: bytes = b""
    progress: int = 0
    attached_bytes: int | None = None
    attempt: int = 0

    @classmethod
    def of(cls, row: Mapping[str, Any], attached_bytes: int | None = None, *, rendered: bool = True) -> "State":
        """Return the state of a row, as `TaskRead` takes it."""
        data = TaskRead.model_validate(row).model_dump_json().encode("utf-8", "backslashreplace") if rendered else b""
        task = (row["id"], row["user_id"], row["version"], row["status"] in TERMINAL)
        return cls(*task, data, row["progress"], attached_bytes, row["attempt"])

    def event(self, event_id: str) -> bytes:
        """Return the state as a server-sent event. JSON escapes line breaks, so the data is one line."""
        return b"event: task\nid: %b\ndata: %b\n\n" % (event_id.encode(), self.data)

    def piece(self) -> "Piece":
        """Return the state as the stream of its task sends it."""
        return Piece(self.event(str(self.version)), self.version, ended=self.ended, state=self)


class Piece(NamedTuple):
    """Rendered events up to the number `last`; whether there are more, and whether these are the last ones.

    `state`: the one that was read, of the stream of a task.
    """

    events: bytes
    last: int
    more: bool = False
    ended: bool = False
    state: State | None = None


def cursor_of(moment: datetime) -> str:
    """Return the cursor of a moment: all changes up to it have been sent. Clients treat it as opaque."""
    return f"{(moment - NEVER) // _MICROSECOND:x}"


def moment_of(cursor: str | None) -> datetime | None:
    """Return the moment of a cursor, or None if the cursor is not valid: the client then starts anew."""
    if not cursor or not _CURSOR.fullmatch(cursor):
        return None
    try:
        return NEVER + int(cursor, 16) * _MICROSECOND
    except OverflowError:
        return None


def version_of(event_id: str | None) -> int | None:
    """Return the version in a `Last-Event-ID`, or None if it names none."""
    return int(event_id) if event_id is not None and _VERSION.fullmatch(event_id) else None


# -- One open stream ---------------------------------------------------------------------------------------------------

PING = b": ping\n\n"
# Seconds before a reading is tried again while the database is unavailable.
READ_RETRY_SECONDS = 0.5
# Seconds after which a stream is aborted whose client does not read: first for a closed stream, then for an open one.
CLOSE_GRACE_SECONDS = 1.0
STALL_SECONDS = 60.0

# The reconnection delay for EventSource in milliseconds. Random, so that clients do not all reconnect at once.
_RETRY_MS = (1000, 3000)


# Reads what is behind this number. Returns None if the database is unavailable: the stream then retries.
ReadPiece = Callable[[int], Awaitable[Piece | None]]


class News(Enum):
    """Of which news of a task a subscription to it hears."""

    STATES = "states"  # of each newer state, which it is offered: the row is read and rendered once for all
    LINES = "lines"  # that there may be log lines or output, of another attempt, or that no more will come
    CHANGES = "changes"  # that there is a newer state, whose row need not be read


@dataclass(frozen=True, slots=True)
class Credential:
    """The login or API key that opened a stream, its user, and its expiry. The stream ends with it.

    `owner`: whose tasks alone it may see, None for all.
    """

    id: UUID
    is_key: bool
    role: str
    user_id: UUID
    owner: UUID | None = None
    expires_at: datetime | None = None

    @classmethod
    def of(cls, user: Principal, expires_at: datetime | None = None) -> "Credential":
        """Return the login or API key of the user. Raises InvalidToken where they have neither.

        `expires_at` is that of a login's token; the end of an API key is read from its row.
        """
        found = user.api_key_id or user.session_id
        if found is None:
            raise InvalidToken
        return cls(found, user.api_key_id is not None, user.role, user.id, user.owner, expires_at)


class Subscription:
    """Sends what `read` finds behind the number that was sent last, whenever it hears of news, until the last piece.

    `task_ids`: the tasks of whose `news` it hears. `pause`: seconds between two readings, for what changes often.
    `closed` is set from outside, too: on revocation, shutdown, or when the client has disconnected.
    """

    __slots__ = (
        "_abort", "_is_due", "_is_paused", "_last", "_opened", "_pause", "_pending", "_read", "_sending_since", "_wake",
        "closed", "credential", "ends_at", "last_sent_at", "news", "ping_due", "task_ids",
    )  # fmt: skip

    def __init__(
        self,
        credential: Credential,
        seconds: float,
        read: ReadPiece,
        task_ids: Collection[UUID] = (),
        news: News = News.STATES,
        pause: float = 0.0,
    ) -> None:
        self.credential, self.task_ids, self.news = credential, task_ids, news
        self._read, self._pause = read, pause
        self._pending: Piece | State | None = None
        self._last = -1
        self._is_paused = self._is_due = self._opened = False
        self.closed = self.ping_due = False
        self._wake = asyncio.Event()
        self._abort: Callable[[], None] | None = None
        self._sending_since: float | None = None
        self.last_sent_at = asyncio.get_running_loop().time()
        self.ends_at = self.last_sent_at + seconds

    # -- what it has to send -----------------------------------------------------------------------------------------

    def begin(self, first: Piece) -> None:
        """Start with this piece, unless a newer state was offered while it was read."""
        self._put(first)
        if self._pause:  # streams share what is read so seldom: this piece may be of before a change
            self.tell()

    def offer(self, state: State, cursor: datetime = NEVER) -> None:  # noqa: ARG002 (for those of many tasks)
        """Add a state if it is newer than what the client has. All streams of the task hold the same one until then."""
        if state.version > self._last:
            self._pending, self._last = state, state.version
            self._wake.set()

    def tell(self) -> None:
        """Look for what comes next: there may be more, or the end. With a pause, once behind it."""
        if not self._pause:
            self._read_soon()
        elif not self._is_paused:
            self._is_paused = True
            asyncio.get_running_loop().call_later(self._pause, self._read_soon)

    def _read_soon(self) -> None:
        self._is_paused, self._is_due = False, True
        self._wake.set()

    def _put(self, piece: Piece) -> None:
        if piece.last < self._last:  # read before what was offered meanwhile
            return
        self._pending, self._last = piece if piece.events or piece.ended else None, piece.last
        self._is_due = self._is_due or piece.more

    async def _read_due(self) -> None:
        while self._pending is None and self._is_due:  # again where it heard of more while it read
            self._is_due = False
            piece = await self._read(self._last)
            if piece is None:
                asyncio.get_running_loop().call_later(READ_RETRY_SECONDS, self._read_soon)
                return
            self._put(piece)

    def _take(self) -> Piece | None:
        pending, self._pending = self._pending, None
        piece = pending.piece() if isinstance(pending, State) else pending
        if piece is not None and piece.ended:
            self.closed = True
        return piece

    # -- sending -----------------------------------------------------------------------------------------------------

    async def next(self) -> bytes | None:
        """Return the next bytes to send once there are some, None at the end."""
        while not self.closed:
            self._wake.clear()  # before looking: what comes meanwhile is looked at in the next round
            await self._read_due()
            piece = self._take()
            events = b"" if piece is None else piece.events
            if not self._opened:
                self._opened = True
                return b"retry: %d\n" % random.randint(*_RETRY_MS) + (events or b": connected\n\n")  # noqa: S311 (no secret)
            if events:
                return events
            if self.closed:
                break
            if self.ping_due:
                self.ping_due = False
                return self._ping()
            await self._wake.wait()
        return None

    async def next_piece(self) -> Piece | None:
        """Return the next piece once there is one, None at the end: for a caller that sends no events."""
        while not self.closed:
            self._wake.clear()
            await self._read_due()
            piece = self._take()
            if piece is not None:
                return piece
            await self._wake.wait()
        return None

    def close(self) -> None:
        """Stop sending. A piece in transit has CLOSE_GRACE_SECONDS to be sent."""
        if not self.closed:
            self.closed = True
            self._wake.set()
            if self._sending_since is not None and self._abort is not None:
                asyncio.get_running_loop().call_later(CLOSE_GRACE_SECONDS, self._abort_stalled)

    def tick(self, now: float, heartbeat: float) -> None:
        """Run once a second: send a heartbeat if nothing else was sent, end a stream that is stuck or too old.

        Takes the loop's time and the heartbeat's interval, both in seconds.
        """
        if now >= self.ends_at:
            self.close()
        elif self._sending_since is not None:
            if now - self._sending_since > STALL_SECONDS:
                self._abort_stalled()
        elif now - self.last_sent_at >= heartbeat:
            self.ping_due = True
            self._wake.set()

    def sending(self, abort: Callable[[], None] | None) -> None:
        """Note that a piece is being sent. `abort` closes the connection if the client does not read it."""
        self._sending_since, self._abort = asyncio.get_running_loop().time(), abort

    def sent(self) -> None:
        """Note that the piece has been sent."""
        self._sending_since, self.last_sent_at = None, asyncio.get_running_loop().time()

    def _abort_stalled(self) -> None:
        if self._sending_since is not None and self._abort is not None:
            self._abort()

    def _ping(self) -> bytes:
        return PING
