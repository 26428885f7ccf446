"""Pages of tasks, newest first.

A page reads LOOK rows and no more. With a filter that few tasks fit it may be short, even empty: it then names the id
to continue from. A caller that continues misses nothing. (docs/adr/0026)
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.db.page import MAX_PAGE_BYTES, Page
from app.db.sql import prepared, task_pages
from app.db.statements import newest_tasks, reads, task_filter, task_rows
from app.ddl.waiting import WAITS_OF_MANY
from app.models.task import Task, TaskStatus
from app.models.task_filter import Longest, TaskFilter, looks_up_rows
from app.services.operations.live_workers import look as look_at_workers
from app.services.tasks.task_queries import SHOWN, as_shown
from app.services.tasks.waiting_reasons import explain

LOOK = 10_000
UNLIMITED = 2**31

# A task whose large values have more bytes is not read together with other pages.
MAX_GROUPED_BYTES = 4096

# From here on, skipped rows count as many.
MANY_SKIPPED = 1000

TaskPage = Page[Task, UUID]
# Each task as `TaskRead` takes it.
ShownPage = Page[dict[str, Any], UUID]


def reads_many(wanted: TaskFilter, skip: int = 0) -> bool:
    """Whether a page looks at many rows for each that it shows."""
    return looks_up_rows(wanted) or skip >= MANY_SKIPPED


def page(db: Session, wanted: TaskFilter, limit: int, *, before: UUID | None = None, skip: int = 0) -> TaskPage:
    """At most `limit` tasks, and the id before which the next page starts, if there may be one.

    `before` is that id of the previous page. With `skip` the number of rows to read is unlimited: no cursor could say
    how many are still to be skipped.
    """
    ids, edge = _ids(db, wanted, limit, before, skip)
    return Page(_tasks(db, wanted, ids), edge)


def shown(db: Session, wanted: TaskFilter, limit: int, *, before: UUID | None = None, skip: int = 0) -> ShownPage:
    """As `page`, and cut to MAX_PAGE_BYTES, at least one task: neither the database nor this process reads more."""
    ids, edge = _ids(db, wanted, limit, before, skip)
    if not ids:
        return Page([], edge)
    # The owner of a task never changes: a page without other filters is always the same statement.
    changeable = task_filter.conditions(replace(wanted, user_id=None))
    statement = task_rows.page_statement(SHOWN, changeable) if changeable else _ROWS
    found = task_rows.page_rows(db, statement, ids, MAX_PAGE_BYTES)
    if found.is_cut:
        edge = found.rows[-1]["id"]
    explain(db, found.rows)
    return Page([as_shown(row) for row in found.rows], edge)


def longest(
    db: Session, wanted: TaskFilter, by: Longest, limit: int, skip: int = 0
) -> tuple[list[dict[str, Any]], int | None]:
    """The tasks that took longest, among the newest LOOK, as `shown` gives them.

    And how many the next page is to skip; None where there are no more. Has DATABASE_COSTLY_READ_SECONDS.
    """
    reads.limit_read(db, get_settings().costly_read_seconds)
    if wanted.waiting_for is not None:
        look_at_workers(db)
    ids = newest_tasks.longest_ids(db, wanted, by, limit + 1, skip, LOOK)
    found = shown_of(db, ids[:limit])
    # A page may be cut, or a task deleted meanwhile: the next one begins behind the last that is shown.
    seen = ids.index(found[-1]["id"]) + 1 if found else limit
    return found, skip + seen if len(ids) > seen else None


def shown_of(db: Session, ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """These tasks in this order, as `shown` gives them: as many as MAX_PAGE_BYTES take."""
    found = task_rows.page_rows(db, _ROWS, ids, MAX_PAGE_BYTES)
    explain(db, found.rows)
    return [as_shown(row) for row in found.rows]


@cache
def _newest(*, of_status: bool, below: bool) -> sa.Select[Any]:
    """The newest `most` tasks of `owner`: their rows and bytes. Of those with large values nothing."""
    tasks = Task.__table__.c
    # A range, in the order of the index by user: with `=` PostgreSQL reads the newest tasks of all users for one who
    # has none, where another one owns nearly all.
    of_page: list[sa.ColumnElement[bool]] = [tasks.user_id.between(sa.bindparam("owner"), sa.bindparam("owner"))]
    if of_status:
        of_page.append(tasks.status == sa.bindparam("status"))
    if below:
        of_page.append(tasks.id < sa.bindparam("before"))
    ids = (
        sa.select(tasks.id)
        .where(*of_page)
        .order_by(tasks.user_id, tasks.id.desc())
        .limit(sa.bindparam("most"))
        .subquery()
    )
    columns = (*(tasks[name] for name in SHOWN), WAITS_OF_MANY.label("waits"), task_rows.TASK_BYTES.label("bytes"))
    is_small = task_rows.LARGE_BYTES <= MAX_GROUPED_BYTES
    rows = ids.outerjoin(Task.__table__, sa.and_(tasks.id == ids.c.id, is_small))
    return sa.select(*columns).select_from(rows).order_by(ids.c.id.desc())


_NEWEST_NAMES = (*SHOWN, "waits")  # of its columns, but for the last one


def newest(
    db: sa.Connection, owner: UUID, limit: int, *, status: TaskStatus | None = None, before: UUID | None = None
) -> ShownPage | None:
    """As `shown` for the tasks of a user, of any status or of one. One statement.

    Returns None if one of them is large, or all take more than MAX_PAGE_BYTES: `shown` reads no more than that.
    """
    statement = _newest(of_status=status is not None, below=before is not None)
    values = {"owner": owner, "status": status, "before": before, "most": limit + 1}
    found = prepared.execute_prepared(db, statement, values)
    rows = [dict(zip(_NEWEST_NAMES, row, strict=False)) for row in found[:limit]]
    if any(row["id"] is None for row in rows) or sum(row[-1] for row in found[:limit]) > MAX_PAGE_BYTES:
        return None
    explain(db, rows)
    return Page([as_shown(row) for row in rows], rows[-1]["id"] if len(found) > limit else None)


def first(db: Session, wanted: TaskFilter, limit: int, *, skip: int = 0) -> list[Task]:
    """The first `limit` tasks, for callers without a cursor: reads until the page is full."""
    if limit < 1:
        return []
    tasks, edge = page(db, wanted, limit, skip=skip)
    while edge is not None and len(tasks) < limit:
        more, edge = page(db, wanted, limit - len(tasks), before=edge)
        tasks += more
    return tasks


def _ids(db: Session, wanted: TaskFilter, limit: int, before: UUID | None, skip: int) -> tuple[list[UUID], UUID | None]:
    look = UNLIMITED if skip else LOOK
    if wanted.waiting_for is not None:
        look_at_workers(db)
    ids, edge = task_pages.page_ids(db, wanted, limit + 1, before=before, skip=skip, look=look)
    if len(ids) > limit:
        ids = ids[:limit]
        edge = ids[-1]
    return ids, edge


_ROWS = task_rows.page_statement(SHOWN)


def _tasks(db: Session, wanted: TaskFilter, ids: list[UUID]) -> list[Task]:
    """The rows as they are now. A row that no longer fits is left out."""
    if not ids:
        return []
    statement = sa.select(Task).where(Task.id.in_(ids), *task_filter.conditions(wanted)).order_by(Task.id.desc())
    tasks = list(db.scalars(statement.execution_options(populate_existing=True)))
    explain(db, tasks)
    return tasks
