"""Streams of what is read piece by piece: log lines and output of a task, and the states of a workflow.

Of each one piece is kept, and the next one is read once that is sent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from uuid import UUID

from app.live.streams import READ_RETRY_SECONDS, Credential, Stream, opening
from app.models.task import SEQ_BITS, TaskLog, TaskOutput
from app.schemas.task import TaskLogRead, TaskOutputRead
from app.services.tasks.task_history import SoFar

# Between two states of a workflow.
PAUSE_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Piece:
    """Rendered events up to the number `last`; whether there are more, and whether these are the last ones."""

    events: bytes
    last: int
    more: bool = False
    ended: bool = False


# Reads what is behind this number. Returns None if the database is unavailable: the stream then retries.
ReadPiece = Callable[[int], Awaitable[Piece | None]]


def event_of(line: TaskLog) -> bytes:
    """Return the line as a server-sent event. JSON escapes line breaks, so the data is one line."""
    data = TaskLogRead.model_validate(line).model_dump_json().encode("utf-8", "backslashreplace")
    return b"event: log\nid: %d\ndata: %b\n\n" % (line.seq, data)


def output_piece(found: SoFar[TaskOutput], after: int) -> Piece:
    """Return what follows number `after` of a task's output: its chunks, with a reset before each new attempt.

    The reset has the number before those of its attempt. Where nothing was emitted yet, a reader stands at that number
    too: the attempt after it is another one to them.
    """
    events, seen = list[bytes](), after >> SEQ_BITS
    for chunk in found.items:
        events += [*_reset(seen, chunk.attempt), _event_of_chunk(chunk)]
        seen = chunk.attempt
    last = found.items[-1].seq if found.items else after
    if not found.more and found.attempt > seen:  # all of the attempts before it is read
        events += _reset(seen, found.attempt)
        last = found.attempt << SEQ_BITS
    return Piece(b"".join(events), last, found.more, found.ended)


def _reset(seen: int, attempt: int) -> list[bytes]:
    if not 0 < seen < attempt:
        return []
    return [b'event: reset\nid: %d\ndata: {"attempt":%d}\n\n' % (attempt << SEQ_BITS, attempt)]


def _event_of_chunk(chunk: TaskOutput) -> bytes:
    data = TaskOutputRead.model_validate(chunk).model_dump_json().encode("utf-8", "backslashreplace")
    return b"event: output\nid: %d\ndata: %b\n\n" % (chunk.seq, data)


class PieceStream(Stream):
    """Sends what is behind `begin`'s piece, until one is the last: the log lines of a task, or its output."""

    __slots__ = ("_is_due", "_last", "_opened", "_piece", "_read")

    def __init__(
        self, user_id: UUID, credential: Credential, seconds: float, task_ids: Collection[UUID], read: ReadPiece
    ) -> None:
        super().__init__(user_id, credential, seconds, task_ids)
        self._read = read
        self._piece: Piece | None = None
        self._last = 0
        self._is_due = self._opened = False

    def begin(self, first: Piece) -> None:
        """Start with this piece."""
        self._put(first)

    def tell(self) -> None:
        """There may be more, or the end."""
        self._is_due = True
        self.wake()

    async def _prepare(self) -> None:
        while self._piece is None and self._is_due:  # again where it was told of more while it read
            self._is_due = False
            piece = await self._read(self._last)
            if piece is None:
                asyncio.get_running_loop().call_later(READ_RETRY_SECONDS, self.tell)
                return
            self._put(piece)

    def _put(self, piece: Piece) -> None:
        self._piece, self._last = piece if piece.events or piece.ended else None, piece.last
        self._is_due = self._is_due or piece.more

    def _take(self) -> bytes | None:
        piece, self._piece = self._piece, None
        if piece is not None and piece.ended:
            self.closed = True
        events = piece.events if piece is not None else b""
        prefix = b"" if self._opened else opening(is_empty=not events)
        self._opened = True
        return prefix + events or None


class WorkflowStream(PieceStream):
    """Sends the states of a workflow, at most four a second, until it has ended. Its `last` is the version."""

    __slots__ = ("_is_told",)

    def __init__(
        self, user_id: UUID, credential: Credential, seconds: float, task_ids: Collection[UUID], read: ReadPiece
    ) -> None:
        super().__init__(user_id, credential, seconds, task_ids, read)
        self._is_told = False

    def begin(self, first: Piece) -> None:
        """Start with this piece, and look once more: another stream may have read it, before a change."""
        super().begin(first)
        self.task_changed()

    def task_changed(self) -> None:
        """One of its tasks has another state, or was deleted."""
        if not self._is_told:
            self._is_told = True
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._read_again)

    def _read_again(self) -> None:
        self._is_told = False
        self.tell()
