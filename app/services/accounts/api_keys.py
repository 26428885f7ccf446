"""API keys: their queries, and how their owner creates, lists and revokes them.

`auth_service` decides what a key permits. The database's clock decides about expiry.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.security import api_key_digest, new_api_key, shown_api_key_prefix
from app.db.page import Page, page_of
from app.db.session import transaction
from app.db.statements import accounts, reads
from app.db.statements.reads import find_owned
from app.ddl.clock import NOW
from app.errors import AdminOnly, ApiKeyLimit, ApiKeyNotFound, FieldError, InvalidInput, UserNotFound
from app.models.auth import KEY_OPEN, KEY_STANDS, USE_IS_STALE, ApiKey, ApiKeyEvent, Scope
from app.models.user import Role, User
from app.services import audit
from app.services.accounts.login_throttle import count_change
from app.services.audit import Subject


@dataclass(frozen=True, slots=True)
class LiveKey:
    """A valid API key, its user, and whether its last recorded use is older than a minute."""

    id: UUID
    scopes: list[str]
    user_id: UUID
    username: str
    role: str
    max_priority: str
    followers: int | None
    use_is_stale: bool


# Built once: each request of an API key executes it.
_STANDING = (
    select(
        *(ApiKey.id, ApiKey.scopes, User.id, User.username, User.role, User.max_priority, User.followers),
        *(USE_IS_STALE, ApiKey.digest),
    )
    .join(User, User.id == ApiKey.user_id)
    .where(KEY_STANDS, reads.is_one_of(ApiKey.digest, "digests"))
)


def live_keys(db: Session | Connection, digests: Collection[bytes]) -> dict[bytes, LiveKey]:
    """Return the valid keys among these digests, by digest. One query."""
    return {bytes(row[-1]): LiveKey(*row[:-1]) for row in db.execute(_STANDING, {"digests": list(digests)})}


def count_live_keys(db: Session, user_id: UUID) -> int:
    """Return how many keys of the user are neither revoked nor expired."""
    return db.scalar(select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user_id, KEY_OPEN)) or 0


def has_passed(db: Session, moment: datetime) -> bool:
    """Return whether a moment has passed by the database's clock."""
    return bool(db.scalar(select(bindparam("moment", moment, type_=ApiKey.expires_at.type) <= NOW)))


def newest_keys(db: Session, user_id: UUID, limit: int, skip: int, below: UUID | None) -> list[ApiKey]:
    """Return a page of the user's keys, newest first; `below` is the id after which it starts."""
    page = select(ApiKey).where(ApiKey.user_id == user_id).order_by(ApiKey.id.desc()).limit(limit).offset(skip)
    if below is not None:
        page = page.where(ApiKey.id < below)
    return list(db.scalars(page.execution_options(populate_existing=True)))


def revoke_keys_of(db: Session, user_id: UUID) -> None:
    db.execute(
        update(ApiKey)
        .where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=NOW)
        .execution_options(synchronize_session=False)
    )


# -- API keys as their owner creates, lists and revokes them -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """The row of a new key, and the key itself, which is shown only once."""

    row: ApiKey
    key: str


class ApiKeyService:
    """Each method is one transaction; with `commit=False` the caller commits."""

    def create_key(
        self,
        db: Session,
        user_id: UUID,
        name: str,
        scopes: Collection[Scope],
        expires_at: datetime | None = None,
        *,
        commit: bool = True,
    ) -> NewApiKey:
        """Create a key of this user. Raises InvalidInput, AdminOnly, ApiKeyLimit, TooManyRequests, UserNotFound."""
        key = new_api_key()
        with transaction(db, commit=commit):
            role = accounts.lock_owner(db, user_id)
            self._check(db, role, scopes, expires_at)
            limit = get_settings().api_keys_per_user
            if count_live_keys(db, user_id) >= limit:
                raise ApiKeyLimit(f"You have {limit} working API keys: revoke one first")
            count_change(db, "new API keys", user_id)
            row = ApiKey(
                user_id=user_id,
                name=name,
                prefix=shown_api_key_prefix(key),
                digest=api_key_digest(key),
                scopes=[scope.value for scope in Scope if scope in scopes],
                expires_at=expires_at,
            )
            db.add(row)
            db.flush()
            db.refresh(row)
            audit.record(db, ApiKeyEvent.CREATED, Subject.api_key(row.id), scopes=row.scopes)
        return NewApiKey(row, key)

    def list_keys(
        self, db: Session, user_id: UUID, *, limit: int = 50, skip: int = 0, before: UUID | None = None
    ) -> Page[ApiKey, UUID]:
        """Return a page of the user's keys, newest first, revoked ones included.

        `before` is the last id of the page before.
        """
        with transaction(db):
            found = newest_keys(db, user_id, limit + 1, skip, before)
        return page_of(found, limit, lambda key: key.id)

    def get_key(self, db: Session, user_id: UUID, key_id: UUID) -> ApiKey:
        """Return a key of this user. Raises ApiKeyNotFound, also for another user's key."""
        with transaction(db):
            return find_owned(db, ApiKey, key_id, user_id, ApiKeyNotFound)

    def revoke_key(self, db: Session, user_id: UUID, key_id: UUID, *, commit: bool = True) -> None:
        """Revoke a key; no process accepts it after the commit. Revoking again changes nothing.

        Raises ApiKeyNotFound.
        """
        with transaction(db, commit=commit):
            find_owned(db, ApiKey, key_id, user_id, ApiKeyNotFound)
            if accounts.revoke_key(db, key_id):
                audit.record(db, ApiKeyEvent.REVOKED, Subject.api_key(key_id))

    def _check(self, db: Session, role: str | None, scopes: Collection[Scope], expires_at: datetime | None) -> None:
        if role is None:
            raise UserNotFound
        if Scope.ADMIN in scopes and role != Role.ADMIN:
            raise AdminOnly("Only administrators can create a key with the scope admin")
        if expires_at is not None and has_passed(db, expires_at):
            refused: FieldError = {"loc": ["expires_at"], "msg": "Must be in the future", "type": "in_the_past"}
            raise InvalidInput("The key would already be expired: choose a later expires_at", [refused])


api_key_service = ApiKeyService()
