"""What one open stream still has to send: the newest states, never a queue of all of them.

Belongs to the event loop. `offer` puts in, `next` waits for the next piece to send; in between only the newest state of
each task is kept, so a client that reads slowly gets fewer events and costs no more.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from app.live.frames import Frame, cursor_of

PING = b": ping\n\n"
# Rendered states that a stream holds for itself; the rest is read again when its turn comes.
HELD_BYTES = 64 * 1024
# A client that is further behind is let go, and resumes.
MAX_PENDING = 2000
# Read again at a time, and after so long where the database did not answer.
READ_BATCH = 50
READ_RETRY_SECONDS = 0.5
# A closed stream whose client takes nothing is cut off after so many seconds, an open one after more.
CLOSE_GRACE_SECONDS = 1.0
STALL_SECONDS = 60.0

# For EventSource. Not the same for all, or they would all come back at once after a deploy.
_RETRY_MS = (1000, 3000)

# None where the database does not answer: it is asked again.
Reload = Callable[[list[UUID]], Awaitable[list[Frame] | None]]


@dataclass(frozen=True, slots=True)
class Credential:
    """By what a stream was opened, and until when that is good: it ends with it."""

    id: UUID
    is_key: bool
    role: str
    expires_at: datetime | None


class Stream:
    """Base of both kinds. `closed` from outside: revoked, deleted, shut down, or the client has gone."""

    __slots__ = (
        "_abort",
        "_sending_since",
        "_wake",
        "closed",
        "credential",
        "ends_at",
        "last_sent_at",
        "ping_due",
        "user_id",
    )

    def __init__(self, user_id: UUID, credential: Credential, seconds: float) -> None:
        self.user_id, self.credential = user_id, credential
        self.closed = self.ping_due = False
        self._wake = asyncio.Event()
        self._abort: Callable[[], None] | None = None
        self._sending_since: float | None = None
        self.last_sent_at = asyncio.get_running_loop().time()
        self.ends_at = self.last_sent_at + seconds

    async def next(self) -> bytes | None:
        """The next piece, once there is one; None at the end."""
        while not self.closed:
            await self._prepare()
            piece = self._take()
            if piece is not None:
                return piece
            if self.closed:
                break
            if self.ping_due:
                self.ping_due = False
                return self._ping()
            self._wake.clear()
            await self._wake.wait()
        return None

    def wake(self) -> None:
        self._wake.set()

    def close(self) -> None:
        """Nothing more is sent; what is in the middle of being sent has a second."""
        if not self.closed:
            self.closed = True
            self._wake.set()
            if self._sending_since is not None and self._abort is not None:
                asyncio.get_running_loop().call_later(CLOSE_GRACE_SECONDS, self._cut)

    def tick(self, now: float, heartbeat: float) -> None:
        """Once a second: a sign of life where nothing else was sent; the end of one that is stuck, or old."""
        if now >= self.ends_at:
            self.close()
        elif self._sending_since is not None:
            if now - self._sending_since > STALL_SECONDS:
                self._cut()
        elif now - self.last_sent_at >= heartbeat:
            self.ping_due = True
            self._wake.set()

    def sending(self, abort: Callable[[], None] | None) -> None:
        """Around each piece: who does not take it can be cut off."""
        self._sending_since, self._abort = asyncio.get_running_loop().time(), abort

    def sent(self) -> None:
        self._sending_since, self.last_sent_at = None, asyncio.get_running_loop().time()

    def _cut(self) -> None:
        if self._sending_since is not None and self._abort is not None:
            self._abort()

    async def _prepare(self) -> None:
        """Whatever `_take` needs to be read before."""

    def _take(self) -> bytes | None:
        raise NotImplementedError

    def _ping(self) -> bytes:
        return PING


def _retry_field() -> bytes:
    return b"retry: %d\n" % random.randint(*_RETRY_MS)  # noqa: S311 (no secret)


class TaskStream(Stream):
    """One task's: its newest state, until a terminal one was sent."""

    __slots__ = ("_frame", "_opened", "_version", "task_id")

    def __init__(self, user_id: UUID, credential: Credential, seconds: float, task_id: UUID) -> None:
        super().__init__(user_id, credential, seconds)
        self.task_id = task_id
        self._version = 0
        self._frame: Frame | None = None
        self._opened = False

    def begin(self, frame: Frame, seen: int | None) -> None:
        """With the current state, unless that is what the client has seen."""
        if frame.version != seen:
            self.offer(frame)
            return
        self._version = max(self._version, frame.version)
        if self._frame is not None and self._frame.version == seen:
            self._frame = None

    def offer(self, frame: Frame) -> None:
        """A state that was read. What is not newer than what the client has is none."""
        if frame.version > self._version:
            self._frame, self._version = frame, frame.version
            self._wake.set()

    def _take(self) -> bytes | None:
        frame, self._frame = self._frame, None
        if frame is not None and frame.ended:
            self.closed = True
        prefix = b"" if self._opened else _retry_field() + (b"" if frame else b": connected\n\n")
        self._opened = True
        return prefix + (frame.event(str(frame.version)) if frame else b"") or None


class Feed(Stream):
    """All of a user's tasks: the newest state of each that has changed, in the order of the changes."""

    __slots__ = ("_held_bytes", "_opening", "_reload", "_waiting", "cursor")

    def __init__(
        self, user_id: UUID, credential: Credential, seconds: float, read_again: Reload, cursor: datetime
    ) -> None:
        super().__init__(user_id, credential, seconds)
        self._reload = read_again
        self._opening = b""
        # Each with the cursor from which a client may resume that has it and all before it.
        self._waiting: dict[UUID, tuple[Frame | None, datetime]] = {}
        self._held_bytes = 0
        self.cursor = cursor

    def open_with(self, since: datetime | None, *, reset: bool) -> None:
        """The first piece: a cursor before any event; `reset` where too much was missed to be told."""
        again = b"event: reset\ndata: {}\n" if reset else b": connected\n"
        self._opening = _retry_field() + again + b"id: %b\n\n" % cursor_of(since or self.cursor).encode()

    def offer(self, frame: Frame, cursor: datetime) -> None:
        self._put(frame.task_id, frame, cursor)

    def catch_up(self, task_ids: Iterable[UUID], since: datetime) -> None:
        """Have these read when their turn comes; those that wait already are newer."""
        later, self._waiting = self._waiting, {}
        for task_id in task_ids:
            if task_id not in later:
                self._waiting[task_id] = (None, since)
        self._waiting |= later
        self._wake.set()

    def advance(self, cursor: datetime) -> None:
        """Everything up to here has been offered."""
        self.cursor = max(self.cursor, cursor)

    async def _prepare(self) -> None:
        if not self._opening and self._is_unread():
            await self._reload_first()

    def _put(self, task_id: UUID, frame: Frame | None, cursor: datetime) -> None:
        """At the end, also where an older state of it waits: what follows that one must not be skipped by a cursor."""
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
        """Read what stands at the head and is not held, a few together."""
        ids: list[UUID] = []
        for task_id, (frame, _) in self._waiting.items():
            if frame is not None or len(ids) == READ_BATCH:
                break
            ids.append(task_id)
        cursors = {task_id: self._waiting[task_id][1] for task_id in ids}
        frames = await self._reload(ids)
        if frames is None:
            asyncio.get_running_loop().call_later(READ_RETRY_SECONDS, self.wake)
            return
        read = {frame.task_id: frame for frame in frames}
        head: dict[UUID, tuple[Frame | None, datetime]] = {}
        for task_id in ids:
            waits = self._waiting.get(task_id)
            if waits is None or waits[0] is not None or waits[1] != cursors[task_id]:
                continue  # a newer state has come meanwhile
            del self._waiting[task_id]
            if task_id in read:  # else it was deleted
                head[task_id] = (read[task_id], waits[1])
                self._held_bytes += len(read[task_id].data)
        self._waiting = head | self._waiting

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
