"""The statements on claim holds: paused queues, and workers that drain. What they stop: `schema/holds.py`."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Text, cast, delete, exists, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.clock import NOW
from app.models.claim_hold import ClaimHold, HoldKind
from app.models.worker import WorkerProcess

_LOCK = text("LOCK TABLE claim_holds IN EXCLUSIVE MODE")


def hold(db: Session, kind: HoldKind, name: str, reason: str | None, held_by: UUID | None) -> datetime:
    """Once this transaction is committed, nothing of this queue, or by this worker, begins. Commit soon.

    Waits for the claims that are not over yet, and lets the others wait for the commit. A hold that is there already
    keeps its time, and takes the new reason. Returns that time.
    """
    db.execute(_LOCK)
    values = {"reason": reason, "held_by": held_by}
    first = insert(ClaimHold).values(kind=kind.value, name=name, since=NOW, **values)
    again = first.on_conflict_do_update(index_elements=[ClaimHold.kind, ClaimHold.name], set_=values)
    return db.execute(again.returning(ClaimHold.since)).scalar_one()


def held(db: Session, kind: HoldKind) -> Sequence[tuple[str, datetime, str | None, UUID | None]]:
    """Name, beginning, reason and user of each hold."""
    columns = (ClaimHold.name, ClaimHold.since, ClaimHold.reason, ClaimHold.held_by)
    return db.execute(select(*columns).where(ClaimHold.kind == kind.value)).all()


def paused_queues(db: Session) -> set[str]:
    """The names of the paused queues."""
    return {name for name, *_ in held(db, HoldKind.QUEUE)}


def forget_drains(db: Session) -> None:
    """Delete the holds of workers that were killed while they drained."""
    known = exists().where(cast(WorkerProcess.id, Text) == ClaimHold.name, WorkerProcess.stopped_at.is_(None))
    gone = delete(ClaimHold).where(ClaimHold.kind == HoldKind.WORKER.value, ~known)
    db.execute(gone.execution_options(synchronize_session=False))
