"""Setting up and removing the second factor (TOTP, RFC 6238; NIST SP 800-63B-4 §3.1.4, ASVS 5.0 V6.5).

`second_factor` checks its codes at a login.
"""

import logging
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.orm import Session

from app import errors
from app.core import one_time_codes
from app.core.config import get_settings
from app.core.origin import Actor
from app.core.security import Undecryptable, decrypt
from app.db.session import transaction
from app.db.statements import accounts
from app.models.audit import AuditEvent
from app.services import audit
from app.services.accounts import login_throttle, second_factor as queries, sessions
from app.services.accounts.auth_service import Principal, auth_service
from app.services.accounts.second_factor import Factor, check_code, encrypt_secret, find_step
from app.services.audit import Subject

logger = logging.getLogger(__name__)


class NewFactor(NamedTuple):
    """What an authenticator app needs, as base32 text and as a URI. Shown once."""

    secret: str
    uri: str


class FactorState(NamedTuple):
    """A second factor that is in force: since when, and how many recovery codes are unused."""

    since: datetime
    recovery_codes: int


class TotpService:
    """Each method states its transactions; hashing and encryption run outside them."""

    def state(self, db: Session, user_id: UUID) -> FactorState | None:
        """Return what there is to know of the user's second factor, or None if none is in force. One transaction."""
        with transaction(db):
            stored = queries.find_factor(db, user_id)
            if stored is None or stored.confirmed_at is None:
                return None
            return FactorState(stored.confirmed_at, queries.count_recovery_codes(db, user_id))

    def begin(self, db: Session, user: Principal, current_password: str) -> NewFactor:
        """Make a secret, which is in force once a code of it is confirmed. One that was not confirmed is replaced.

        Raises WrongPassword, SecondFactorSet, SecondFactorOff, TooManyRequests.
        """
        settings = get_settings()
        if settings.secret_key is None:
            raise errors.SecondFactorOff
        if not auth_service.check_password(db, user.id, current_password):
            raise errors.WrongPassword
        secret = one_time_codes.new_secret()
        encrypted = encrypt_secret(settings.accepted_keys, user.id, secret)
        with transaction(db):
            login_throttle.count_change(db, "changes of the second factor", user.id)
            self._lock(db, user.id)
            stored = queries.find_factor(db, user.id)
            if stored is not None and stored.confirmed_at is not None:
                raise errors.SecondFactorSet
            queries.set_pending_factor(db, user.id, encrypted)
            audit.record(db, AuditEvent.SECOND_FACTOR_BEGUN, Subject.user(user.id))
        return NewFactor(secret, one_time_codes.provisioning_uri(secret, user.username))

    def confirm(self, db: Session, user: Principal, otp: str) -> list[str]:
        """Put the second factor in force. Returns its recovery codes, which only this answer shows.

        All other logins of the user end: a password alone was enough for them.

        Raises SecondFactorNotFound, SecondFactorSet, WrongOneTimeCode, TooManyRequests.
        """
        settings = get_settings()
        codes, attempt = one_time_codes.new_recovery_codes(), login_throttle.code_check(settings, user.id)
        with transaction(db):
            self._lock(db, user.id)
            attempt.check(db)
            stored = queries.find_factor(db, user.id)
            if stored is None:
                raise errors.SecondFactorNotFound
            if stored.confirmed_at is not None:
                raise errors.SecondFactorSet
            step = find_step(settings.accepted_keys, stored, one_time_codes.normalized(otp))
            if step is None:
                attempt.fail(db, "wrong one-time code at its confirmation")
            else:
                digests = [one_time_codes.recovery_digest(one_time_codes.normalized(code)) for code in codes]
                attempt.succeed(db)
                queries.confirm_factor(db, user.id, step, digests)
                accounts.revoke_open_sessions(db, user.id, "second factor set", but=user.session_id)
                audit.record(db, AuditEvent.SECOND_FACTOR_SET, Subject.user(user.id))
        if step is None:  # raised after the commit, so that the failure stays counted
            raise errors.WrongOneTimeCode
        return codes

    def remove(self, db: Session, user: Principal, current_password: str, otp: str) -> None:
        """Remove the user's second factor. `otp` is a code of the authenticator or a recovery code.

        Raises WrongPassword, WrongOneTimeCode, SecondFactorNotFound, TooManyRequests.
        """
        settings = get_settings()
        attempt = login_throttle.code_check(settings, user.id)
        if not auth_service.check_password(db, user.id, current_password):
            raise errors.WrongPassword
        with transaction(db):
            self._lock(db, user.id)
            attempt.check(db)
            checked = check_code(db, settings.accepted_keys, Actor(user.id, user.username), otp)
            if checked is Factor.NOT_SET:
                raise errors.SecondFactorNotFound
            if checked is Factor.PASSED:
                attempt.succeed(db)
                queries.delete_factor(db, user.id)
                audit.record(db, AuditEvent.SECOND_FACTOR_REMOVED, Subject.user(user.id))
            else:
                attempt.fail(db, "wrong one-time code at its removal")
        if checked is not Factor.PASSED:
            raise errors.WrongOneTimeCode

    def reset(self, db: Session, user_id: UUID) -> None:
        """Remove the second factor of a user who has lost it, confirmed or not, and end all logins of the user.

        For administrators. One transaction. Raises UserNotFound, SecondFactorNotFound.
        """
        with transaction(db):
            self._lock(db, user_id)
            if not queries.delete_factor(db, user_id):
                raise errors.SecondFactorNotFound
            sessions.revoke_sessions_of(db, user_id, "second factor reset")
            audit.record(db, AuditEvent.SECOND_FACTOR_RESET, Subject.user(user_id))

    def renew_encryption(self, db: Session) -> int:
        """Encrypt with SECRET_KEY what a key of SECRET_KEY_PREVIOUS has encrypted. Returns the number of secrets.

        A transaction for each batch. Any number of processes may do it at once.
        """
        keys, renewed, last = get_settings().accepted_keys, 0, None
        while True:
            with transaction(db):
                batch = queries.factors_after(db, last)
                for stored in batch:
                    renewed += _renew(db, keys, stored)
            if not batch:
                return renewed
            last = batch[-1].user_id

    def _lock(self, db: Session, user_id: UUID) -> None:
        """Lock the user, so that a login that checks the second factor runs before or after this. See UserNotFound."""
        if accounts.lock_user(db, user_id) is None:
            raise errors.UserNotFound


def _renew(db: Session, keys: list[str], stored: queries.StoredFactor) -> bool:
    try:
        plain, is_current = decrypt(stored.secret, keys, str(stored.user_id))
    except Undecryptable:
        return False  # logged when a code is checked
    if is_current:
        return False
    return queries.replace_secret(
        db, stored.user_id, stored.secret, encrypt_secret(keys, stored.user_id, plain.decode())
    )


totp_service = TotpService()
