"""The end of a claim hold, and whether there is one: paused queues, and workers that drain."""

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.orm import Session

from app.models.claim_hold import ClaimHold, HoldKind


def of_hold(kind: HoldKind, name: str) -> tuple[ColumnElement[bool], ...]:
    return ClaimHold.kind == kind.value, ClaimHold.name == name


def forget(db: Session, kind: HoldKind, name: str) -> None:
    """End a hold."""
    db.execute(delete(ClaimHold).where(*of_hold(kind, name)).execution_options(synchronize_session=False))


def is_held(db: Session, kind: HoldKind, name: str) -> bool:
    return bool(db.scalar(select(exists().where(*of_hold(kind, name)))))
