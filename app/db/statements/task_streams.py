"""A page of tasks is put together from *streams*: statements that each give ids in falling order (docs/adr/0026).

A row of a stream is an id, whether the task fits, and whether it is the stream's edge: the last row that it may read.
"""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select, union_all
from sqlalchemy.orm import Session

from app.db.statements.task_conditions import Conditions, of_error, of_ids, of_owner
from app.models.task import Task
from app.models.task_filter import TaskFilter


def start_of(wanted: TaskFilter, before: UUID | None) -> Conditions:
    """The conditions by whose index every stream reads."""
    whose = of_error(wanted) or of_owner(wanted)
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
