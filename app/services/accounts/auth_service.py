"""Logging in, staying in, getting out.

A login is a row of `login_sessions`. Access tokens name it (`sid`), and each request looks at it, so that a revocation
counts at once in every process. Refresh tokens are its family: each is good once, and a replay ends the login.
API keys come in by the same door; they are made in `api_key_service`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.addresses import address_block
from app.core.api_key_tokens import api_key_digest, is_well_formed, looks_like_api_key
from app.core.config import get_settings
from app.core.origin import Actor
from app.core.security import (
    access_token_life,
    create_access_token,
    new_refresh_token,
    read_access_token,
    refresh_token_digest,
    verify_password,
)
from app.db.session import transaction
from app.errors import AdminOnly, InsufficientScope, InvalidCredentials, InvalidToken, LoginOnly, TooManyRequests
from app.models.api_key import ALL_SCOPES, Scope
from app.models.audit import AuditEvent
from app.models.user import Role
from app.services.accounts import api_key_queries
from app.services.accounts import login_queries as queries
from app.services.accounts.api_key_queries import LiveKey
from app.services.audit import recording as audit
from app.services.audit.recording import Subject

PURGE_BATCH = 1000
# Longer ones cannot have been set; to hash them would only burn time.
_MAX_PASSWORD = 1024


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request, as the database knew them when it came in. Never an ORM object: it outlives its session.

    By a login (`session_id`), which may do all that its user may, or by an API key (`api_key_id`) with its scopes.
    """

    id: UUID
    username: str
    role: str
    session_id: UUID | None = None
    api_key_id: UUID | None = None
    scopes: Collection[str] = ALL_SCOPES

    @classmethod
    def of_session(cls, session: queries.LiveSession, session_id: UUID) -> "Principal":
        return cls(session.user_id, session.username, session.role, session_id=session_id)

    @classmethod
    def of_key(cls, key: LiveKey) -> "Principal":
        return cls(key.user_id, key.username, key.role, api_key_id=key.id, scopes=frozenset(key.scopes))

    @property
    def is_admin(self) -> bool:
        return self.role == Role.ADMIN and Scope.ADMIN in self.scopes

    def check_admin(self, what: str = "do this") -> None:
        """Raises AdminOnly; for a key of an administrator that lacks the scope InsufficientScope."""
        if self.role != Role.ADMIN:
            raise AdminOnly(f"Only an administrator may {what}")
        self.check_scope(Scope.ADMIN)

    def check_scope(self, scope: str) -> None:
        """Raises InsufficientScope."""
        if scope not in self.scopes:
            raise InsufficientScope(scope)

    def check_login(self) -> None:
        """Raises LoginOnly."""
        if self.session_id is None:
            raise LoginOnly

    @property
    def owner(self) -> UUID | None:
        """Whose objects they reach: None, for everybody's, or their own alone."""
        return None if self.is_admin else self.id


@dataclass(frozen=True, slots=True)
class Tokens:
    access_token: str
    refresh_token: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class PurgedLogins:
    """What one call of `purge_expired_logins` removed; zeros mean that nothing is left to do."""

    sessions: int
    failures: int
    api_keys: int


class AuthService:
    def login(self, db: Session, login: str, password: str, address: str) -> Tokens:
        """A new login for a username or an e-mail address. Raises InvalidCredentials, TooManyRequests.

        Two transactions, because Argon2 runs between them: nobody waits for a lock, or a connection, through it. The
        second looks at the limits again, so that a burst of parallel guesses gets no more answers than the limit.
        """
        with transaction(db):
            found = queries.find_credentials(db, _printable(login))
            keys = _failure_keys(login, found, address)
            self._check_limits(db, keys)
        fits, renewed = verify_password(password[:_MAX_PASSWORD], found.password_hash if found else None)
        tokens = None
        with transaction(db):
            self._check_limits(db, keys)
            if found is not None and fits and len(password) <= _MAX_PASSWORD:
                tokens = self._open_session(db, found, renewed)
            if tokens is None:
                account = Subject.user(found.user_id) if found else Subject.unknown_login(login)
                self._count_failure(db, keys, [account, Subject.address(address)], _why(found, fits=fits))
            else:
                queries.forget_failures(db, next(iter(keys)))
        if tokens is None:
            raise InvalidCredentials
        return tokens

    def refresh(self, db: Session, refresh_token: str) -> Tokens:
        """A new pair for an unused refresh token. Raises InvalidToken; a used one ends its login for good."""
        with transaction(db):
            tokens = self._rotate(db, refresh_token_digest(refresh_token))
        # Raised after the commit: the revocation that a replay causes must last.
        if tokens is None:
            raise InvalidToken
        return tokens

    def logout(self, db: Session, user: Principal) -> None:
        """End this login: its access and refresh tokens are worthless from the commit on. Raises LoginOnly."""
        if user.session_id is None:
            raise LoginOnly
        with transaction(db):
            user_id = queries.revoke_session(db, user.session_id, "logout")
            if user_id is not None:
                audit.record(db, AuditEvent.LOGOUT, Subject.user(user_id), session=str(user.session_id))

    def authenticate(self, db: Session, token: str) -> Principal:
        """Who presents this access token or API key. Raises InvalidToken when it or its user is no longer good."""
        if looks_like_api_key(token):
            return self._authenticate_key(db, token)
        claims = read_access_token(token)
        with transaction(db):
            session = queries.live_session_of_token(db, claims)
        if session is None:
            raise InvalidToken
        return Principal.of_session(session, claims.session_id)

    def purge_expired_logins(self, db: Session) -> PurgedLogins:
        """Remove a batch of logins and keys that ended LOGIN_RETENTION_DAYS ago, and of counts that matter no more."""
        settings = get_settings()
        with transaction(db):
            return PurgedLogins(
                sessions=queries.delete_expired_sessions(
                    db, timedelta(days=settings.login_retention_days), PURGE_BATCH
                ),
                failures=queries.delete_old_failures(db, settings.login_window_seconds, PURGE_BATCH),
                api_keys=api_key_queries.delete_ended_keys(
                    db, timedelta(days=settings.login_retention_days), PURGE_BATCH
                ),
            )

    def check_password(self, db: Session, user_id: UUID, password: str) -> bool:
        """Whether this is the user's password, under the same limits as a login. For changes that ask for it again."""
        settings = get_settings()
        key = queries.failure_key("account", str(user_id))
        with transaction(db):
            self._check_limits(db, {key: settings.login_attempts})
            stored = queries.password_hash_of(db, user_id)
        fits, _ = verify_password(password, stored)
        with transaction(db):
            self._check_limits(db, {key: settings.login_attempts})
            if fits:
                queries.forget_failures(db, key)
            else:
                self._count_failure(
                    db, {key: settings.login_attempts}, [Subject.user(user_id)], "wrong password at its change"
                )
        return fits

    def count_registration(self, db: Session, address: str) -> None:
        """One more from this address, which hashes a password here. Raises TooManyRequests, and counts nothing then.

        Counted first, then looked at: of any number of concurrent ones no more than the limit pass.
        """
        settings = get_settings()
        key = queries.failure_key("registration", address_block(address))
        with transaction(db):
            queries.count_failure(db, [key], settings.login_window_seconds)
            wait = queries.wait_for(db, {key: settings.registrations_per_address + 1}, settings.login_window_seconds)
            if wait is not None:
                raise TooManyRequests("Too many registrations from this address: wait", retry_after=wait)

    def note_use(self, db: Session, key: LiveKey) -> None:
        """Once a minute and key: that it is used, for its owner and for the audit."""
        with transaction(db):
            if api_key_queries.note_use(db, key.id):
                actor = Actor(key.user_id, key.username)
                audit.record(db, AuditEvent.API_KEY_USED, Subject.api_key(key.id), actor=actor)

    def _authenticate_key(self, db: Session, token: str) -> Principal:
        """The owner's role is read with the key: what they have lost, their keys have lost as well."""
        if not is_well_formed(token):
            raise InvalidToken
        with transaction(db):
            key = api_key_queries.live_key(db, api_key_digest(token))
        if key is None:
            raise InvalidToken
        if key.use_is_stale:
            self.note_use(db, key)
        return Principal.of_key(key)

    def _check_limits(self, db: Session, keys: dict[str, int]) -> None:
        wait = queries.wait_for(db, keys, get_settings().login_window_seconds)
        if wait is not None:
            raise TooManyRequests("Too many failed attempts: wait before the next one", retry_after=wait)

    def _count_failure(self, db: Session, keys: dict[str, int], subjects: list[Subject], why: str) -> None:
        """Count it for each key, whose subjects these are, and record it: once more where it is a key's last one.

        The refusals that follow write nothing: a flood of them must not become one of records.
        """
        window = get_settings().login_window_seconds
        counted = queries.count_failure(db, list(keys), window)
        audit.record(db, AuditEvent.LOGIN_FAILED, subjects[0], why=why)
        for (key, limit), subject in zip(keys.items(), subjects, strict=True):
            if counted[key] == limit:
                audit.record(db, AuditEvent.LOGIN_THROTTLED, subject, failures=limit, window_seconds=window)

    def _open_session(self, db: Session, user: queries.Credentials, renewed_hash: str | None) -> Tokens | None:
        now = queries.lock_credentials(db, user, to_write=renewed_hash is not None)
        if now is None:
            return None
        if renewed_hash is not None:
            queries.store_password_hash(db, user.user_id, renewed_hash)
        session = queries.add_session(db, user.user_id, now, get_settings().refresh_token_days)
        actor = Actor(user.user_id, user.username)
        audit.record(db, AuditEvent.LOGIN_SUCCEEDED, Subject.user(user.user_id), actor=actor, session=str(session.id))
        return self._issue(db, user.user_id, session.id, now, session.expires_at)

    def _rotate(self, db: Session, digest: bytes) -> Tokens | None:
        session_id = queries.use_refresh_token(db, digest)
        if session_id is None:
            replayed = queries.session_of_refresh_token(db, digest)
            if replayed is not None:
                user_id = queries.revoke_session(db, replayed, "refresh token replayed")
                if user_id is not None:
                    audit.record(db, AuditEvent.TOKEN_REPLAYED, Subject.user(user_id), session=str(replayed))
            return None
        session = queries.live_session(db, session_id)
        if session is None:
            return None
        return self._issue(db, session.user_id, session_id, session.now, session.expires_at)

    def _issue(self, db: Session, user_id: UUID, session_id: UUID, now: datetime, until: datetime) -> Tokens:
        """A pair of tokens. Neither outlives the login, which ends REFRESH_TOKEN_DAYS after it began."""
        refresh_token = new_refresh_token()
        queries.add_refresh_token(db, refresh_token_digest(refresh_token), session_id, until)
        return Tokens(
            access_token=create_access_token(user_id, session_id, now),
            refresh_token=refresh_token,
            expires_in=int(access_token_life().total_seconds()),
        )


def _failure_keys(login: str, found: queries.Credentials | None, address: str) -> dict[str, int]:
    """The account's key first, then the address's, each with its limit.

    The account counts under its id, so that its name and its e-mail address are not twice as many guesses; a name
    that nobody has counts alike, so that being throttled tells nothing.
    """
    settings = get_settings()
    account = str(found.user_id) if found else login.lower()
    return {
        queries.failure_key("account", account): settings.login_attempts,
        queries.failure_key("address", address_block(address)): settings.login_attempts_per_address,
    }


def _why(found: queries.Credentials | None, *, fits: bool) -> str:
    """For the audit alone: the caller must not learn it."""
    if found is None:
        return "unknown name"
    if not fits:
        return "wrong password"
    return "changed meanwhile" if found.is_active else "inactive"


def _printable(login: str) -> str:
    """PostgreSQL's text holds no NUL: such a name is nobody's, and must not become an error."""
    return login.replace("\x00", "\N{REPLACEMENT CHARACTER}")


auth_service = AuthService()
