"""The tasks of bulk deeds: all that match, in one statement, and the rows of a batch that nobody else holds."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    LargeBinary,
    column,
    func,
    insert,
    literal,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from app.models.bulk_deed import BATCH, ID_BYTES, BulkBatch
from app.models.task import Task


def collect(db: Session, deed_id: UUID, conditions: Sequence[ColumnElement[bool]]) -> int:
    """Write the ids of all tasks that match now to the batches of the deed, the oldest first. Returns how many.

    One value holds them all, and is then cut: an index gives the ids in their order, and nothing is sorted.
    """
    packed = func.string_agg(
        func.uuid_send(Task.id), aggregate_order_by(literal(b"", LargeBinary), Task.id), type_=LargeBinary
    )
    found = select(packed.label("ids")).where(*conditions).subquery("found")
    size = BATCH * ID_BYTES
    last = (func.octet_length(found.c.ids, type_=Integer) - 1) // size
    numbers = func.generate_series(0, last).table_valued(column("number", Integer)).render_derived()
    part = func.substring(found.c.ids, numbers.c.number * size + 1, size)
    batches = select(literal(deed_id), numbers.c.number, part).select_from(found.join(numbers, true()))
    db.execute(insert(BulkBatch).from_select(["deed_id", "number", "task_ids"], batches))
    total = func.coalesce(func.sum(func.octet_length(BulkBatch.task_ids)), 0)
    return int(db.scalars(select(total).where(BulkBatch.deed_id == deed_id)).one()) // ID_BYTES
