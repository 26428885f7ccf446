"""Reading tasks: one, several, and pages of them, newest first, each with the reason why it waits.

`task_history` reads what their runs left behind, `task_counts` reads numbers.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from app.core.config import get_settings
from app.core.json_text import SMALL_BYTES
from app.db.listing import MAX_PAGE_BYTES, Listing, Page
from app.db.sql import prepared, task_pages
from app.db.statements import dependencies, reads, task_filter, task_rows, task_streams
from app.ddl.engines import WAITS_OF_MANY
from app.errors import TaskNotFound
from app.models.task import DependsOn, Task, TaskStatus, WaitingReason
from app.models.task_filter import Longest, TaskFilter, looks_up_rows
from app.schemas.task import TaskRead
from app.services.operations.worker_service import look_at_workers, look_at_workers_for

# The columns that clients see: those of the schema, `error` being two of them.
_ERROR = ("error_type", "error_message")
# Larger tasks are not read together with others, whose answers would wait for them.
MAX_GROUPED_BYTES = SMALL_BYTES
SHOWN = [column.name for column in Task.__table__.c if column.name in {*TaskRead.model_fields, *_ERROR}]


def find(db: Session, task_id: UUID, owner: UUID | None = None) -> Task | None:
    """Return the task as it is committed now, or None; `owner` limits it to that user's."""
    statement = sa.select(Task).where(Task.id == task_id)
    if owner is not None:
        statement = statement.where(Task.user_id == owner)
    task = db.scalars(_fresh(statement)).one_or_none()
    if task is not None:
        explain_waits(db, [task])
    return task


def read(db: Session, task_id: UUID, owner: UUID | None = None) -> Task:
    """Return the task as it is committed now; `owner` limits it to that user's. Raises TaskNotFound."""
    task = find(db, task_id, owner)
    if task is None:
        raise TaskNotFound
    return task


def find_all(db: Session, ids: Sequence[UUID]) -> list[Task]:
    """Return those of the tasks that exist, as they are committed now, in the order of `ids`."""
    found = {task.id: task for task in db.scalars(_fresh(sa.select(Task).where(Task.id.in_(ids))))}
    explain_waits(db, [*found.values()])
    return [found[task_id] for task_id in ids if task_id in found]


_BYTES_OF = sa.select(sa.func.sum(task_rows.TASK_BYTES)).where(reads.is_one_of(Task.id, "ids"))


def bytes_of(db: Session, ids: Sequence[UUID]) -> int:
    """Return about how many bytes these tasks take in an answer."""
    return int(db.execute(_BYTES_OF, {"ids": list(ids)}).scalar_one() or 0)


def longest_running(db: Session, limit: int, owner: UUID | None = None) -> list[Task]:
    """Return the running tasks whose attempt began first. As many run as there are slots, and an index has them."""
    statement = sa.select(Task).where(Task.status == TaskStatus.RUNNING).order_by(Task.started_at, Task.id).limit(limit)
    return list(db.scalars(_fresh(statement if owner is None else statement.where(Task.user_id == owner))))


# Columns rather than objects: what one task costs is a third of it.
_SNAPSHOT = sa.select(*(Task.__table__.c[name] for name in SHOWN), task_rows.WAITS)
_SNAPSHOTS = _SNAPSHOT.where(reads.is_one_of(Task.__table__.c.id, "ids"), task_rows.LARGE_BYTES <= MAX_GROUPED_BYTES)
_ONE_SNAPSHOT = _SNAPSHOT.where(Task.__table__.c.id == sa.bindparam("one"))
# The owner is part of the statement: whether another user's task is large must not be seen by the time.
_OWN_SNAPSHOT = _ONE_SNAPSHOT.where(Task.__table__.c.user_id == sa.bindparam("owner"))


def snapshots(connection: sa.Connection, ids: Collection[UUID]) -> dict[UUID, dict[str, Any]]:
    """Return the committed rows of these tasks, by their id, each as `TaskRead` takes it. One query for all of them.

    Tasks whose large values have more than MAX_GROUPED_BYTES are left out.
    """
    rows = [dict(row) for row in connection.execute(_SNAPSHOTS, {"ids": list(ids)}).mappings()]
    explain_waits(connection, rows)
    return {row["id"]: as_shown(row) for row in rows}


def snapshot(connection: sa.Connection, task_id: UUID, owner: UUID | None = None) -> dict[str, Any]:
    """Return the committed row of one task of any size as `TaskRead` takes it. Raises TaskNotFound."""
    statement = _ONE_SNAPSHOT if owner is None else _OWN_SNAPSHOT
    row = connection.execute(statement, {"one": task_id, "owner": owner}).mappings().one_or_none()
    if row is None:
        raise TaskNotFound
    shown = dict(row)
    explain_waits(connection, [shown])
    return as_shown(shown)


def as_shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the table as `TaskRead` takes it: metadata by its attribute's name, the error as one."""
    row["metadata_"] = row.pop("metadata")
    kind, message = row.pop("error_type"), row.pop("error_message")
    row["error"] = None if kind is None else {"type": kind, "message": message}
    return row


def _fresh(statement: sa.Select[Any]) -> sa.Select[Any]:
    """Overwrite what the session remembers: others write these rows."""
    return statement.execution_options(populate_existing=True)


# -- Why pending tasks wait, as far as their rows do not tell: for which workers, for which tasks ----------------------


def explain_waits(db: Session | sa.Connection, tasks: Sequence[Task | dict[str, Any]]) -> None:
    """Have these tasks, which were read just now, say what `TaskRead` shows of it. Of most nothing is read for it."""
    waits = [task.waits if isinstance(task, Task) else task["waits"] for task in tasks]
    look_at_workers_for(db, waits)
    of = {_id_of(task): task for task, why in zip(tasks, waits, strict=True) if why == WaitingReason.DEPENDENCY}
    if of:
        for task_id, parents in dependencies.blocked_by(db, of).items():
            task, why = of[task_id], DependsOn(parents)
            if isinstance(task, Task):
                set_committed_value(task, "waits", why)
            else:
                task["waits"] = why


def _id_of(task: Task | dict[str, Any]) -> Any:
    return task.id if isinstance(task, Task) else task["id"]


# -- Pages of tasks, newest first --------------------------------------------------------------------------------------
# A page reads PAGE_LOOK rows and no more. With a filter that few tasks fit it may be short, even empty: it then names
# the id to continue from. A caller that continues misses nothing. (docs/adr/0026)

PAGE_LOOK = 10_000
UNLIMITED = 2**31

# A task whose large values have more bytes is not read together with other pages.
MAX_GROUPED_PAGE_BYTES = 4096

# From here on, skipped rows count as many.
MANY_SKIPPED = 1000

TASKS = Listing(Task, Task.id)
# Each task as `TaskRead` takes it.
ShownPage = Page[dict[str, Any]]


def page_reads_many(wanted: TaskFilter, skip: int = 0) -> bool:
    """Return whether a page looks at many rows for each that it shows."""
    return looks_up_rows(wanted) or skip >= MANY_SKIPPED


def read_page(db: Session, wanted: TaskFilter, limit: int, *, cursor: str | None = None, skip: int = 0) -> Page[Task]:
    """Return at most `limit` tasks, and the cursor of the next page, if there may be one. Raises InvalidCursor.

    With `skip` the number of rows to read is unlimited: no cursor could say how many are still to be skipped.
    """
    ids, edge = _page_ids(db, wanted, limit, cursor, skip)
    return Page(_page_tasks(db, wanted, ids), _cursor_at(edge))


def _cursor_at(edge: UUID | None) -> str | None:
    return None if edge is None else TASKS.cursor_of({"id": edge})


def shown_page(db: Session, wanted: TaskFilter, limit: int, *, cursor: str | None = None, skip: int = 0) -> ShownPage:
    """Return a `read_page` cut to MAX_PAGE_BYTES, at least one task. Neither database nor process reads more."""
    ids, edge = _page_ids(db, wanted, limit, cursor, skip)
    if not ids:
        return Page([], _cursor_at(edge))
    # The owner of a task never changes: a page without other filters is always the same statement.
    changeable = task_filter.conditions(replace(wanted, user_id=None))
    statement = task_rows.page_statement(SHOWN, changeable) if changeable else _ROWS
    found = task_rows.page_rows(db, statement, ids, MAX_PAGE_BYTES)
    if found.is_cut:
        edge = found.rows[-1]["id"]
    explain_waits(db, found.rows)
    return Page([as_shown(row) for row in found.rows], _cursor_at(edge))


def shown_longest(
    db: Session, wanted: TaskFilter, by: Longest, limit: int, skip: int = 0
) -> tuple[list[dict[str, Any]], int | None]:
    """Return the tasks that took longest, among the newest PAGE_LOOK, as `shown_page` gives them.

    And how many the next page is to skip; None where there are no more. Has DATABASE_COSTLY_READ_SECONDS.
    """
    reads.limit_read(db, get_settings().costly_read_seconds)
    if wanted.waiting_for is not None:
        look_at_workers(db)
    ids = task_streams.longest_ids(db, wanted, by, limit + 1, skip, PAGE_LOOK)
    found = shown_tasks(db, ids[:limit])
    # A page may be cut, or a task deleted meanwhile: the next one begins behind the last that is shown.
    seen = ids.index(found[-1]["id"]) + 1 if found else limit
    return found, skip + seen if len(ids) > seen else None


def shown_tasks(db: Session, ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """Return these tasks in this order, as `shown_page` gives them: as many as MAX_PAGE_BYTES take."""
    found = task_rows.page_rows(db, _ROWS, ids, MAX_PAGE_BYTES)
    explain_waits(db, found.rows)
    return [as_shown(row) for row in found.rows]


@cache
def _newest_statement(*, of_status: bool, below: bool) -> sa.Select[Any]:
    """Return the newest `most` tasks of `owner`: their rows and bytes. Of those with large values nothing."""
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
    is_small = task_rows.LARGE_BYTES <= MAX_GROUPED_PAGE_BYTES
    rows = ids.outerjoin(Task.__table__, sa.and_(tasks.id == ids.c.id, is_small))
    return sa.select(*columns).select_from(rows).order_by(ids.c.id.desc())


_NEWEST_NAMES = (*SHOWN, "waits")  # of its columns, but for the last one


def newest_page(
    db: sa.Connection, owner: UUID, limit: int, *, status: TaskStatus | None = None, cursor: str | None = None
) -> ShownPage | None:
    """Return a `shown_page` of the tasks of a user, of any status or of one. One statement.

    Returns None if one of them is large, or all take more than MAX_PAGE_BYTES: `shown_page` reads no more than that.
    """
    before = None if cursor is None else TASKS.position(cursor)[0]
    statement = _newest_statement(of_status=status is not None, below=before is not None)
    values = {"owner": owner, "status": status, "before": before, "most": limit + 1}
    found = prepared.execute_prepared(db, statement, values)
    rows = [dict(zip(_NEWEST_NAMES, row, strict=False)) for row in found[:limit]]
    if any(row["id"] is None for row in rows) or sum(row[-1] for row in found[:limit]) > MAX_PAGE_BYTES:
        return None
    explain_waits(db, rows)
    return Page([as_shown(row) for row in rows], TASKS.cursor_of(rows[-1]) if len(found) > limit else None)


def first_tasks(db: Session, wanted: TaskFilter, limit: int, *, skip: int = 0) -> list[Task]:
    """Return the first `limit` tasks, for callers without a cursor: reads until the page is full."""
    if limit < 1:
        return []
    tasks, cursor = read_page(db, wanted, limit, skip=skip)
    while cursor is not None and len(tasks) < limit:
        more, cursor = read_page(db, wanted, limit - len(tasks), cursor=cursor)
        tasks += more
    return tasks


def _page_ids(
    db: Session, wanted: TaskFilter, limit: int, cursor: str | None, skip: int
) -> tuple[list[UUID], UUID | None]:
    before = None if cursor is None else TASKS.position(cursor)[0]
    look = UNLIMITED if skip else PAGE_LOOK
    if wanted.waiting_for is not None:
        look_at_workers(db)
    ids, edge = task_pages.page_ids(db, wanted, limit + 1, before=before, skip=skip, look=look)
    if len(ids) > limit:
        ids = ids[:limit]
        edge = ids[-1]
    return ids, edge


_ROWS = task_rows.page_statement(SHOWN)


def _page_tasks(db: Session, wanted: TaskFilter, ids: list[UUID]) -> list[Task]:
    """Return the rows as they are now. A row that no longer fits is left out."""
    if not ids:
        return []
    statement = sa.select(Task).where(Task.id.in_(ids), *task_filter.conditions(wanted)).order_by(Task.id.desc())
    tasks = list(db.scalars(statement.execution_options(populate_existing=True)))
    explain_waits(db, tasks)
    return tasks
