"""Checks the second factor at a login, and wherever a code is asked for again."""

import logging
from collections.abc import Sequence
from enum import Enum, auto
from uuid import UUID

from sqlalchemy.orm import Session

from app.core import one_time_codes
from app.core.origin import Actor
from app.core.security import Undecryptable, decrypt, encrypt
from app.models.audit import AuditEvent
from app.services.accounts import second_factor_queries as queries
from app.services.accounts.second_factor_queries import StoredFactor
from app.services.audit import recording as audit
from app.services.audit.recording import Subject

logger = logging.getLogger(__name__)


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
    stored = queries.find_factor(db, user.id)
    if stored is None or stored.confirmed_at is None:
        return Factor.NOT_SET
    code = one_time_codes.normalized(otp)
    if not code:
        return Factor.MISSING
    step = find_step(keys, stored, code)
    if step is not None and queries.use_step(db, user.id, step):
        return Factor.PASSED
    if queries.use_recovery_code(db, user.id, one_time_codes.recovery_digest(code)):
        left = queries.count_recovery_codes(db, user.id)
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
