"""The ids of a page of tasks, newest first (docs/adr/0026).

Its streams (`app/db/statements/task_streams.py`) are index scans, of all rows of a user or of those of one status.
All other conditions are looked up in the rows, of which a page reads a bounded number. The edge of a stream is found
first: an engine that numbered the rows would read all of them, however soon the page is full.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Select, literal, select, true
from sqlalchemy.orm import Session

from app.db.statements.expressions import Row, by_index
from app.db.statements.task_conditions import Conditions, of_kind, of_status
from app.db.statements.task_filter import of_rows
from app.db.statements.task_streams import merged, start_of
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


def page_ids(
    db: Session, wanted: TaskFilter, need: int, *, before: UUID | None, skip: int, look: int
) -> tuple[list[UUID], UUID | None]:
    """The first `need` ids after `skip` of those below `before`, reading at most about `look` rows.

    Returns them with the lowest id that was read where reading stopped before the end, else with None.
    """
    found = [*streams(wanted, start_of(wanted, before), look)]
    edges = [stream.edge(db) if stream.rest else None for stream in found]
    statements = [stream.ids(edge, skip + need) for stream, edge in zip(found, edges, strict=True)]
    return merged(db, statements, need, skip, [edge for edge in edges if edge is not None])


def streams(wanted: TaskFilter, start: Conditions, look: int) -> Iterator[Stream]:
    rest = [*of_kind(wanted), *of_rows(wanted)]
    if wanted.error is not None or wanted.user_id is None or not wanted.status:
        of_user = None if wanted.user_id is None else "ix_tasks_user"
        index = of_user if wanted.error is None else "ix_tasks_error"
        yield Stream(index, start, [*of_status(wanted), *rest], look)
        return
    statuses = sorted(set(wanted.status))
    for status in statuses:
        of_status_ = [*start, Task.status == status]
        yield Stream("ix_tasks_user_status", of_status_, rest, max(look // len(statuses), 1))
