"""Reading what the bodies of a task emitted, oldest first, in pages."""

from uuid import UUID

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from app.db.page import MAX_PAGE_BYTES, Page, bounded_page, bounded_rows
from app.models.task_output import TaskOutput


def page(
    db: Session, task_id: UUID, stream: str | None, limit: int, after: int, most_bytes: int = MAX_PAGE_BYTES
) -> Page[TaskOutput, int]:
    """At most `limit` chunks after number `after` and about `most_bytes` of them, at least one; None: of any stream."""
    found = bounded_rows(
        TaskOutput,
        TaskOutput.seq,
        TaskOutput.bytes,
        TaskOutput.seq > after,
        *_of(stream),
        within=[TaskOutput.task_id == task_id],
        limit=limit + 1,
        most_bytes=most_bytes,
    )
    return bounded_page(db.execute(found).all(), limit, lambda chunk: chunk.seq)


def newest(db: Session, task_id: UUID, limit: int, most_bytes: int) -> Page[TaskOutput, int]:
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


def _of(stream: str | None) -> list[ColumnElement[bool]]:
    return [] if stream is None else [TaskOutput.stream == stream]
