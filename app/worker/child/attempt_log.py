"""The log of one attempt: lines wait in memory, in bounds, until the flusher or the end of the attempt writes them.

The body only adds a line to a list. Where it is faster than the database, the oldest lines that wait are dropped, and a
line says how many. Whatever fails here fails neither the body nor its end.

First come lines that are begun and not ended, and private keys that are printed line by line.
"""

import logging
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import ClassVar, Generic, NamedTuple, TypeVar
from uuid import UUID

from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.core.redacted_text import PRIVATE_KEY_BEGINS, PRIVATE_KEY_ENDS
from app.core.redaction import MASK
from app.db.outage import first_line, is_outage, is_passing
from app.db.sql import prepared
from app.services.tasks.task_history import KeptLogs, LogLine
from app.worker.child.log_entries import MESSAGE_BYTES, SEARCHED, Entry, line_of, printed

logger = logging.getLogger(__name__)

Source = TypeVar("Source", bound=Hashable)


class BegunLines(Generic[Source]):
    """The lines that are begun and not ended, one for each source. Not for several threads at once.

    After a carriage return a line is written anew, as on a terminal: of a progress bar the last state is left.
    """

    def __init__(self, longest: int) -> None:
        """`longest` is how many characters of a line are kept."""
        self._longest = longest
        self._begun: dict[Source, str] = {}

    def __len__(self) -> int:
        return len(self._begun)

    def add(self, source: Source, text: str) -> list[str]:
        """Return the lines that `text` ends; keep what it begins until its end comes."""
        *ended, begun = text.split("\n")
        lines = [_last_state(self._begun.pop(source, "") + part) for part in ended]
        if begun:
            line = self._begun.pop(source, "") + begun
            before, again, after = line.rpartition("\r")
            # A return at the end has not overwritten anything yet.
            line = after if after or not again else before.rpartition("\r")[2] + "\r"
            self._begun[source] = line[: self._longest]
        return [line[: self._longest] for line in lines]

    def end(self) -> Iterator[tuple[Source, str]]:
        """Yield what was begun as lines, and forget it."""
        begun, self._begun = self._begun, {}
        for source, text in begun.items():
            yield source, _last_state(text)


def _last_state(line: str) -> str:
    return line.removesuffix("\r").rpartition("\r")[2]


# -- Hides a private key that is printed line by line: nothing but its first line tells what the others are ------------

# A stream and a thread that prints to it.
PrintSource = tuple[str, int]
# More than the largest keys have. Who only mentions how a key begins loses no more than these lines.
LONGEST_KEY = 300
_KEY_BEGINS = re.compile(PRIVATE_KEY_BEGINS)
_KEY_ENDS = re.compile(PRIVATE_KEY_ENDS)


class PrivateKeyLines:
    """Of one attempt. Not thread-safe."""

    def __init__(self) -> None:
        # The sources that are in the middle of a key, and how many of its lines may follow.
        self._left: dict[PrintSource, int] = {}

    def hide(self, source: PrintSource, line: str) -> str:
        """Return the line without its part of a key that an earlier one began. A key that begins in it is left."""
        if left := self._left.pop(source, 0):
            end = _KEY_ENDS.search(line)
            if end is None:
                self._left[source] = left - 1
                return MASK
            line = MASK + line[end.end() :]
        if "-----BEGIN " in line:  # most lines are through here
            *before, last = _KEY_BEGINS.split(line)
            if before and not _KEY_ENDS.search(last):
                self._left[source] = LONGEST_KEY
        return line


# -- The log itself: what waits, within which bounds, and how it is written --------------------------------------------

# What waits in memory at most, besides the bytes of TASK_LOG_BYTES.
MAX_WAITING = 10_000
# Lines that are begun and not ended: one for each stream and thread.
MAX_BEGUN = 100
LONGEST_LINE = SEARCHED * MESSAGE_BYTES
# How long an end is tried again with its lines, where something other than an outage passes. Usually it meets both (a
# lock on the row); what meets the lines alone must not cost the end.
PATIENT_SECONDS = 20.0
# The logger of the line that says what is missing.
OWN = "task_service"


class Bounds(NamedTuple):
    """`level` and `bytes` as in TASK_LOG_LEVEL and TASK_LOG_BYTES."""

    level: int
    bytes: int


class AttemptLog:
    """`wake` is called when lines begin to wait. Each attempt has one, and most never log: made in no time."""

    what: ClassVar[str] = "log lines"

    __slots__ = (
        "_begun", "_closed", "_dropped", "_is_waiting", "_kept", "_lock", "_patient_until", "_private_keys", "_size",
        "_unwritten", "_waiting", "_wake", "_writing", "attempt", "bounds", "task_id",
    )  # fmt: skip

    def __init__(self, task_id: UUID, attempt: int, bounds: Bounds, wake: Callable[["AttemptLog"], None]) -> None:
        self.task_id, self.attempt, self.bounds = task_id, attempt, bounds
        self._wake = wake
        self._waiting: deque[Entry] | None = None
        self._closed = False

    def _open(self) -> None:
        """Make what only an attempt needs that logs."""
        with _opening:
            if self._waiting is None:
                self._make()

    def _make(self) -> None:
        # Re-entrant: a signal's handler, which may log, may interrupt its holder.
        self._lock = threading.RLock()
        self._writing = threading.Lock()
        self._begun: BegunLines[PrintSource] = BegunLines(LONGEST_LINE)
        self._private_keys = PrivateKeyLines()
        self._unwritten: deque[list[tuple[int, LogLine]]] = deque()  # batches
        self._size = self._dropped = 0
        self._is_waiting = False
        self._patient_until = math.inf
        self._kept: KeptLogs | None = KeptLogs(self.task_id, self.attempt, self.bounds.bytes)
        self._waiting = deque()  # last: another thread takes it for open then

    # In the body's threads

    def add(self, entry: Entry) -> None:
        """Keep a line. Never waits for the database."""
        if self._waiting is None:
            self._open()
        with self._lock:
            if not self._closed:
                self._add(entry)

    def print(self, stream: str, level: int, text: str) -> None:
        """Keep the lines that `text` ends, and what it begins until its end comes."""
        if self._waiting is None:
            self._open()
        source = (stream, threading.get_ident())
        with self._lock:
            if self._closed:
                return
            for line in self._begun.add(source, text):
                self._end_line(source, level, line)
            if len(self._begun) > MAX_BEGUN:
                self._end_lines()

    def _end_lines(self) -> None:
        for source, line in self._begun.end():
            self._end_line(source, STREAM_LEVELS[source[0]], line)

    def _end_line(self, source: PrintSource, level: int, line: str) -> None:
        self._add(printed(time.time(), level, source[0], self._private_keys.hide(source, line)))

    def _add(self, entry: Entry) -> None:
        assert self._waiting is not None
        self._waiting.append(entry)
        self._size += entry.size
        while len(self._waiting) > MAX_WAITING or (self._size > self.bounds.bytes and len(self._waiting) > 1):
            self._size -= self._waiting.popleft().size
            self._dropped += 1
        if not self._is_waiting:
            self._is_waiting = True
            self._wake(self)

    # Writing

    def close(self) -> None:
        """Add nothing any more: the body has ended. What waits stays until it is written."""
        if self._waiting is None:
            self._closed = True  # a thread that goes on finds it so
            return
        with self._lock:
            if not self._closed:
                self._end_lines()
                self._closed = True
                self._patient_until = time.monotonic() + PATIENT_SECONDS

    @property
    def is_open(self) -> bool:
        """Return whether the body has logged anything."""
        return self._waiting is not None

    def write(self, db: prepared.PreparedConnection) -> None:
        """Write the lines that wait. Raises SQLAlchemy's errors; the lines are then still there for the next try.

        Returns once they are committed, also those that another thread writes at this moment.
        """
        if self._waiting is None:
            return
        with self._writing:
            # What was taken before, and could not be written, goes first: meanwhile newer lines wait in bounds.
            if not self._unwritten and not self._take():
                return
            try:
                if self._kept is not None and not self._kept.write(db, self._unwritten[0]):
                    self._kept = None  # the task was deleted
            except IntegrityError:
                self._kept = None  # deleted at this moment
            self._unwritten.popleft()

    def write_rest(self, db: prepared.PreparedConnection) -> None:
        """Write all of them, before the statement that ends the attempt.

        Raises an outage and, PATIENT_SECONDS long, what else passes: the lines are then still there.
        """
        try:
            for _ in range(2):  # what could not be written before, and what has waited meanwhile
                self.write(db)
        except DBAPIError as error:
            if is_outage(error) or (is_passing(error) and time.monotonic() < self._patient_until):
                raise
            self.give_up(first_line(error))

    def hide_secrets(self) -> None:
        """Hide the secrets in what waits to be written later, of a body that has ended.

        While the request exists: with it the values of the secret arguments are forgotten.
        """
        if self._closed:
            with self._writing:
                self._take()

    def give_up(self, why: str) -> None:
        """Forget the lines that wait, and say so in the worker's log."""
        with self._writing, self._lock:
            assert self._waiting is not None
            number = len(self._waiting) + sum(map(len, self._unwritten))
            self._waiting.clear()
            self._unwritten.clear()
            self._size = 0
            self._is_waiting = False
        logger.warning("%d log lines of task %s were not written: %s", number, self.task_id, why)

    def _take(self) -> bool:
        """Make a batch of what waits, ready to be written. Returns whether there is anything."""
        with self._lock:
            entries, self._waiting = self._waiting, deque()
            dropped, self._dropped, self._size = self._dropped, 0, 0
            self._is_waiting = False
        if not entries or self._kept is None:
            return False
        lines = [line for entry in entries if (line := self._line(entry))]
        first, free = len(lines), self.bounds.bytes - MESSAGE_BYTES
        # From the newest: as they are stored they take more than in memory, and one batch must fit into the limit.
        while first and lines[first - 1].bytes <= free:
            first -= 1
            free -= lines[first].bytes
        if dropped := dropped + first:
            text = f"{dropped} lines before this one are missing: they came faster than they could be written"
            lines[:first] = [line_of(printed(entries[0].at, logging.WARNING, OWN, text))]
        if lines:
            self._unwritten.append(self._kept.numbered(lines))
        return bool(lines)

    def _line(self, entry: Entry) -> LogLine | None:
        try:
            return line_of(entry)
        except SoftTimeLimitExceeded:
            raise  # by a signal
        except Exception:
            logger.exception("a log line of task %s was not kept", self.task_id)
            return None


# Of threads that begin to log at the same time.
_opening = threading.RLock()
STREAM_LEVELS = {"stdout": logging.INFO, "stderr": logging.WARNING}
