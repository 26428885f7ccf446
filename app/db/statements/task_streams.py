"""A page of tasks is put together from *streams*: statements that each give ids in falling order (docs/adr/0026).

A row of a stream is an id, whether the task fits, and whether it is the stream's edge: the last row that it may read.
The streams here are index scans: of all rows of a user, of those of one status, or of an index of their own.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, literal, select, true, union_all
from sqlalchemy.orm import Session

from app.db.statements.expressions import Row, by_index
from app.db.statements.task_conditions import Conditions, of_ids, of_kind, of_own_index, of_owner, of_status, own_index
from app.db.statements.task_filter import of_rows
from app.models.task import Task
from app.models.task_filter import TaskFilter

# As good as all rows: no edge is looked for.
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Stream:
    """`start` is served by `index`, `rest` is looked up in the rows."""

    index: str | None
    start: Conditions
    rest: Conditions
    look: int

    def edge(self, db: Session) -> UUID | None:
        """The last row that it may read; None where it may read all."""
        if self.look >= _ALL:
            return None
        newest = self._by_index(select(Task.id)).order_by(Task.id.desc())
        return db.scalars(newest.offset(self.look - 1).limit(1)).one_or_none()

    def ids(self, edge: UUID | None, need: int) -> Select[Any]:
        """The first ones that fit."""
        ids = select(Task.id, true().label("fits"), literal(value=False).label("is_edge"))
        return select(self.rows(ids, edge).order_by(Task.id.desc()).limit(need).subquery())

    def rows(self, columns: Select[*Row], edge: UUID | None) -> Select[*Row]:
        """These columns of the rows that fit, through the edge, in no order."""
        through = [] if edge is None else [Task.id >= edge]
        return self._by_index(columns).where(*through, *self.rest)

    def _by_index(self, columns: Select[*Row]) -> Select[*Row]:
        found = columns.where(*self.start)
        return found if self.index is None else by_index(found, self.index)


def streams(wanted: TaskFilter, start: Conditions, look: int) -> Iterator[Stream]:
    """Give the streams of a filter, which read about `look` rows together."""
    rest = [*of_kind(wanted), *of_rows(wanted)]
    own = own_index(wanted)
    if own is not None or wanted.user_id is None or not wanted.status:
        of_user = None if wanted.user_id is None else "ix_tasks_user"
        yield Stream(own or of_user, start, [*of_status(wanted), *rest], look)
        return
    statuses = sorted(set(wanted.status))
    for status in statuses:
        of_status_ = [*start, Task.status == status]
        yield Stream("ix_tasks_user_status", of_status_, rest, max(look // len(statuses), 1))


def start_of(wanted: TaskFilter, before: UUID | None) -> Conditions:
    """The conditions by whose index every stream reads."""
    whose = of_own_index(wanted) or of_owner(wanted)
    return [*whose, *of_ids(wanted), *([] if before is None else [Task.id < before])]


def merged(
    db: Session, streams: Sequence[Select[Any]], need: int, skip: int, edges: Iterable[UUID] = ()
) -> tuple[list[UUID], UUID | None]:
    """The first `need` ids after `skip`, each stream having as many; with them the lowest id that all have read.

    `edges` are those of streams whose rows do not tell them.
    """
    statement: Any = union_all(*streams) if len(streams) > 1 else streams[0]
    if skip:
        # Skipped ids stay in the database. Only with `skip`: the subquery costs SQLAlchemy a quarter of a millisecond.
        ids = statement.subquery()
        statement = select(ids).order_by(ids.c.id.desc()).offset(skip).limit(need)
    rows = db.execute(statement).all()
    # Below the highest edge, at least one stream was not read.
    edge = max([*(row.id for row in rows if row.is_edge), *edges], default=None)
    fitting = sorted((row.id for row in rows if row.fits and (edge is None or row.id >= edge)), reverse=True)
    return fitting[:need], edge
