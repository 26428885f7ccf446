"""Queries of second factors. None of them commits. Each use of a code is one guarded statement: one caller wins."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Executable, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from app.db.rows import changed_rows
from app.ddl.clock import NOW
from app.models.second_factor import RecoveryCode, SecondFactor

RENEWAL_BATCH = 500


@dataclass(frozen=True, slots=True)
class StoredFactor:
    """A second factor, and the database's time."""

    user_id: UUID
    secret: bytes
    confirmed_at: datetime | None
    last_step: int | None
    now: datetime


_STORED = select(SecondFactor.user_id, SecondFactor.secret, SecondFactor.confirmed_at, SecondFactor.last_step, NOW)


def find_factor(db: Session, user_id: UUID) -> StoredFactor | None:
    """Return the second factor of the user, confirmed or not, or None."""
    found = db.execute(_STORED.where(SecondFactor.user_id == user_id)).first()
    return None if found is None else StoredFactor(*found)


def set_pending(db: Session, user_id: UUID, secret: bytes) -> None:
    """Store a secret that is not in force yet, in place of any other. The caller holds the lock on the user."""
    delete_factor(db, user_id)
    db.execute(insert(SecondFactor).values(user_id=user_id, secret=secret))


def confirm(db: Session, user_id: UUID, step: int, digests: Collection[bytes]) -> None:
    """Put the second factor in force, with these recovery codes. The caller holds the lock on the user."""
    own = SecondFactor.user_id == user_id
    db.execute(update(SecondFactor).where(own).values(confirmed_at=NOW, last_step=step))
    db.execute(insert(RecoveryCode), [{"user_id": user_id, "digest": digest} for digest in digests])


def use_step(db: Session, user_id: UUID, step: int) -> bool:
    """Use the code of a time step. Of any number of concurrent callers one gets True."""
    later = or_(SecondFactor.last_step.is_(None), SecondFactor.last_step < step)
    used = update(SecondFactor).where(SecondFactor.user_id == user_id, later).values(last_step=step)
    return _changed(db, used)


def use_recovery_code(db: Session, user_id: UUID, digest: bytes) -> bool:
    """Delete a recovery code. Of any number of concurrent callers one gets True."""
    return _changed(db, delete(RecoveryCode).where(RecoveryCode.user_id == user_id, RecoveryCode.digest == digest))


def count_recovery_codes(db: Session, user_id: UUID) -> int:
    """Return the number of unused recovery codes."""
    return db.scalar(select(func.count()).where(RecoveryCode.user_id == user_id)) or 0


def delete_factor(db: Session, user_id: UUID) -> bool:
    """Delete the second factor, confirmed or not, with its recovery codes. Returns whether there was one."""
    return _changed(db, delete(SecondFactor).where(SecondFactor.user_id == user_id))


def factors_after(db: Session, user_id: UUID | None) -> Sequence[StoredFactor]:
    """Return a batch of second factors in the order of their users' ids, those after this id."""
    page = _STORED.order_by(SecondFactor.user_id).limit(RENEWAL_BATCH)
    if user_id is not None:
        page = page.where(SecondFactor.user_id > user_id)
    return [StoredFactor(*row) for row in db.execute(page)]


def replace_secret(db: Session, user_id: UUID, old: bytes, new: bytes) -> bool:
    """Replace the encrypted secret, unless it has changed meanwhile. Returns whether it did."""
    own = SecondFactor.user_id == user_id
    return _changed(db, update(SecondFactor).where(own, SecondFactor.secret == old).values(secret=new))


def _changed(db: Session, statement: Executable) -> bool:
    return changed_rows(db.execute(statement, execution_options={"synchronize_session": False})) > 0
