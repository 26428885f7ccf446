"""What runs of a task leave behind: attempts, steps, log lines and output, in pages, oldest first.

Log lines are written here too, of which the newest TASK_LOG_BYTES are kept. A reader that follows a task reads its
lines and its output piece by piece, with whether there will be more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, bindparam, delete, exists, func, literal, select
from sqlalchemy.orm import Session

from app.db.listing import MAX_PAGE_BYTES, Listing, Page
from app.db.sql import attached_rows as statements, attempts
from app.ddl.terms import LOG_LINE_BYTES
from app.errors import TaskNotFound
from app.models.task import (
    SEQ_BITS,
    TERMINAL,
    AttemptOutcome,
    LogLevel,
    Task,
    TaskAttempt,
    TaskLog,
    TaskOutput,
    TaskStatus,
    TaskStep,
)

Attempt = TaskAttempt | dict[str, Any]

# What an attempt takes in an answer besides its texts.
_ATTEMPT_BYTES = 300


_TEXTS = (TaskAttempt.worker, TaskAttempt.error_type, TaskAttempt.error_message, TaskAttempt.traceback)
ATTEMPTS = Listing(
    TaskAttempt,
    TaskAttempt.number,
    rising=True,
    size=sum((func.coalesce(func.octet_length(text), 0) for text in _TEXTS), start=literal(_ATTEMPT_BYTES, Integer)),
)


def read_attempts(db: Session, task: Task) -> list[Attempt]:
    """Return every attempt, the current one included."""
    statement = select(TaskAttempt).where(TaskAttempt.task_id == task.id).order_by(TaskAttempt.number)
    return [*db.scalars(statement), *_attempt_of_row(task)]


def cursor_after(number: int) -> str:
    """Return the cursor behind the attempt of this number."""
    return ATTEMPTS.cursor_of({"number": number})


def page_of_attempts(db: Session, task: Task, limit: int, cursor: str | None) -> Page[Attempt]:
    """Return at most `limit` attempts, oldest first, and MAX_PAGE_BYTES of them, at least one. Raises InvalidCursor."""
    past, last = ATTEMPTS.page(db, limit, cursor, TaskAttempt.task_id == task.id)
    current = _attempt_of_row(task) if last is None else []
    if current and len(past) == limit:
        return Page([*past], ATTEMPTS.cursor_of(past[-1]))
    after = 0 if cursor is None else ATTEMPTS.position(cursor)[0]
    return Page([*past, *(each for each in current if each["number"] > after)], last)


def _attempt_of_row(task: Task) -> list[dict[str, Any]]:
    """Return the attempt that runs or has succeeded, which the task's own row tells."""
    if task.status not in {TaskStatus.RUNNING, TaskStatus.SUCCEEDED}:
        return []
    return [
        {
            "number": task.attempt,
            "worker": task.worker,
            "started_at": task.started_at,
            "finished_at": task.finished_at,
            "outcome": AttemptOutcome(task.status.value),
            "error_type": None,
            "error_message": None,
            "traceback": None,
        }
    ]


# -- The steps that a task has done: pages of them, in the order in which they ended, and clearing them ----------------


# In the order in which they ended.
STEPS = Listing(TaskStep, TaskStep.seq, rising=True, size=TaskStep.bytes)


def page_of_steps(db: Session, task_id: UUID, limit: int, cursor: str | None = None) -> Page[TaskStep]:
    """Return at most `limit` steps and about MAX_PAGE_BYTES of them, at least one. Raises InvalidCursor."""
    return STEPS.page(db, limit, cursor, TaskStep.task_id == task_id)


def clear_steps(db: Session, task_id: UUID) -> None:
    """Delete the steps of a task, so that its next attempt does all again. The caller holds the lock on its row."""
    db.execute(delete(TaskStep).where(TaskStep.task_id == task_id).execution_options(synchronize_session=False))


# -- The log lines of one task, of which the newest TASK_LOG_BYTES are kept. Written by the attempt that logs them -----

# Lines are deleted down to so much of the limit: so a look at all of them is paid for by many new ones.
KEPT_LOG_SHARE = 0.75
NO_LINE = -1


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
        """Return the lines with their numbers: asked for once for each line, and the same at each try to write it."""
        first = self._number + 1
        self._number += len(lines)
        return list(enumerate(lines, first))

    def write(self, db: attempts.Executor, lines: Sequence[tuple[int, LogLine]]) -> bool:
        """Write lines that take at most the limit together. False where the task was deleted.

        Safe to run again after a lost reply.
        """
        more = sum(line.bytes for _, line in lines)
        if self._stored is None:
            self._stored = statements.stored_log_bytes(db, self._task_id)
        through = NO_LINE
        if self._stored + more > self._limit:
            keep = max(0, int(self._limit * KEPT_LOG_SHARE) - more)
            found = statements.newest_line_beyond(db, self._task_id, keep)
            through = NO_LINE if found is None else found
        rows = [(number, *line) for number, line in lines]
        if not statements.write_log(db, self._task_id, self._attempt, rows, through):
            return False
        self._stored += more
        if through != NO_LINE:
            self._stored = None  # what is left is counted the next time
        return True


# -- Reading the log lines of a task, oldest first, in pages -----------------------------------------------------------

# What a line takes in an answer besides its texts.
_LINE_BYTES = 160


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines: of one attempt, of this level and above."""

    attempt: int | None = None
    level: LogLevel | None = None


LOGS = Listing(
    TaskLog,
    TaskLog.seq,
    rising=True,
    size=sum(
        (func.octet_length(text) for text in (TaskLog.logger, TaskLog.message, TaskLog.fields)),
        start=literal(_LINE_BYTES, Integer),
    ),
)


def page_of_logs(
    db: Session, task_id: UUID, wanted: LogFilter, limit: int, after: int | str, most_bytes: int = MAX_PAGE_BYTES
) -> Page[TaskLog]:
    """At most `limit` lines after number `after`, which is a cursor, and about `most_bytes` of them, at least one."""
    which = [TaskLog.task_id == task_id, *_log_conditions(wanted)]
    return LOGS.page(db, limit, str(after), *which, most_bytes=most_bytes)


_NEWEST_LOGS = (
    select(TaskLog).where(TaskLog.task_id == bindparam("task_id")).order_by(TaskLog.seq.desc()).limit(bindparam("most"))
)


def newest_logs(db: Session, task_id: UUID, wanted: LogFilter, limit: int) -> list[TaskLog]:
    """Return at most `limit` lines, the last ones, oldest first."""
    values = {"task_id": task_id, "most": limit}
    return list(db.scalars(_NEWEST_LOGS.where(*_log_conditions(wanted)), values))[::-1]


def _log_conditions(wanted: LogFilter) -> list[ColumnElement[bool]]:
    conditions = []
    if wanted.attempt is not None:
        conditions.append(TaskLog.attempt == wanted.attempt)
    if wanted.level is not None:
        conditions.append(TaskLog.level >= wanted.level.number)
    return conditions


# -- Reading what the bodies of a task emitted, oldest first, in pages -------------------------------------------------


OUTPUT = Listing(TaskOutput, TaskOutput.seq, rising=True, size=TaskOutput.bytes)
_NEWEST_OUTPUT = Listing(TaskOutput, TaskOutput.seq, size=TaskOutput.bytes)


def page_of_output(
    db: Session, task_id: UUID, stream: str | None, limit: int, after: int | str, most_bytes: int = MAX_PAGE_BYTES
) -> Page[TaskOutput]:
    """At most `limit` chunks after number `after` and about `most_bytes` of them, at least one; None: of any stream."""
    which = [TaskOutput.task_id == task_id, *_of_stream(stream)]
    return OUTPUT.page(db, limit, str(after), *which, most_bytes=most_bytes)


def newest_output(db: Session, task_id: UUID, limit: int, most_bytes: int) -> Page[TaskOutput]:
    """Return at most `limit` chunks, the last ones, oldest first. `last` is None where these are all."""
    found = _NEWEST_OUTPUT.page(db, limit, None, TaskOutput.task_id == task_id, most_bytes=most_bytes)
    return Page(found.items[::-1], found.last)


def _of_stream(stream: str | None) -> list[ColumnElement[bool]]:
    return [] if stream is None else [TaskOutput.stream == stream]


# -- What a reader that follows a task reads of it, piece by piece: its log lines, and its output ----------------------

Item = TypeVar("Item")


class SoFar(NamedTuple, Generic[Item]):
    """Items, whether there are more now, whether these are all that there will be, and the task's attempt."""

    items: list[Item]
    more: bool
    ended: bool
    attempt: int


def check_task(db: Session, task_id: UUID, owner: UUID | None) -> None:
    """Raise TaskNotFound unless `owner` may see the task: what it has written alone does not tell."""
    conditions = [Task.id == task_id] if owner is None else [Task.id == task_id, Task.user_id == owner]
    if not db.scalar(select(exists().where(*conditions))):
        raise TaskNotFound


def read_so_far(
    db: Session, task_id: UUID, owner: UUID | None, next_page: Callable[[Session], Page[Item]]
) -> SoFar[Item]:  # fmt: skip
    """Return the next page for a reader that follows, on a session in autocommit.

    Raises TaskNotFound, also once the task is deleted.
    """
    statement = select(Task.status, Task.attempt).where(Task.id == task_id)
    task = db.execute(statement if owner is None else statement.where(Task.user_id == owner)).one_or_none()
    if task is None:
        raise TaskNotFound
    # After the status: what a task wrote is committed before its end is, and before its next attempt begins.
    found = next_page(db)
    more = found.last is not None
    return SoFar(found.items, more, task.status in TERMINAL and not more, task.attempt)
