"""The tasks of bulk deeds: all that match, in one statement, and the rows of a batch that nobody else holds."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import ColumnElement, func, insert, literal, select
from sqlalchemy.orm import Session

from app.db.statements.expressions import packed_ids
from app.models.bulk_deed import BATCH, ID_BYTES, BulkBatch
from app.models.task import Task


def collect(db: Session, deed_id: UUID, conditions: Sequence[ColumnElement[bool]]) -> int:
    """Write the ids of all tasks that match now to the batches of the deed, the oldest first. Returns how many."""
    number = (func.row_number().over(order_by=Task.id) - 1) // BATCH
    found = select(Task.id, number.label("number")).where(*conditions).subquery("found")
    batches = select(literal(deed_id, BulkBatch.deed_id.type), found.c.number, packed_ids(found.c.id))
    batches = batches.group_by(found.c.number)
    db.execute(insert(BulkBatch).from_select(["deed_id", "number", "task_ids"], batches))
    total = func.coalesce(func.sum(func.octet_length(BulkBatch.task_ids)), 0)
    return int(db.scalars(select(total).where(BulkBatch.deed_id == deed_id)).one()) // ID_BYTES
