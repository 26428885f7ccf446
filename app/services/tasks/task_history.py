"""What runs of a task leave behind: attempts, steps, log lines and output, in pages, oldest first.

Log lines are written here too, of which the newest TASK_LOG_BYTES are kept. A reader that follows a task reads its
lines and its output piece by piece, with whether there will be more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, Select, bindparam, delete, exists, func, literal, select
from sqlalchemy.orm import Session

from app.db.page import MAX_PAGE_BYTES, Page, bounded_page, bounded_rows
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


def _attempts_page() -> Select[TaskAttempt, int]:
    texts = (TaskAttempt.worker, TaskAttempt.error_type, TaskAttempt.error_message, TaskAttempt.traceback)
    size = sum((func.coalesce(func.octet_length(text), 0) for text in texts), start=literal(_ATTEMPT_BYTES, Integer))
    of_task, after = TaskAttempt.task_id == bindparam("task_id"), TaskAttempt.number > bindparam("after")
    return bounded_rows(TaskAttempt, TaskAttempt.number, size, after, within=[of_task], limit=bindparam("most"))


_ATTEMPTS_PAGE = _attempts_page()


def read_attempts(db: Session, task: Task) -> list[Attempt]:
    """Every attempt, the current one included."""
    statement = select(TaskAttempt).where(TaskAttempt.task_id == task.id).order_by(TaskAttempt.number)
    return [*db.scalars(statement), *_attempt_of_row(task)]


def page_of_attempts(db: Session, task: Task, limit: int, after: int) -> Page[Attempt, int]:
    """At most `limit` attempts after number `after` and at most MAX_PAGE_BYTES of them, at least one."""
    rows = db.execute(_ATTEMPTS_PAGE, {"task_id": task.id, "after": after, "most": limit + 1}).all()
    past: list[Attempt] = [row[0] for row in rows[:limit]]
    left_out = bool(rows) and rows[0][1] > len(past)
    if left_out or len(past) == limit:
        is_last = not left_out and not _attempt_of_row(task)
        return Page(past, None if is_last else rows[len(past) - 1][0].number)
    current = [each for each in _attempt_of_row(task) if each["number"] > after]
    return Page([*past, *current], None)


def number_of_attempt(attempt: Attempt) -> int:
    """The attempt's number, which is its place in the list."""
    number: int = attempt["number"] if isinstance(attempt, dict) else attempt.number
    return number


def _attempt_of_row(task: Task) -> list[dict[str, Any]]:
    """The attempt that runs or has succeeded, which the task's own row tells."""
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


def page_of_steps(db: Session, task_id: UUID, limit: int, after: int) -> Page[TaskStep, int]:
    """At most `limit` steps after number `after` and about MAX_PAGE_BYTES of them, at least one."""
    of_task, behind = TaskStep.task_id == task_id, TaskStep.seq > after
    found = bounded_rows(TaskStep, TaskStep.seq, TaskStep.bytes, behind, within=[of_task], limit=limit + 1)
    return bounded_page(db.execute(found).all(), limit, lambda step: step.seq)


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


def page_of_logs(
    db: Session, task_id: UUID, wanted: LogFilter, limit: int, after: int, most_bytes: int = MAX_PAGE_BYTES
) -> Page[TaskLog, int]:
    """At most `limit` lines after number `after` and about `most_bytes` of them, at least one."""
    found = bounded_rows(
        TaskLog,
        TaskLog.seq,
        _bytes_of_line(),
        TaskLog.seq > after,
        *_log_conditions(wanted),
        within=[TaskLog.task_id == task_id],
        limit=limit + 1,
        most_bytes=most_bytes,
    )
    return bounded_page(db.execute(found).all(), limit, lambda line: line.seq)


_NEWEST_LOGS = (
    select(TaskLog).where(TaskLog.task_id == bindparam("task_id")).order_by(TaskLog.seq.desc()).limit(bindparam("most"))
)


def newest_logs(db: Session, task_id: UUID, wanted: LogFilter, limit: int) -> list[TaskLog]:
    """At most `limit` lines, the last ones, oldest first."""
    values = {"task_id": task_id, "most": limit}
    return list(db.scalars(_NEWEST_LOGS.where(*_log_conditions(wanted)), values))[::-1]


def _log_conditions(wanted: LogFilter) -> list[ColumnElement[bool]]:
    conditions = []
    if wanted.attempt is not None:
        conditions.append(TaskLog.attempt == wanted.attempt)
    if wanted.level is not None:
        conditions.append(TaskLog.level >= wanted.level.number)
    return conditions


def _bytes_of_line() -> ColumnElement[int]:
    texts = (TaskLog.logger, TaskLog.message, TaskLog.fields)
    return sum((func.octet_length(text) for text in texts), start=literal(_LINE_BYTES, Integer))


# -- Reading what the bodies of a task emitted, oldest first, in pages -------------------------------------------------


def page_of_output(
    db: Session, task_id: UUID, stream: str | None, limit: int, after: int, most_bytes: int = MAX_PAGE_BYTES
) -> Page[TaskOutput, int]:
    """At most `limit` chunks after number `after` and about `most_bytes` of them, at least one; None: of any stream."""
    found = bounded_rows(
        TaskOutput,
        TaskOutput.seq,
        TaskOutput.bytes,
        TaskOutput.seq > after,
        *_of_stream(stream),
        within=[TaskOutput.task_id == task_id],
        limit=limit + 1,
        most_bytes=most_bytes,
    )
    return bounded_page(db.execute(found).all(), limit, lambda chunk: chunk.seq)


def newest_output(db: Session, task_id: UUID, limit: int, most_bytes: int) -> Page[TaskOutput, int]:
    """At most `limit` chunks, the last ones, oldest first. `last` is None where these are all."""
    found = bounded_rows(
        TaskOutput,
        TaskOutput.seq,
        TaskOutput.bytes,
        within=[TaskOutput.task_id == task_id],
        limit=limit + 1,
        most_bytes=most_bytes,
        falling=True,
    )
    items, last = bounded_page(db.execute(found).all(), limit, lambda chunk: chunk.seq)
    return Page(items[::-1], last)


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
    db: Session, task_id: UUID, owner: UUID | None, next_page: Callable[[Session], Page[Item, int]]
) -> SoFar[Item]:  # fmt: skip
    """The next page for a reader that follows, on a session in autocommit.

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
