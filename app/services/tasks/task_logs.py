"""Reading the log lines of a task, oldest first, in pages."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Integer, bindparam, func, literal, select
from sqlalchemy.orm import Session

from app.db.page import MAX_PAGE_BYTES, Page, bounded_page, bounded_rows
from app.models.task_log import LogLevel, TaskLog

# What a line takes in an answer besides its texts.
_FIXED_BYTES = 160


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which lines: of one attempt, of this level and above."""

    attempt: int | None = None
    level: LogLevel | None = None


def page(
    db: Session, task_id: UUID, wanted: LogFilter, limit: int, after: int, most_bytes: int = MAX_PAGE_BYTES
) -> Page[TaskLog, int]:
    """At most `limit` lines after number `after` and about `most_bytes` of them, at least one."""
    found = bounded_rows(
        TaskLog,
        TaskLog.seq,
        _bytes(),
        TaskLog.seq > after,
        *_wanted(wanted),
        within=[TaskLog.task_id == task_id],
        limit=limit + 1,
        most_bytes=most_bytes,
    )
    return bounded_page(db.execute(found).all(), limit, lambda line: line.seq)


_NEWEST = (
    select(TaskLog).where(TaskLog.task_id == bindparam("task_id")).order_by(TaskLog.seq.desc()).limit(bindparam("most"))
)


def newest(db: Session, task_id: UUID, wanted: LogFilter, limit: int) -> list[TaskLog]:
    """At most `limit` lines, the last ones, oldest first."""
    values = {"task_id": task_id, "most": limit}
    return list(db.scalars(_NEWEST.where(*_wanted(wanted)), values))[::-1]


def _wanted(wanted: LogFilter) -> list[ColumnElement[bool]]:
    conditions = []
    if wanted.attempt is not None:
        conditions.append(TaskLog.attempt == wanted.attempt)
    if wanted.level is not None:
        conditions.append(TaskLog.level >= wanted.level.number)
    return conditions


def _bytes() -> ColumnElement[int]:
    texts = (TaskLog.logger, TaskLog.message, TaskLog.fields)
    return sum((func.octet_length(text) for text in texts), start=literal(_FIXED_BYTES, Integer))
