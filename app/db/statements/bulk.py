"""The tasks of bulk deeds: all that match, in one statement, and the rows of a batch that nobody else holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, func, insert, literal, literal_column, select
from sqlalchemy.orm import Session

from app.db.statements.expressions import packed_ids
from app.db.statements.reads import is_one_of
from app.ddl.terms import task_bytes
from app.models.bulk import BATCH, ID_BYTES, BulkBatch, BulkDeed, DeedState
from app.models.task import Task, TaskPriority, TaskStatus


@dataclass(frozen=True, slots=True)
class LockedTask:
    """What a deed has to know of a task. Its row is locked until the commit."""

    id: UUID
    user_id: UUID
    status: TaskStatus
    cancel_requested_at: datetime | None
    celery_task_name: str
    priority: TaskPriority
    queue: str
    unique_key: str | None
    limit: str | None
    schedule_id: UUID | None
    workflow_id: UUID | None
    depends_on: list[str] | None
    followers: int | None
    arguments_bytes: int
    attached_bytes: int
    stored_bytes: int


_COLUMNS = (
    Task.id,
    Task.user_id,
    Task.status,
    Task.cancel_requested_at,
    Task.celery_task_name,
    Task.priority,
    Task.queue,
    Task.unique_key,
    Task.limit,
    Task.schedule_id,
    Task.workflow_id,
    Task.depends_on,
    Task.followers,
    func.octet_length(Task.args) + func.octet_length(Task.kwargs),
    Task.attached_bytes,
    literal_column(task_bytes(Task.__tablename__), BigInteger),
)


def collect(db: Session, deed_id: UUID, conditions: Sequence[ColumnElement[bool]]) -> int:
    """Write the ids of all tasks that match now to the batches of the deed, the oldest first. Returns how many."""
    number = (func.row_number().over(order_by=Task.id) - 1) // BATCH
    found = select(Task.id, number.label("number")).where(*conditions).subquery("found")
    batches = select(literal(deed_id, BulkBatch.deed_id.type), found.c.number, packed_ids(found.c.id))
    batches = batches.group_by(found.c.number)
    db.execute(insert(BulkBatch).from_select(["deed_id", "number", "task_ids"], batches))
    total = func.coalesce(func.sum(func.octet_length(BulkBatch.task_ids)), 0)
    return int(db.scalars(select(total).where(BulkBatch.deed_id == deed_id)).one()) // ID_BYTES


def lock_running(db: Session, deed_id: UUID) -> BulkDeed | None:
    """Lock the deed, unless it is over or another process holds it."""
    deed = select(BulkDeed).where(BulkDeed.id == deed_id, BulkDeed.state == DeedState.RUNNING.value)
    return db.scalars(deed.with_for_update(skip_locked=True).execution_options(populate_existing=True)).one_or_none()


def lock_tasks(
    db: Session, ids: Sequence[UUID], owner: UUID | None = None, *, wait: bool = False
) -> list[LockedTask]:  # fmt: skip
    """Lock the tasks, or, without `wait`, those of them that no other transaction has locked.

    `owner` limits them to that user's.
    """
    found = select(*_COLUMNS).where(is_one_of(Task.id, ids), *([] if owner is None else [Task.user_id == owner]))
    return [LockedTask(*row) for row in db.execute(found.order_by(Task.id).with_for_update(skip_locked=not wait))]
