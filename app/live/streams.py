"""The states of tasks, rendered once for all streams, and the streams that send them: of one task, some or all.

Only the newest state of each task is pending in a stream, never a queue of all states. `offer` adds a state, and `next`
waits for the next piece to send. A client that reads slowly therefore gets fewer events and uses no more memory. A
stream belongs to the event loop.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from app.models.task import TERMINAL
from app.schemas.task import TaskRead

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CURSOR = re.compile(r"[0-9a-f]{1,16}")
_VERSION = re.compile(r"[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Frame:
    """`data` is the task's JSON, as in `GET /tasks/{id}`; `progress` stands in it, too, in percent."""

    task_id: UUID
    version: int
    ended: bool
    data: bytes
    progress: int = 0

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Frame":
        """Render a row, as `TaskRead` takes it."""
        shown = TaskRead.model_validate(row)
        data = shown.model_dump_json().encode("utf-8", "backslashreplace")
        return cls(shown.id, shown.version, shown.status in TERMINAL, data, shown.progress)

    def event(self, event_id: str) -> bytes:
        """Return the frame as a server-sent event. JSON escapes line breaks, so the data is one line."""
        return b"event: task\nid: %b\ndata: %b\n\n" % (event_id.encode(), self.data)


def cursor_of(moment: datetime) -> str:
    """Return the cursor of a moment: all changes up to it have been sent. Clients treat it as opaque."""
    return f"{(moment - _EPOCH) // _MICROSECOND:x}"


def moment_of(cursor: str | None) -> datetime | None:
    """Return the moment of a cursor, or None if the cursor is not valid: the client then starts anew."""
    if not cursor or not _CURSOR.fullmatch(cursor):
        return None
    try:
        return _EPOCH + int(cursor, 16) * _MICROSECOND
    except OverflowError:
        return None


def version_of(event_id: str | None) -> int | None:
    """Return the version in a `Last-Event-ID`, or None if it names none."""
    return int(event_id) if event_id is not None and _VERSION.fullmatch(event_id) else None


# -- The streams, each with the states that are pending in it ----------------------------------------------------------

PING = b": ping\n\n"
# Bytes of rendered states that a stream keeps; further states are read again when their turn comes.
HELD_BYTES = 64 * 1024
# A client with more pending tasks than this is disconnected, and resumes.
MAX_PENDING = 2000
# Tasks that are read again in one query, and the seconds before a retry while the database is unavailable.
READ_BATCH = 50
READ_RETRY_SECONDS = 0.5
# Seconds after which a stream is aborted whose client does not read: first for a closed stream, then for an open one.
CLOSE_GRACE_SECONDS = 1.0
STALL_SECONDS = 60.0

# The cursor of streams that are not resumed: a client that comes back is sent all states.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

# The reconnection delay for EventSource in milliseconds. Random, so that clients do not all reconnect at once.
_RETRY_MS = (1000, 3000)


class Reloaded(NamedTuple):
    """The states of the first `number` of the tasks; whose state is missing was deleted."""

    frames: list[Frame]
    number: int


# Reads tasks again: as many as fit into HELD_BYTES, at least one. Returns None if the database is unavailable: the
# stream then retries.
Reload = Callable[[list[UUID]], Awaitable[Reloaded | None]]


@dataclass(frozen=True, slots=True)
class Credential:
    """The login or API key that opened a stream, and its expiry. The stream ends with it."""

    id: UUID
    is_key: bool
    role: str
    expires_at: datetime | None


class Stream:
    """Base of all streams.

    `closed` is set from outside: on revocation, deletion, shutdown, or when the client has disconnected.
    """

    __slots__ = (
        "_abort",
        "_sending_since",
        "_wake",
        "closed",
        "credential",
        "ends_at",
        "last_sent_at",
        "ping_due",
        "task_ids",
        "user_id",
    )

    def __init__(self, user_id: UUID, credential: Credential, seconds: float, task_ids: Collection[UUID] = ()) -> None:
        self.user_id, self.credential = user_id, credential
        # The tasks that it follows by their ids.
        self.task_ids = task_ids
        self.closed = self.ping_due = False
        self._wake = asyncio.Event()
        self._abort: Callable[[], None] | None = None
        self._sending_since: float | None = None
        self.last_sent_at = asyncio.get_running_loop().time()
        self.ends_at = self.last_sent_at + seconds

    async def next(self) -> bytes | None:
        """Return the next piece once there is one, None at the end."""
        while not self.closed:
            self._wake.clear()  # before looking: what comes meanwhile is looked at in the next round
            await self._prepare()
            piece = self._take()
            if piece is not None:
                return piece
            if self.closed:
                break
            if self.ping_due:
                self.ping_due = False
                return self._ping()
            await self._wake.wait()
        return None

    def wake(self) -> None:
        """Let `next` look for a piece again."""
        self._wake.set()

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

    async def _prepare(self) -> None:
        """Read what `_take` needs."""

    def _take(self) -> bytes | None:
        raise NotImplementedError

    def _ping(self) -> bytes:
        return PING


def _retry_field() -> bytes:
    return b"retry: %d\n" % random.randint(*_RETRY_MS)  # noqa: S311 (no secret)


def opening(*, is_empty: bool) -> bytes:
    """Return what stands in front of the first piece, where that is an event; else it is a piece by itself."""
    return _retry_field() + (b": connected\n\n" if is_empty else b"")


class TaskStream(Stream):
    """The stream of one task: its newest state, until a final state has been sent."""

    __slots__ = ("_frame", "_opened", "_version")

    def __init__(self, user_id: UUID, credential: Credential, seconds: float, task_id: UUID) -> None:
        super().__init__(user_id, credential, seconds, [task_id])
        self._version = 0
        self._frame: Frame | None = None
        self._opened = False

    def begin(self, frame: Frame, seen: int | None) -> None:
        """Start with the current state, unless the client has already seen it."""
        if frame.version != seen:
            self.offer(frame)
            return
        self._version = max(self._version, frame.version)
        if self._frame is not None and self._frame.version == seen:
            self._frame = None

    def offer(self, frame: Frame) -> None:
        """Add a state if it is newer than what the client has."""
        if frame.version > self._version:
            self._frame, self._version = frame, frame.version
            self._wake.set()

    async def next_frame(self) -> Frame | None:
        """Return the next state once there is one, None at the end: for a caller that sends no events."""
        while True:
            self._wake.clear()
            frame = self._take_frame()
            if frame is not None or self.closed:
                return frame
            await self._wake.wait()

    def end_task(self) -> None:
        """End: the task was deleted."""
        self.close()

    def _take_frame(self) -> Frame | None:
        frame, self._frame = self._frame, None
        if frame is not None and frame.ended:
            self.closed = True
        return frame

    def _take(self) -> bytes | None:
        frame = self._take_frame()
        prefix = b"" if self._opened else opening(is_empty=frame is None)
        self._opened = True
        return prefix + (frame.event(str(frame.version)) if frame else b"") or None


class Feed(Stream):
    """The stream of all tasks of a user: the newest state of each changed task, in the order of the changes."""

    __slots__ = ("_held_bytes", "_opening", "_reload", "_waiting", "cursor")

    def __init__(
        self, user_id: UUID, credential: Credential, seconds: float, read_again: Reload, cursor: datetime
    ) -> None:
        super().__init__(user_id, credential, seconds)
        self._reload = read_again
        self._opening = b""
        # For each task, its state and the cursor from which a client may resume that has this state and all before it.
        self._waiting: dict[UUID, tuple[Frame | None, datetime]] = {}
        self._held_bytes = 0
        self.cursor = cursor

    def open_with(self, since: datetime | None, *, reset: bool) -> None:
        """Set the first piece: a cursor before any event, or `reset` if too many changes were missed."""
        again = b"event: reset\ndata: {}\n" if reset else b": connected\n"
        self._opening = _retry_field() + again + b"id: %b\n\n" % cursor_of(since or self.cursor).encode()

    def offer(self, frame: Frame, cursor: datetime) -> None:
        """Add a state."""
        self._put(frame.task_id, frame, cursor)

    def catch_up(self, task_ids: Iterable[UUID], since: datetime) -> None:
        """Queue missed tasks, to be read when their turn comes. Tasks that already wait have newer states."""
        later, self._waiting = self._waiting, {}
        for task_id in task_ids:
            if task_id not in later:
                self._waiting[task_id] = (None, since)
        self._waiting |= later
        self._wake.set()

    def advance(self, cursor: datetime) -> None:
        """Note that every change up to this cursor has been offered."""
        self.cursor = max(self.cursor, cursor)

    async def _prepare(self) -> None:
        if not self._opening and self._is_unread():
            await self._reload_first()

    def _put(self, task_id: UUID, frame: Frame | None, cursor: datetime) -> None:
        """Queue a state at the end, even if an older state of the task waits.

        The cursor of the task must not skip the states in between.
        """
        before, _ = self._waiting.pop(task_id, (None, cursor))
        self._held_bytes -= len(before.data) if before else 0
        if frame is not None and self._waiting and self._held_bytes + len(frame.data) > HELD_BYTES:
            frame = None
        self._held_bytes += len(frame.data) if frame else 0
        self._waiting[task_id] = (frame, cursor)
        if len(self._waiting) > MAX_PENDING:
            self.close()
        self._wake.set()

    def _is_unread(self) -> bool:
        first = next(iter(self._waiting.values()), None)
        return first is not None and first[0] is None

    async def _reload_first(self) -> None:
        """Read the first queued tasks whose state is not kept, several in one query."""
        ids: list[UUID] = []
        for task_id, (frame, _) in self._waiting.items():
            if frame is not None or len(ids) == READ_BATCH:
                break
            ids.append(task_id)
        asked = {task_id: self._waiting[task_id] for task_id in ids}
        reloaded = await self._reload(ids)
        if reloaded is None:
            asyncio.get_running_loop().call_later(READ_RETRY_SECONDS, self.wake)
            return
        read = {frame.task_id: frame for frame in reloaded.frames}
        head: dict[UUID, tuple[Frame | None, datetime]] = {}
        for task_id in ids[: reloaded.number]:
            waits = asked[task_id]
            if self._waiting.get(task_id) is not waits:
                continue  # a newer state has arrived: another tuple, even where its frame was not kept
            del self._waiting[task_id]
            if task_id in read:  # otherwise it was deleted
                head[task_id] = (read[task_id], waits[1])
                self._held_bytes += len(read[task_id].data)
        self._waiting = head | self._waiting
        if self._is_unread():  # none of these can be sent: the next ones have to be read
            self.wake()

    def _take(self) -> bytes | None:
        if self._opening:
            opening, self._opening = self._opening, b""
            return opening
        pieces: list[bytes] = []
        size = 0
        while self._waiting and size < HELD_BYTES:
            task_id = next(iter(self._waiting))
            frame, cursor = self._waiting[task_id]
            if frame is None:
                break
            del self._waiting[task_id]
            self._held_bytes -= len(frame.data)
            pieces.append(frame.event(cursor_of(cursor)))
            size += len(pieces[-1])
        return b"".join(pieces) or None

    def _ping(self) -> bytes:
        if self._waiting:
            return PING
        return b": ping\nid: %b\n\n" % cursor_of(self.cursor).encode()


class RowsStream(Feed):
    """The stream of some tasks, which a page shows: the newest state of each, for as long as the page is open."""

    __slots__ = ()

    def __init__(
        self, user_id: UUID, credential: Credential, seconds: float, task_ids: Collection[UUID], read_again: Reload
    ) -> None:
        super().__init__(user_id, credential, seconds, read_again, NEVER)
        self.task_ids = task_ids
        self.open_with(None, reset=False)
        self.catch_up(task_ids, NEVER)

    def offer(self, frame: Frame, cursor: datetime = NEVER) -> None:
        """Add a state."""
        super().offer(frame, cursor)

    def end_task(self) -> None:
        """A task was deleted: the others go on."""
