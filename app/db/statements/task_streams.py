"""Pages of tasks are put together from *streams*: statements that give ids in falling order (docs/adr/0026).

A row of a stream is an id, whether the task fits, and whether it is the stream's edge: the last row that it may read.
The streams here are index scans: of all rows of a user, of those of one status, or of an index of their own.

The newest tasks of a filter are read here for two more questions: which took longest, and which values occur.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.statements import task_filter
from app.db.statements.expressions import Row, by_index, greatest, seconds_between
from app.db.statements.task_filter import of_kind
from app.ddl.clock import STATEMENT_TIME
from app.models.task import Task, TaskStatus
from app.models.task_count import KIND
from app.models.task_filter import Longest, TaskFilter

# As good as all rows: no edge is looked for.
_ALL_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Stream:
    """`start` is served by `index`, `rest` is looked up in the rows."""

    index: str | None
    start: task_filter.Conditions
    rest: task_filter.Conditions
    look: int

    def edge(self, db: Session) -> UUID | None:
        """Return the last row that it may read; None where it may read all."""
        if self.look >= _ALL_ROWS:
            return None
        newest = self._by_index(sa.select(Task.id)).order_by(Task.id.desc())
        return db.scalars(newest.offset(self.look - 1).limit(1)).one_or_none()

    def ids(self, edge: UUID | None, need: int) -> sa.Select[Any]:
        """Return the first ones that fit."""
        ids = sa.select(Task.id, sa.true().label("fits"), sa.literal(value=False).label("is_edge"))
        return sa.select(self.rows(ids, edge).order_by(Task.id.desc()).limit(need).subquery())

    def rows(self, columns: sa.Select[*Row], edge: UUID | None) -> sa.Select[*Row]:
        """Return these columns of the rows that fit, through the edge, in no order."""
        through = [] if edge is None else [Task.id >= edge]
        return self._by_index(columns).where(*through, *self.rest)

    def _by_index(self, columns: sa.Select[*Row]) -> sa.Select[*Row]:
        found = columns.where(*self.start)
        return found if self.index is None else by_index(found, self.index)


def streams(wanted: TaskFilter, start: task_filter.Conditions, look: int) -> Iterator[Stream]:
    """Give the streams of a filter, which read about `look` rows together."""
    rest = [*of_kind(wanted), *task_filter.of_rows(wanted)]
    own = task_filter.own_index(wanted)
    if own is not None or wanted.user_id is None or not wanted.status:
        of_user = None if wanted.user_id is None else "ix_tasks_user"
        yield Stream(own or of_user, start, [*task_filter.of_status(wanted), *rest], look)
        return
    statuses = sorted(set(wanted.status))
    for status in statuses:
        of_status_ = [*start, Task.status == status]
        yield Stream("ix_tasks_user_status", of_status_, rest, max(look // len(statuses), 1))


def start_of(wanted: TaskFilter, before: UUID | None) -> task_filter.Conditions:
    """Return the conditions by whose index every stream reads."""
    whose = task_filter.of_own_index(wanted) or task_filter.of_owner(wanted)
    return [*whose, *task_filter.of_ids(wanted), *([] if before is None else [Task.id < before])]


def merged_ids(
    db: Session, streams: Sequence[sa.Select[Any]], need: int, skip: int, edges: Iterable[UUID] = ()
) -> tuple[list[UUID], UUID | None]:
    """Return the first `need` ids after `skip`, each stream having as many; with them the lowest id that all have read.

    `edges` are those of streams whose rows do not tell them.
    """
    statement: Any = sa.union_all(*streams) if len(streams) > 1 else streams[0]
    if skip:
        # Skipped ids stay in the database. Only with `skip`: the subquery costs SQLAlchemy a quarter of a millisecond.
        ids = statement.subquery()
        statement = sa.select(ids).order_by(ids.c.id.desc()).offset(skip).limit(need)
    rows = db.execute(statement).all()
    # Below the highest edge, at least one stream was not read.
    edge = max([*(row.id for row in rows if row.is_edge), *edges], default=None)
    fitting = sorted((row.id for row in rows if row.fits and (edge is None or row.id >= edge)), reverse=True)
    return fitting[:need], edge


# -- What is found among the newest tasks of a filter: those that took longest, and the values of columns --------------
# Like a page of tasks, both look at a bounded number of rows (docs/adr/0026).

_IS_PENDING = Task.status == TaskStatus.PENDING.value
_DUE = greatest(Task.created_at, sa.func.coalesce(Task.run_at, Task.created_at))
# In seconds, until now where it goes on. NULL where there is none, or it is not due.
_SECONDS: dict[Longest, sa.ColumnElement[Any]] = {
    Longest.DURATION: sa.case(
        (_IS_PENDING, None), else_=seconds_between(Task.started_at, sa.func.coalesce(Task.finished_at, STATEMENT_TIME))
    ),
    # Of the first attempt: what was tried again has another time of the last one.
    Longest.WAIT: sa.case(
        (_IS_PENDING & (Task.attempt == 0) & (_DUE <= STATEMENT_TIME), seconds_between(_DUE, STATEMENT_TIME)),
        (~_IS_PENDING & (Task.attempt == 1), seconds_between(_DUE, Task.started_at)),
        else_=None,
    ),
}


def longest_ids(db: Session, wanted: TaskFilter, by: Longest, limit: int, skip: int, look: int) -> Sequence[UUID]:
    """Return the ids of the tasks that took longest, after `skip` of them, among the newest `look`."""
    (ids, _), seconds = _newest_ids(db, wanted, look, look), _SECONDS[by].label("seconds")
    took = sa.select(Task.id, seconds).join(ids, ids.c.id == Task.id).subquery()
    longest = took.c.seconds.desc(), took.c.id.desc()
    found = sa.select(took.c.id).where(took.c.seconds.is_not(None)).order_by(*longest)
    return db.scalars(found.offset(skip).limit(limit)).all()


def values_of_state(
    db: Session, wanted: TaskFilter, status: TaskStatus, names: Sequence[str], limit: int, look: int
) -> tuple[Sequence[sa.Row[Any]], bool]:
    """Return the values of these columns of `limit` tasks of this state, among `look` of it; and whether these are all.

    The filter names no more than owner, kind and states. Of a state in which few tasks are: an index has them.
    """
    in_state = [Task.status == status, *task_filter.of_owner(wanted)]
    table = Task.__table__.c
    some = sa.select(*(table[name] for name in {*names, *KIND})).where(*in_state).limit(look).subquery()
    of_kind = [some.c[name] == value for name in KIND if (value := getattr(wanted, name)) is not None]
    rows = db.execute(sa.select(*(some.c[name] for name in names)).where(*of_kind).limit(limit + 1)).all()
    is_cut = bool(of_kind) and db.scalar(sa.select(Task.id).where(*in_state).offset(look).limit(1)) is not None
    return rows[:limit], len(rows) <= limit and not is_cut


def values_of_newest(
    db: Session, wanted: TaskFilter, names: Sequence[str], limit: int, look: int
) -> tuple[Sequence[sa.Row[Any]], bool]:
    """Return the values of these columns of the newest `limit` tasks that match, among the newest `look`.

    And whether these are all that match.
    """
    ids, looks_at_all = _newest_ids(db, wanted, look, limit + 1)
    found = sa.select(*(Task.__table__.c[name] for name in names)).join(ids, ids.c.id == Task.id)
    rows = db.execute(found.order_by(Task.id.desc())).all()
    return rows[:limit], looks_at_all and len(rows) <= limit


def _newest_ids(db: Session, wanted: TaskFilter, look: int, limit: int) -> tuple[sa.Subquery, bool]:
    """The ids of the newest `limit` tasks that match, among the newest `look`; and whether there are no others."""
    found = [(stream, stream.edge(db)) for stream in streams(wanted, start_of(wanted, None), look)]
    # In each stream: MySQL fails to read the tags of rows that another SELECT joins or sorts.
    parts = [
        sa.select(stream.rows(sa.select(Task.id), edge).order_by(Task.id.desc()).limit(limit).subquery())
        for stream, edge in found
    ]
    looks_at_all = all(edge is None for _, edge in found)
    if len(parts) == 1:
        return parts[0].subquery(), looks_at_all
    merged = sa.union_all(*parts).subquery()
    return sa.select(merged.c.id).order_by(merged.c.id.desc()).limit(limit).subquery(), looks_at_all
