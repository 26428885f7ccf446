"""The log lines of one task, of which the newest TASK_LOG_BYTES are kept. Written by the attempt that logs them."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from app.db.sql import attempts, task_logs as statements
from app.ddl.sizes import LOG_LINE_BYTES
from app.models.task_log import SEQ_BITS

# Lines are deleted down to so much of the limit: so a look at all of them is paid for by many new ones.
KEPT_SHARE = 0.75
NONE = -1


class LogLine(NamedTuple):
    """A line as it is stored: secrets hidden, bounded; `at` in RFC 3339, `fields` as JSON text."""

    at: str
    level: int
    logger: str
    message: str
    fields: str

    @property
    def bytes(self) -> int:
        return LOG_LINE_BYTES + sum(len(text.encode()) for text in (self.logger, self.message, self.fields))


class KeptLogs:
    """Of one attempt: numbers its lines, and keeps the task's within `limit` bytes. For one thread at a time.

    Lines of a lost attempt may be written as well, while the task exists: nothing but lines depends on them.
    """

    def __init__(self, task_id: UUID, attempt: int, limit: int) -> None:
        self._task_id, self._attempt, self._limit = task_id, attempt, limit
        self._number = attempt << SEQ_BITS
        # Of the first attempt nothing can be stored yet; of a later one it is read. Lines of a lost attempt that are
        # written meanwhile are not counted in here: the next look at all of them finds them.
        self._stored = 0 if attempt == 1 else None

    def numbered(self, lines: Sequence[LogLine]) -> list[tuple[int, LogLine]]:
        """The lines with their numbers: asked for once for each line, and the same at each try to write it."""
        first = self._number + 1
        self._number += len(lines)
        return list(enumerate(lines, first))

    def write(self, db: attempts.Executor, lines: Sequence[tuple[int, LogLine]]) -> bool:
        """Write lines that take at most the limit together. False where the task was deleted.

        Safe to run again after a lost reply.
        """
        more = sum(line.bytes for _, line in lines)
        if self._stored is None:
            self._stored = statements.stored_bytes(db, self._task_id)
        through = NONE
        if self._stored + more > self._limit:
            keep = max(0, int(self._limit * KEPT_SHARE) - more)
            found = statements.beyond(db, self._task_id, keep)
            through = NONE if found is None else found
        rows = [(number, *line) for number, line in lines]
        if not statements.write(db, self._task_id, self._attempt, rows, through):
            return False
        self._stored += more
        if through != NONE:
            self._stored = None  # what is left is counted the next time
        return True
