"""Pages of tasks, newest first.

A page reads LOOK rows and no more. With a filter that few tasks fit it may be short, even empty: it then names the id
to continue from. A caller that continues misses nothing. (docs/adr/0026)
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.page import Page
from app.db.postgresql.task_filter import conditions
from app.db.postgresql.task_pages import page_ids
from app.models.task import Task
from app.models.task_filter import TaskFilter

LOOK = 10_000
UNLIMITED = 2**31

TaskPage = Page[Task, UUID]


def page(db: Session, wanted: TaskFilter, limit: int, *, before: UUID | None = None, skip: int = 0) -> TaskPage:
    """At most `limit` tasks, and the id before which the next page starts, if there may be one.

    `before` is that id of the previous page. With `skip` the number of rows to read is unlimited: no cursor could say
    how many are still to be skipped.
    """
    look = UNLIMITED if skip else LOOK
    ids, edge = page_ids(db, wanted, limit + 1, before=before, skip=skip, look=look)
    if len(ids) > limit:
        ids = ids[:limit]
        edge = ids[-1]
    return Page(_tasks(db, wanted, ids), edge)


def first(db: Session, wanted: TaskFilter, limit: int, *, skip: int = 0) -> list[Task]:
    """The first `limit` tasks, for callers without a cursor: reads until the page is full."""
    if limit < 1:
        return []
    tasks, edge = page(db, wanted, limit, skip=skip)
    while edge is not None and len(tasks) < limit:
        more, edge = page(db, wanted, limit - len(tasks), before=edge)
        tasks += more
    return tasks


def _tasks(db: Session, wanted: TaskFilter, ids: list[UUID]) -> list[Task]:
    """The rows as they are now. A row that no longer fits is left out."""
    if not ids:
        return []
    statement = select(Task).where(Task.id.in_(ids), *conditions(wanted)).order_by(Task.id.desc())
    return list(db.scalars(statement.execution_options(populate_existing=True)))
