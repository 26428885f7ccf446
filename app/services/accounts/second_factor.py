"""The second factor of a user: its queries, and its check at a login and wherever a code is asked for again.

Nothing here commits. Each use of a code is one guarded statement: one caller wins. `totp_service` sets it up.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from uuid import UUID

from sqlalchemy import Executable, delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from app.core import one_time_codes
from app.core.origin import Actor
from app.core.security import Undecryptable, decrypt, encrypt
from app.db.statements.writes import changed_rows
from app.ddl.clock import NOW
from app.models.audit import AuditEvent
from app.models.user import RecoveryCode, SecondFactor
from app.services import audit
from app.services.audit import Subject

logger = logging.getLogger(__name__)

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


def set_pending_factor(db: Session, user_id: UUID, secret: bytes) -> None:
    """Store a secret that is not in force yet, in place of any other. The caller holds the lock on the user."""
    delete_factor(db, user_id)
    db.execute(insert(SecondFactor).values(user_id=user_id, secret=secret))


def confirm_factor(db: Session, user_id: UUID, step: int, digests: Collection[bytes]) -> None:
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


# -- The check of a code, at a login and wherever one is asked for again -----------------------------------------------


class Factor(Enum):
    """What a code has come to: none is in force; it was right, and is used now; none was given; it was wrong."""

    NOT_SET = auto()
    PASSED = auto()
    MISSING = auto()
    WRONG = auto()


def check_code(db: Session, keys: Sequence[str], user: Actor, otp: str) -> Factor:
    """Check a code of the authenticator or a recovery code, and use it. The caller commits.

    `keys` are the keys of the service, the present one first. A code that was used before is wrong, and so is every
    code of an authenticator whose secret cannot be decrypted; recovery codes need no key.
    """
    stored = find_factor(db, user.id)
    if stored is None or stored.confirmed_at is None:
        return Factor.NOT_SET
    code = one_time_codes.normalized(otp)
    if not code:
        return Factor.MISSING
    step = find_step(keys, stored, code)
    if step is not None and use_step(db, user.id, step):
        return Factor.PASSED
    if use_recovery_code(db, user.id, one_time_codes.recovery_digest(code)):
        left = count_recovery_codes(db, user.id)
        audit.record(db, AuditEvent.RECOVERY_CODE_USED, Subject.user(user.id), actor=user, left=left)
        return Factor.PASSED
    return Factor.WRONG


def find_step(keys: Sequence[str], stored: StoredFactor, code: str) -> int | None:
    """Return the unused time step whose code this is, or None."""
    try:
        secret, _ = decrypt(stored.secret, keys, str(stored.user_id))
    except Undecryptable:
        logger.error(  # noqa: TRY400 (no traceback: the reason is the setting)
            "the second factor of user %s cannot be decrypted: add the former SECRET_KEY to SECRET_KEY_PREVIOUS, or "
            "have an administrator remove it",
            stored.user_id,
        )
        return None
    return one_time_codes.matching_step(secret.decode(), code, stored.now, stored.last_step)


def encrypt_secret(keys: Sequence[str], user_id: UUID, secret: str) -> bytes:
    """Return the secret as `find_step` reads it."""
    return encrypt(secret.encode(), keys, str(user_id))
