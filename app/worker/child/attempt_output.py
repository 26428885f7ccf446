"""What one attempt emits: chunks wait in memory until the flusher or the end of the attempt writes them.

The body only adds a chunk to a list. Nothing is dropped: what waits has TASK_OUTPUT_BYTES at most, beyond which `add`
raises. Each row has its number from the start, so that it may be written twice and is there once.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any, ClassVar

from sqlalchemy.exc import DBAPIError

from app.core.json_text import dump_json
from app.db.outage import first_line, is_passing
from app.db.sql import attached_rows as statements, prepared
from app.ddl.terms import OUTPUT_ROW_BYTES
from app.errors import AttemptLost, OutputTooLarge, TaskCancelled
from app.models.task import SEQ_BITS
from app.services.execution.attempts import CurrentAttempt, check_bytes, check_name, to_json

logger = logging.getLogger(__name__)

WHAT = "chunk of output"
# Of a text, so many characters in one piece; and the bytes from which no more texts are joined to a row. A page of the
# API and a read of a stream hold several rows.
PIECE_CHARACTERS, JOINED_BYTES = 8 * 1024, 16 * 1024
# What one statement writes.
BATCH_ROWS, BATCH_BYTES = 1000, 256 * 1024


class Emitted:
    """A row that waits: one JSON value, or texts that were emitted one behind the other."""

    __slots__ = ("at", "bytes", "parts", "seq", "stream")

    def __init__(self, seq: int, stream: str, part: str, size: int) -> None:
        self.seq, self.stream = seq, stream
        self.at = time.time()
        self.parts = [part]
        self.bytes = size

    def as_written(self) -> statements.Chunk:
        text = self.parts[0] if len(self.parts) == 1 else f'"{"".join(part[1:-1] for part in self.parts)}"'
        return statements.Chunk(
            self.seq, self.stream, datetime.fromtimestamp(self.at, UTC).isoformat(), text, self.bytes
        )  # fmt: skip


class AttemptOutput:
    """Of one attempt of a task that has `stored` bytes already. `wake` is called when rows begin to wait."""

    what: ClassVar[str] = "chunks of output"

    def __init__(
        self, current: CurrentAttempt, stored: int, limit: int, wake: Callable[["AttemptOutput"], None]
    ) -> None:  # fmt: skip
        self.task_id = current.task_id
        self._current, self._limit, self._wake = current, limit, wake
        # Re-entrant: a signal's handler, which may emit, may interrupt its holder.
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._waiting: deque[Emitted] = deque()
        # The last row, while texts may still be joined to it.
        self._open: Emitted | None = None
        self._seq = current.attempt << SEQ_BITS
        self._bytes = stored
        self._is_waiting = False
        # Those that were named, and what a row of each counts besides its chunk.
        self._streams: dict[str, int] = {}
        # What `add` raises from now on.
        self._stop: Callable[[], BaseException] | None = None

    # In the body's threads

    def add(self, chunk: Any, stream: str) -> None:
        """Keep a chunk. Never waits for the database.

        Raises OutputTooLarge, ResultTooLarge, TypeError or ValueError for what is not JSON or is no name of a stream;
        TaskCancelled, AttemptLost. Nothing of a chunk is kept where this raises.
        """
        if stream not in self._streams:
            check_name(stream, "stream")
            self._streams[stream] = OUTPUT_ROW_BYTES + len(stream.encode())
        if isinstance(chunk, str):
            self._add(stream, [dump_json(chunk)] if len(chunk) <= PIECE_CHARACTERS else pieces_of(chunk), is_text=True)
        else:
            self._add(stream, [json_of(chunk)], is_text=False)

    def _add(self, stream: str, parts: list[str], *, is_text: bool) -> None:
        with self._lock:
            if self._stop is not None:
                raise self._stop()
            row = self._open
            is_joined = (
                is_text and row is not None and row.stream == stream and len(parts) == 1 and row.bytes < JOINED_BYTES
            )
            of_row = self._streams[stream]
            size = len(parts[0]) - 2 if is_joined else of_row * len(parts) + sum(map(len, parts))
            if self._bytes + size > self._limit:
                raise OutputTooLarge(
                    f"the task would have emitted {self._bytes + size} bytes, TASK_OUTPUT_BYTES allows {self._limit}"
                )
            self._bytes += size
            if is_joined and row is not None:
                row.parts.append(parts[0])
                row.bytes += size
            else:
                for part in parts:
                    self._seq += 1
                    self._waiting.append(Emitted(self._seq, stream, part, of_row + len(part)))
                self._open = self._waiting[-1] if is_text else None
            if not self._is_waiting:
                self._is_waiting = True
                self._wake(self)

    # Writing

    def close(self) -> None:
        """Add nothing any more: the body has ended. What waits stays until it is written."""
        with self._lock:
            self._stop = lambda: AttemptLost("the body has ended")

    def write(self, db: prepared.PreparedConnection) -> None:
        """Write the rows that wait now. Raises SQLAlchemy's errors; the rows are then still there for the next try.

        Returns once they are committed, also those that another thread writes at this moment.
        """
        with self._writing:
            with self._lock:
                last, self._is_waiting = self._seq, False
            while batch := self._batch(last):
                ends_itself = self._current.ends_itself
                cancellation = statements.write_output(
                    db, self.task_id, self._current.attempt, batch, has_ended=ends_itself
                )
                if cancellation is None and self._current.ends_itself and not ends_itself:
                    continue  # the body has ended its attempt meanwhile
                if cancellation is None:
                    self._forget(AttemptLost)
                    return
                if cancellation[0] is not None and self._stop is None:
                    self._stop = TaskCancelled
                with self._lock:
                    for _ in batch:
                        self._waiting.popleft()

    def write_rest(self, db: prepared.PreparedConnection, *, must: bool = False) -> None:
        """Write all of them, before the statement that ends the attempt.

        Raises an outage and what else passes: the rows are then still there. What the database refuses is forgotten,
        and the worker's log says so; with `must` it raises that too.
        """
        try:
            self.write(db)
        except DBAPIError as error:
            if is_passing(error):
                raise
            number = len(self._waiting)
            self._forget(AttemptLost)
            logger.warning(
                "%d chunks of output of task %s were not written: %s", number, self.task_id, first_line(error)
            )
            if must:
                raise

    def give_up(self, why: str) -> None:
        """Keep the rows that the flusher could not write: the end of the attempt tries again, and fails with them."""
        self._is_waiting = True  # the flusher does not
        logger.warning("chunks of output of task %s wait for the end of the attempt: %s", self.task_id, why)

    def _batch(self, last: int) -> list[statements.Chunk]:
        """Return the first rows that wait, up to this number: as many as one statement writes.

        No text is joined to them any more.
        """
        batch: list[statements.Chunk] = []
        size = 0
        with self._lock:
            self._open = None
            for row in islice(self._waiting, BATCH_ROWS):
                size += row.bytes
                if row.seq > last or (batch and size > BATCH_BYTES):
                    break
                batch.append(row.as_written())
        return batch

    def _forget(self, stop: type[BaseException]) -> None:
        with self._lock:
            self._waiting.clear()
            self._open, self._stop = None, stop


def pieces_of(text: str) -> list[str]:
    """Return the parts of a long text, each as JSON text."""
    return [dump_json(text[at : at + PIECE_CHARACTERS]) for at in range(0, len(text), PIECE_CHARACTERS)]


def json_of(chunk: Any) -> str:
    """Return a chunk as JSON text. Raises ResultTooLarge, TypeError, ValueError."""
    try:
        text = dump_json(chunk)  # most are plain JSON, for which this is a third of the other's time
    except (TypeError, ValueError):
        return dump_json(to_json(chunk, WHAT))
    check_bytes(len(text), WHAT)
    return text
