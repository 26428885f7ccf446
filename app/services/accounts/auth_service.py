"""Login, token refresh, logout, the authentication of requests, and the check of new passwords.

A login is a row of `login_sessions`. Access tokens name it (`sid`), and each request checks it, so a revocation takes
effect at once in every process. Each refresh token of a login is valid once, and a replay ends the login. API keys are
authenticated here too; `api_keys` creates them.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from app.core import security
from app.core.config import ConfigurationError, Settings, get_settings
from app.core.credentials import weakness
from app.core.origin import Actor
from app.db.session import transaction
from app.db.statements import accounts
from app.db.statements.accounts import lock_user_unchanged
from app.errors import AdminOnly, InvalidCredentials, InvalidToken, LoginOnly, SecondFactorRequired, Text, WeakPassword
from app.models.audit import AuditEvent
from app.models.auth import ALL_SCOPES, ApiKeyEvent, Scope
from app.models.user import Role
from app.services import audit
from app.services.accounts import login_throttle, sessions as queries
from app.services.accounts.api_keys import LiveKey
from app.services.accounts.second_factor import Factor, check_code
from app.services.accounts.sessions import Client
from app.services.accounts.users import Rights
from app.services.audit import Subject

# No stored password is longer; hashing a longer one would only waste time.
_MAX_PASSWORD = 1024


@dataclass(frozen=True, slots=True)
class Principal:
    """The user who makes a request, as the database knew them at its start.

    Never an ORM object: it outlives its session.

    Authenticated by a login (`session_id`), which has all rights of the user, or by an API key (`api_key_id`) with
    scopes.
    """

    id: UUID
    username: str
    role: str
    max_priority: str
    session_id: UUID | None = None
    api_key_id: UUID | None = None
    scopes: Collection[str] = ALL_SCOPES
    # What follows each new task of the user (`users.followers`).
    followers: int | None = None

    @classmethod
    def of_session(cls, session: queries.LiveSession, session_id: UUID) -> "Principal":
        user = (session.user_id, session.username, session.role, session.max_priority)
        return cls(*user, session_id=session_id, followers=session.followers)

    @classmethod
    def of_key(cls, key: LiveKey) -> "Principal":
        scopes = frozenset(key.scopes)
        user = (key.user_id, key.username, key.role, key.max_priority)
        return cls(*user, api_key_id=key.id, scopes=scopes, followers=key.followers)

    @property
    def rights(self) -> Rights:
        """What the principal may have run."""
        return Rights(self.id, self.role, self.max_priority, self.scopes)

    @property
    def is_admin(self) -> bool:
        """Whether the user is an administrator and the scopes include `admin`."""
        return self.role == Role.ADMIN and Scope.ADMIN in self.scopes

    def check_admin(self, action: str | None = None) -> None:
        """Raise AdminOnly unless the user is an administrator, InsufficientScope if their key lacks the scope.

        `action` says what only administrators can do.
        """
        if self.role != Role.ADMIN:
            raise AdminOnly(action and Text("Only administrators can {}", action))
        self.check_scope(Scope.ADMIN)

    def check_scope(self, scope: str) -> None:
        """Raise InsufficientScope unless the principal has the scope."""
        self.rights.check_scope(scope)

    def check_login(self) -> None:
        """Raise LoginOnly unless the user is authenticated by a login."""
        if self.session_id is None:
            raise LoginOnly

    def owns(self, user_id: UUID) -> bool:
        """Return whether this is that user by a login: an API key shows no secrets, and has no say about them."""
        return self.id == user_id and self.session_id is not None

    @property
    def owner(self) -> UUID | None:
        """The user id that limits the visible objects, or None: administrators see the objects of all users."""
        return None if self.is_admin else self.id


@dataclass(frozen=True, slots=True)
class Tokens:
    """A pair of tokens; `expires_in` is the lifetime of the access token in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


@dataclass(frozen=True, slots=True)
class PageLogin:
    """The token of a login for the pages' cookie, and when the login ends."""

    token: str
    expires_at: datetime


class _Typed(NamedTuple):
    """What a user has typed to log in."""

    login: str
    password: str
    otp: str


Issued = TypeVar("Issued", Tokens, PageLogin)
# Makes what the client gets of a new login: of its user, its id, now, and its end.
Issue = Callable[[Session, UUID, UUID, datetime, datetime], Issued]


class AuthService:
    """Authenticates users and manages their logins. Each public method states its transactions."""

    def login(
        self, db: Session, login: str, password: str, address: str, otp: str = "", user_agent: str | None = None
    ) -> Tokens:
        """Create a login for a username or an e-mail address. It keeps `address` and `user_agent` for its user to see.

        Raises InvalidCredentials, SecondFactorRequired, TooManyRequests.

        Uses two transactions, because Argon2 runs between them: no lock and no connection is held meanwhile. The second
        checks the limits again, so that parallel guesses cannot exceed them.
        """
        return self._login(db, get_settings(), _Typed(login, password, otp), Client(address, user_agent), self._issue)

    def login_to_pages(
        self, db: Session, login: str, password: str, address: str, otp: str = "", user_agent: str | None = None
    ) -> PageLogin:
        """Sign in as `login` does, for the cookie of the pages. No other token of this login exists."""
        client = Client(address, user_agent)
        return self._login(db, get_settings(), _Typed(login, password, otp), client, _issue_to_pages)

    def _login(self, db: Session, settings: Settings, typed: _Typed, client: Client, issue: Issue[Issued]) -> Issued:
        login, password, otp = typed
        with transaction(db):
            found = queries.find_credentials(db, _without_nul(login))
            attempt = login_throttle.login_attempt(
                db, settings, login, found.user_id if found else None, client.address
            )
            attempt.check(db)
        is_correct, renewed = security.verify_password(password[:_MAX_PASSWORD], found.password_hash if found else None)
        issued, factor = None, Factor.NOT_SET
        with transaction(db):
            if found is not None and is_correct and len(password) <= _MAX_PASSWORD:
                issued, factor = self._open_session(db, found, renewed, otp, settings, client, issue)
            if found is not None and issued is not None:
                attempt.succeed(db)
                login_throttle.remember_block(db, settings, found.user_id, client.address)
            elif factor is Factor.MISSING:  # how a client learns that a code is needed
                attempt.leave_open(db)
            else:
                attempt.fail(db, _failure_reason(found, factor, is_correct=is_correct))
        if issued is None:
            raise InvalidCredentials if factor is Factor.NOT_SET else SecondFactorRequired
        return issued

    def refresh(self, db: Session, refresh_token: str) -> Tokens:
        """Return a new pair of tokens for an unused refresh token. A used token ends its login.

        Raises InvalidToken, and TooManyRequests, which leaves the token unused.
        """
        with transaction(db):
            tokens = self._rotate(db, security.refresh_token_digest(refresh_token))
        # Raised after the commit, so that the revocation caused by a replay persists.
        if tokens is None:
            raise InvalidToken
        return tokens

    def logout(self, db: Session, user: Principal) -> None:
        """End this login; no process accepts its tokens after the commit. Raises LoginOnly."""
        if user.session_id is None:
            raise LoginOnly
        self._end(db, user.session_id, "logout")

    def end_replaced(self, db: Session, session_id: UUID) -> None:
        """End a login whose browser has signed in anew. Nothing happens if it has ended."""
        self._end(db, session_id, "replaced")

    def _end(self, db: Session, session_id: UUID, why: str) -> None:
        with transaction(db):
            user_id = accounts.revoke_session(db, session_id, why)
            if user_id is not None:
                audit.record(db, AuditEvent.LOGOUT, Subject.user(user_id), session=str(session_id), why=why)

    def check_password(self, db: Session, user_id: UUID, password: str) -> bool:
        """Return whether this is the user's password. For changes that ask for the password again.

        Raises TooManyRequests after too many failures. They are counted apart from those of logins: who guesses at the
        login must not keep the user from a change.
        """
        attempt = login_throttle.password_check(get_settings(), user_id)
        with transaction(db):
            attempt.check(db)
            stored = queries.password_hash_of(db, user_id)
        is_correct, _ = security.verify_password(password, stored)
        with transaction(db):
            if is_correct:
                attempt.succeed(db)
            else:
                attempt.fail(db, "wrong password at its change")
        return is_correct

    def note_use(self, db: Session, key: LiveKey) -> None:
        """Record that a key is used, at most once a minute, for its owner and the audit."""
        with transaction(db):
            if accounts.note_key_use(db, key.id):
                actor = Actor(key.user_id, key.username)
                audit.record(db, ApiKeyEvent.USED, Subject.api_key(key.id), actor=actor)

    def _open_session(
        self,
        db: Session,
        user: queries.Credentials,
        renewed_hash: str | None,
        otp: str,
        settings: Settings,
        client: Client,
        issue: Issue[Issued],
    ) -> tuple[Issued | None, Factor]:
        now = lock_user_unchanged(db, user.user_id, user.password_hash, to_write=renewed_hash is not None)
        if now is None:
            return None, Factor.NOT_SET
        actor = Actor(user.user_id, user.username)
        # Under the lock: a second factor that is being set ends this login, or is seen here.
        factor = check_code(db, settings.accepted_keys, actor, otp)
        if factor not in {Factor.NOT_SET, Factor.PASSED}:
            return None, factor
        if renewed_hash is not None:
            queries.store_password_hash(db, user.user_id, renewed_hash)
        session = queries.add_session(db, user.user_id, now, settings.refresh_token_days, client)
        audit.record(db, AuditEvent.LOGIN_SUCCEEDED, Subject.user(user.user_id), actor=actor, session=str(session.id))
        return issue(db, user.user_id, session.id, now, session.expires_at), factor

    def _rotate(self, db: Session, digest: bytes) -> Tokens | None:
        session_id = accounts.use_refresh_token(db, digest)
        if session_id is None:
            replayed = queries.session_of_refresh_token(db, digest)
            if replayed is not None:
                user_id = accounts.revoke_session(db, replayed, "refresh token replayed")
                if user_id is not None:
                    audit.record(db, AuditEvent.TOKEN_REPLAYED, Subject.user(user_id), session=str(replayed))
            return None
        session = queries.live_session(db, session_id)
        if session is None:
            return None
        login_throttle.count_deed(db, "refreshes", {str(session_id): login_throttle.LOGINS_PER_ACCOUNT})
        return self._issue(db, session.user_id, session_id, session.now, session.expires_at)

    def _issue(self, db: Session, user_id: UUID, session_id: UUID, now: datetime, until: datetime) -> Tokens:
        """Return a new pair of tokens. Neither outlives the login, which ends REFRESH_TOKEN_DAYS after its creation."""
        refresh_token = security.new_refresh_token()
        queries.add_refresh_token(db, security.refresh_token_digest(refresh_token), session_id, until)
        return Tokens(
            access_token=security.create_access_token(user_id, session_id, now),
            refresh_token=refresh_token,
            expires_in=int(security.access_token_life().total_seconds()),
        )


def _issue_to_pages(_db: Session, user_id: UUID, session_id: UUID, now: datetime, until: datetime) -> PageLogin:
    return PageLogin(security.create_page_token(user_id, session_id, now, until), until)


def _failure_reason(found: queries.Credentials | None, factor: Factor, *, is_correct: bool) -> str:
    """Return why the login failed. Only for the audit: the caller must not learn it."""
    if found is None:
        return "unknown name"
    if not is_correct:
        return "wrong password"
    if factor is Factor.WRONG:
        return "wrong one-time code"
    return "changed meanwhile" if found.is_active else "inactive"


def _without_nul(login: str) -> str:
    """Replace NUL, which PostgreSQL cannot store: such a name is unknown instead of an error."""
    return login.replace("\x00", "\N{REPLACEMENT CHARACTER}")


auth_service = AuthService()


# -- The check of each new password, and that of FIRST_ADMIN_PASSWORD at the start -------------------------------------


def check_password_strength(password: str, username: str, email: str, *, field: str) -> None:
    """Raise WeakPassword if the password is short or easy to guess. The error never repeats the password.

    Takes about 0.1 s, so call it outside transactions.
    """
    weak = weakness(password, (username, email))
    if weak is not None:
        raise WeakPassword.at([field], weak.advice, weak.kind, weak.advice)


def check_first_admin_password(settings: Settings) -> None:
    """Raise ConfigurationError if production names a weak FIRST_ADMIN_PASSWORD, also where that user exists already.

    Elsewhere a weak one is a line in the log: `UserService.ensure_first_admin` refuses it.
    """
    name, password = settings.first_admin_username, settings.first_admin_password
    if settings.app_env != "production" or name is None or password is None:
        return
    weak = weakness(password.get_secret_value(), (name, settings.first_admin_email or ""))
    if weak is not None:
        raise ConfigurationError(f"configuration: APP_ENV=production refuses this FIRST_ADMIN_PASSWORD. {weak.advice}")
