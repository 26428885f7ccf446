"""Pages of tasks, newest first.

A page is put together from *streams*: index scans that each give ids in falling order. What an index cannot tell is
looked up in the rows, and of these a page looks at LOOK and no further: it may come back short, even empty, with the id
to go on from. Nothing is left out for who goes on. (docs/adr/0026)
"""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Select,
    and_,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
    union,
    union_all,
)
from sqlalchemy.orm import Session

from app.models.task import ACTIVE, TASK_KIND, TERMINAL, Task, TaskStatus
from app.models.task_count import task_count_changes, task_counts
from app.services.tasks.task_counts import counted
from app.services.tasks.task_filter import TaskFilter

LOOK = 10_000
# So many kinds of ended tasks are looked up each by itself, and together they give at most so many ids.
MAX_KINDS, MAX_IDS = 32, 100_000
UNLIMITED = 2**31

Page = tuple[list[Task], UUID | None]


def page(db: Session, wanted: TaskFilter, limit: int, *, before: UUID | None = None, skip: int = 0) -> Page:
    """At most `limit` tasks, and the id before which the next page starts, if there may be one.

    `before` is that id of the page before. With `skip` there is no end to the looking: no cursor could tell what is
    still to be passed over.
    """
    ids, edge = _ids(db, wanted, limit + 1, before, skip, UNLIMITED if skip else LOOK)
    if len(ids) > limit:
        ids = ids[:limit]
        edge = ids[-1]
    return _tasks(db, wanted, ids), edge


def first(db: Session, wanted: TaskFilter, limit: int, *, skip: int = 0) -> list[Task]:
    """The same for who cannot go on: a whole page, however far one has to look."""
    if limit < 1:
        return []
    tasks, edge = page(db, wanted, limit, skip=skip)
    while edge is not None and len(tasks) < limit:
        more, edge = page(db, wanted, limit - len(tasks), before=edge)
        tasks += more
    return tasks


def _tasks(db: Session, wanted: TaskFilter, ids: list[UUID]) -> list[Task]:
    """The rows as they are now. What no longer fits is left out."""
    if not ids:
        return []
    statement = select(Task).where(Task.id.in_(ids), *wanted.conditions()).order_by(Task.id.desc())
    return list(db.scalars(statement.execution_options(populate_existing=True)))


def _ids(
    db: Session, wanted: TaskFilter, need: int, before: UUID | None, skip: int, look: int
) -> tuple[list[UUID], UUID | None]:
    """The first `need` ids after `skip`, and the lowest one that was looked at where that is not the end."""
    through = skip + need
    streams = [*_streams(wanted, _number_of_kinds(db, wanted, through), _start(wanted, before), through, look)]
    statement: Any = union_all(*streams) if len(streams) > 1 else streams[0]
    if skip:
        # What is passed over stays in the database. Not for everybody: it takes SQLAlchemy a quarter of a millisecond.
        ids = statement.subquery()
        statement = select(ids).order_by(ids.c.id.desc()).offset(skip).limit(need)
    rows = db.execute(statement).all()
    # Below the highest edge, one stream would be missing.
    edge = max((row.id for row in rows if row.is_edge), default=None)
    fitting = sorted((row.id for row in rows if row.fits and (edge is None or row.id >= edge)), reverse=True)
    return fitting[:need], edge


def _start(wanted: TaskFilter, before: UUID | None) -> list[ColumnElement[bool]]:
    return [*wanted.owner(), *wanted.id_bounds(), *([] if before is None else [Task.id < before])]


def _number_of_kinds(db: Session, wanted: TaskFilter, need: int) -> int | None:
    """How many kinds of ended tasks fit; None where they are of no use, or too many."""
    if wanted.user_id is None or not wanted.kind():
        return None
    most = min(MAX_KINDS, MAX_IDS // need)
    number = len(db.execute(_kinds(wanted, most + 1).limit(most + 1)).all())
    return None if number > most else number


def _kinds(wanted: TaskFilter, most: int | None = None) -> CompoundSelect[Any]:
    """The kinds of ended tasks that fit, as the index names them.

    Of the kept ones `most` are read: a user may have made as many types as tasks.
    """
    kind = literal_column(TASK_KIND, BigInteger).label("kind")
    kept, new = (
        select(kind).select_from(table).where(*counted(table, wanted)) for table in (task_counts, task_count_changes)
    )
    return union(select(kept.limit(most).subquery()), new)


def _streams(
    wanted: TaskFilter, kinds: int | None, start: list[ColumnElement[bool]], need: int, look: int
) -> Iterator[Select[Any]]:
    rest = [*wanted.kind(), *wanted.of_rows()]
    if wanted.user_id is None or (wanted.kind() and kinds is None):
        states = [Task.status.in_(sorted(set(wanted.status)))] if wanted.status else []
        yield _stream(start, [*states, *rest], need, look)
        return
    if kinds is None and not wanted.status:
        yield _stream(start, rest, need, look)
        return
    statuses = set(wanted.status) or set(TaskStatus)
    by_status = sorted(statuses if kinds is None else statuses & ACTIVE)
    share = max(look // (len(by_status) + (kinds or 0) or 1), 1)
    for status in by_status:
        yield _stream([*start, Task.status == status], rest, need, share)
    if kinds is not None and statuses & TERMINAL:
        yield _by_kind(wanted, start, need, share)


def _by_kind(wanted: TaskFilter, start: list[ColumnElement[bool]], need: int, look: int) -> Select[Any]:
    """A stream for each kind of ended tasks. Which kinds there are is asked anew, in the snapshot of the other streams:
    else a task that ends as the first of its kind would be in none of them."""
    of_kind = literal_column(TASK_KIND, BigInteger) == literal_column("kinds.kind", BigInteger)
    ids = _stream([*start, Task.finished_at.is_not(None), of_kind], wanted.of_rows(), need, look).lateral("of_kind")
    return select(ids).select_from(_kinds(wanted).subquery("kinds").join(ids, true()))


def _stream(
    start: list[ColumnElement[bool]], rest: list[ColumnElement[bool]], need: int, look: int
) -> Select[Any]:  # fmt: skip
    """At most `need` ids that fit, and, if so many rows were looked at, the last of them."""
    if not rest:
        ids = select(Task.id, true().label("fits"), literal(value=False).label("is_edge")).where(*start)
        found = ids.order_by(Task.id.desc()).limit(need).subquery()
        return select(found)
    place = func.row_number().over(order_by=Task.id.desc())
    seen = select(Task.id, and_(*rest).label("fits"), (place == look).label("is_edge")).where(*start)
    rows = seen.order_by(Task.id.desc()).limit(look).subquery()
    found = select(rows).where(or_(rows.c.fits, rows.c.is_edge)).order_by(rows.c.id.desc()).limit(need).subquery()
    return select(found)
