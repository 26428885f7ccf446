"""The ids of a page of tasks, newest first (docs/adr/0026).

All conditions but those of a stream are looked up in the rows, of which a page reads a bounded number. The edge of a
stream is found first: an engine that numbered the rows would read all of them, however soon the page is full.
"""

from uuid import UUID

from sqlalchemy.orm import Session

from app.db.statements.task_streams import merged_ids, start_of, streams
from app.models.task_filter import TaskFilter


def page_ids(
    db: Session, wanted: TaskFilter, need: int, *, before: UUID | None, skip: int, look: int
) -> tuple[list[UUID], UUID | None]:
    """Return the first `need` ids after `skip` of those below `before`, reading at most about `look` rows.

    Returns them with the lowest id that was read where reading stopped before the end, else with None.
    """
    found = [*streams(wanted, start_of(wanted, before), look)]
    edges = [stream.edge(db) if stream.rest else None for stream in found]
    statements = [stream.ids(edge, skip + need) for stream, edge in zip(found, edges, strict=True)]
    return merged_ids(db, statements, need, skip, [edge for edge in edges if edge is not None])
