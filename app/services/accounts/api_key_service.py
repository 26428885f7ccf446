"""API keys: made, listed and revoked by their owner. What they are good for is decided in `auth_service`."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.api_key_tokens import api_key_digest, new_api_key, shown_prefix
from app.core.config import get_settings
from app.db.session import transaction
from app.errors import AdminOnly, ApiKeyLimit, ApiKeyNotFound, FieldError, InvalidInput, UserNotFound
from app.models.api_key import ApiKey, Scope
from app.models.audit import AuditEvent
from app.models.user import Role
from app.services.accounts import api_key_queries as queries
from app.services.audit import recording as audit
from app.services.audit.recording import Subject


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """The row, and the one time that the key itself is seen."""

    row: ApiKey
    key: str


class ApiKeyService:
    """Each method is one transaction, which `commit=False` leaves to the caller."""

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
        """A new key of this user. Raises InvalidInput, AdminOnly, ApiKeyLimit, UserNotFound."""
        key = new_api_key()
        with transaction(db, commit=commit):
            role = queries.lock_owner(db, user_id)
            self._check(db, user_id, role, scopes, expires_at)
            row = ApiKey(
                user_id=user_id,
                name=name,
                prefix=shown_prefix(key),
                digest=api_key_digest(key),
                scopes=[scope.value for scope in Scope if scope in scopes],
                expires_at=expires_at,
            )
            db.add(row)
            db.flush()
            db.refresh(row)
            audit.record(db, AuditEvent.API_KEY_CREATED, Subject.api_key(row.id), scopes=row.scopes)
        return NewApiKey(row, key)

    def list_keys(
        self, db: Session, user_id: UUID, *, limit: int = 50, skip: int = 0, before: UUID | None = None
    ) -> tuple[list[ApiKey], UUID | None]:
        """One page, newest first, and the last id of it if another page follows. Revoked keys are among them."""
        with transaction(db):
            keys = queries.newest_keys(db, user_id, limit + 1, skip, before)
        more = len(keys) > limit
        return keys[:limit], keys[limit - 1].id if more else None

    def get_key(self, db: Session, user_id: UUID, key_id: UUID) -> ApiKey:
        """Raises ApiKeyNotFound, for another user's key as for one that does not exist."""
        with transaction(db):
            return self._find(db, user_id, key_id)

    def revoke_key(self, db: Session, user_id: UUID, key_id: UUID, *, commit: bool = True) -> None:
        """From the commit on the key is worthless in every process. Revoking it again changes nothing.

        Raises ApiKeyNotFound.
        """
        with transaction(db, commit=commit):
            self._find(db, user_id, key_id)
            if queries.revoke_key(db, key_id):
                audit.record(db, AuditEvent.API_KEY_REVOKED, Subject.api_key(key_id))

    def _check(
        self, db: Session, user_id: UUID, role: str | None, scopes: Collection[Scope], expires_at: datetime | None
    ) -> None:
        if role is None:
            raise UserNotFound
        if Scope.ADMIN in scopes and role != Role.ADMIN:
            raise AdminOnly("Only an administrator may make a key with the scope admin")
        if expires_at is not None and queries.is_over(db, expires_at):
            refused: FieldError = {"loc": ["body", "expires_at"], "msg": "Must be in the future", "type": "in_the_past"}
            raise InvalidInput("The key would have expired already", [refused])
        limit = get_settings().api_keys_per_user
        if queries.count_live(db, user_id) >= limit:
            raise ApiKeyLimit(f"You have {limit} keys that work: revoke one first")

    def _find(self, db: Session, user_id: UUID, key_id: UUID) -> ApiKey:
        found = queries.find_key(db, user_id, key_id)
        if found is None:
            raise ApiKeyNotFound
        return found


api_key_service = ApiKeyService()
