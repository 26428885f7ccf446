"""Does accepted deeds, one batch at a time.

A step is one transaction: it does a batch and counts it. So whatever is killed, each task is done and counted once. Any
number of processes may take steps; a deed is locked by the one that does.
"""

from collections import Counter
from datetime import timedelta
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from app.core.origin import Actor
from app.db.deadlocks import repeated
from app.db.session import transaction
from app.db.statements import bulk
from app.db.statements.batches import delete_batch
from app.ddl.clock import NOW
from app.models.bulk import BulkBatch, BulkDeed, BulkEvent, Deed, DeedState, pack_ids, unpack_ids
from app.models.user import User
from app.services import audit
from app.services.audit import Subject
from app.services.bulk.deeds import counts, end
from app.services.bulk.performing import Doer, Outcome, perform

KEPT = timedelta(days=7)
FORGET_BATCH = 100


def running(db: Session) -> dict[UUID, list[UUID]]:
    """The running deeds of each user, the oldest first."""
    found: dict[UUID, list[UUID]] = {}
    statement = select(BulkDeed.user_id, BulkDeed.id).where(BulkDeed.state == DeedState.RUNNING.value)
    with transaction(db):
        for user_id, deed_id in db.execute(statement.order_by(BulkDeed.created_at, BulkDeed.id)):
            found.setdefault(user_id, []).append(deed_id)
    return found


def step(db: Session, deed_id: UUID) -> bool:
    """Do the next batch, or end the deed. False if nothing moved: another process does it, or its rows are locked."""
    return repeated(lambda: _step(db, deed_id))


def _step(db: Session, deed_id: UUID) -> bool:
    with transaction(db):
        deed = bulk.lock_running(db, deed_id)
        if deed is None:
            return False
        user = db.execute(
            select(User.username, User.is_active, User.role, User.max_priority).where(User.id == deed.user_id)
        ).one()
        actor = Actor(deed.user_id, user.username)
        if not user.is_active:
            _end(db, deed, DeedState.ABORTED, actor)
            return True
        batches = select(BulkBatch.number, BulkBatch.task_ids).where(BulkBatch.deed_id == deed_id)
        batch = db.execute(batches.order_by(BulkBatch.number).limit(1)).one_or_none()
        if batch is None:
            _end(db, deed, DeedState.FINISHED, actor)
            return True
        doer = Doer(deed.user_id, user.role, user.max_priority, deed.as_admin, deed.within_quota)
        ids = unpack_ids(batch.task_ids)
        outcome = perform(db, Deed(deed.deed), doer, ids)
        _count(db, deed, outcome)
        put_back(db, deed_id, batch.number, outcome.left)
        return len(outcome.left) < len(ids)


def forget_finished(db: Session) -> int:
    """Delete a batch of the deeds that ended long ago. Returns how many."""
    with transaction(db):
        return delete_batch(db, BulkDeed, BulkDeed.finished_at < NOW - KEPT, limit=FORGET_BATCH)


def _count(db: Session, deed: BulkDeed, outcome: Outcome) -> None:
    values = {
        "done": deed.done + outcome.done,
        "failed": deed.failed + outcome.failed,
        "skipped": dict(Counter(deed.skipped) + outcome.skipped),
    }
    statement = update(BulkDeed).where(BulkDeed.id == deed.id).values(values)
    db.execute(statement.execution_options(synchronize_session=False))


def put_back(db: Session, deed_id: UUID, number: int, left: list[UUID]) -> None:
    """Delete the batch, or put what is left of it behind all others."""
    this = (BulkBatch.deed_id == deed_id, BulkBatch.number == number)
    if not left:
        db.execute(delete(BulkBatch).where(*this).execution_options(synchronize_session=False))
        return
    last = db.scalars(select(func.max(BulkBatch.number)).where(BulkBatch.deed_id == deed_id)).one()
    values = {"number": (last or 0) + 1, "task_ids": pack_ids(left)}
    db.execute(update(BulkBatch).where(*this).values(values).execution_options(synchronize_session=False))


def _end(db: Session, deed: BulkDeed, state: DeedState, actor: Actor) -> None:
    told = counts(deed)
    end(db, deed.id, state)
    audit.record(db, BulkEvent.ENDED, Subject("bulk_deed", str(deed.id)), actor=actor, state=state.value, **told)
