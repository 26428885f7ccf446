"""Users: registration, profiles, roles, and the rule that one active administrator remains."""

import logging
from collections.abc import Collection
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import errors
from app.core.config import get_settings
from app.core.origin import Actor, address_block
from app.core.security import hash_password
from app.db.listing import Listing, Page
from app.db.outage import UNIQUE_VIOLATION, sqlstate
from app.db.session import transaction
from app.db.statements import accounts
from app.db.statements.accounts import lock_user
from app.errors import Text
from app.models.audit import AuditEvent
from app.models.task import TaskPriority
from app.models.user import Role, User
from app.schemas.user import FirstAdmin
from app.services import audit
from app.services.accounts import api_keys, login_throttle, users as queries
from app.services.accounts.auth_service import auth_service, check_password_strength
from app.services.accounts.sessions import revoke_sessions_of
from app.services.audit import Subject

USERS = Listing(User, User.id)

logger = logging.getLogger(__name__)


class UserService:
    """Each method is one transaction; with `commit=False` the caller commits."""

    def register(self, db: Session, username: str, email: str, password: str, address: str) -> User:
        """Register a user. Raises RegistrationClosed, WeakPassword, TooManyRequests, UserExists."""
        if not get_settings().allow_registration:
            raise errors.RegistrationClosed
        settings = get_settings()
        with transaction(db):
            limits = {address_block(address): settings.registrations_per_address}
            login_throttle.count_deed(db, "registrations from this address", limits)
        # Counted before, as it takes time whatever comes of it.
        check_password_strength(password, username, email, field="password")
        password_hash = hash_password(password)
        try:
            with transaction(db):
                user = self._insert(db, username, email, password_hash)
                login_throttle.remember_block(db, settings, user.id, address)
                actor = Actor(user.id, user.username)
                audit.record(db, AuditEvent.USER_REGISTERED, Subject.user(user.id), actor=actor)
        except errors.UserExists:
            _record_taken_name(db, Subject.address(address))
            raise
        return user

    def create_user(
        self,
        db: Session,
        username: str,
        email: str,
        password: str,
        *,
        role: Role = Role.USER,
        is_active: bool = True,
        max_priority: TaskPriority = TaskPriority.CRITICAL,
        weight: int = 1,
        commit: bool = True,
    ) -> User:
        """Create a user. Raises UserExists, WeakPassword.

        Of concurrent calls with the same name or address, one succeeds and the others raise UserExists.
        """
        check_password_strength(password, username, email, field="password")
        password_hash = hash_password(password)  # before the transaction: slow, and needs no connection
        with transaction(db, commit=commit):
            rights: dict[str, Any] = {
                "role": role.value,
                "is_active": is_active,
                "max_priority": max_priority.value,
                "weight": weight,
            }
            user = self._insert(db, username, email, password_hash, **rights)
            audit.record(db, AuditEvent.USER_CREATED, Subject.user(user.id), username=user.username, **rights)
        return user

    def get_user(self, db: Session, user_id: UUID, *, commit: bool = True) -> User:
        """Return a user. Raises UserNotFound."""
        with transaction(db, commit=commit):
            user = db.get(User, user_id, populate_existing=True)
            if user is None:
                raise errors.UserNotFound
        return user

    def list_users(
        self, db: Session, *, limit: int = 50, skip: int = 0, cursor: str | None = None, commit: bool = True
    ) -> Page[User]:
        """Return a page of users, newest first. Raises InvalidCursor."""
        with transaction(db, commit=commit):
            return USERS.page(db, limit, cursor, skip=skip)

    def usernames(self, db: Session, ids: Collection[UUID]) -> dict[UUID, str]:
        """Return the names of those of these users that exist, by their ids: of what a page shows."""
        return queries.usernames(db, ids)

    def find_id(self, db: Session, username: str) -> UUID | None:
        """Return the id of the user with this name, ignoring case, or None."""
        return queries.id_of_username(db, username.replace("\x00", ""))

    def update_user(self, db: Session, user_id: UUID, changes: dict[str, Any], *, commit: bool = True) -> User:
        """Change `username`, `email`, `role`, `is_active`, `max_priority`, `weight`.

        Raises UserNotFound, UserExists, LastAdmin.

        A new role or a deactivation ends all logins of the user.
        """
        with transaction(db, commit=commit):
            user = self._lock(db, user_id, with_admins=bool({"role", "is_active"} & changes.keys()))
            role, is_active = changes.get("role", user.role), changes.get("is_active", user.is_active)
            if role != Role.ADMIN or not is_active:
                self._check_other_admin(db, user)
            if role != user.role or (user.is_active and not is_active):
                revoke_sessions_of(db, user_id, "role changed" if role != user.role else "deactivated")
            if not changes:
                return user
            before = {name: getattr(user, name) for name in changes}
            user = self._write(db, user, changes)
            _record_changes(db, user_id, {name: (old, getattr(user, name)) for name, old in before.items()})
            return user

    def update_profile(self, db: Session, user_id: UUID, changes: dict[str, Any], address: str) -> User:
        """Change the own `username`, `email`. Raises UserNotFound, UserExists, TooManyRequests.

        Each change is counted, for the user and for the address block, before it is made: a refused one tells that the
        name is taken.
        """
        limits = {
            str(user_id): login_throttle.CHANGES_PER_USER,
            address_block(address): get_settings().registrations_per_address,
        }
        with transaction(db):
            login_throttle.count_deed(db, "changes of the profile", limits if changes else {})
        try:
            return self.update_user(db, user_id, changes)
        except errors.UserExists:
            _record_taken_name(db, Subject.user(user_id))
            raise

    def change_password(
        self, db: Session, user_id: UUID, current: str, new: str, *, revoke_api_keys: bool = False
    ) -> None:
        """Set a new password and end all logins of the user; with `revoke_api_keys` also revoke their API keys.

        Raises WrongPassword, WeakPassword, TooManyRequests.
        """
        if not auth_service.check_password(db, user_id, current):
            raise errors.WrongPassword
        with transaction(db):
            login_throttle.count_change(db, "changes of the password", user_id)
            user = self.get_user(db, user_id, commit=False)
        check_password_strength(new, user.username, user.email, field="new_password")
        password_hash = hash_password(new)
        with transaction(db):
            self._replace_password(db, user_id, password_hash, "password changed")
            if revoke_api_keys:
                api_keys.revoke_keys_of(db, user_id)
            kept = "revoked" if revoke_api_keys else "kept"
            audit.record(db, AuditEvent.PASSWORD_CHANGED, Subject.user(user_id), api_keys=kept)

    def reset_password(self, db: Session, user_id: UUID, new: str) -> None:
        """Set the password of a user who has lost it. End all logins, and the waits after wrong passwords.

        The second factor and API keys stay. Raises UserNotFound, WeakPassword.
        """
        user = self.get_user(db, user_id)
        check_password_strength(new, user.username, user.email, field="new_password")
        password_hash = hash_password(new)
        with transaction(db):
            self._replace_password(db, user_id, password_hash, "password reset")
            login_throttle.forget_wrong_passwords(db, user_id)
            audit.record(db, AuditEvent.PASSWORD_RESET, Subject.user(user_id))

    def delete_user(self, db: Session, user_id: UUID, *, commit: bool = True) -> None:
        """Delete a user with their logins and finished tasks. Raises UserNotFound, LastAdmin, UserHasTasks.

        The lock on the user's row blocks new tasks until the commit, because their foreign key waits for it.
        """
        with transaction(db, commit=commit):
            user = self._lock(db, user_id, with_admins=True)
            self._check_other_admin(db, user)
            if queries.has_active_tasks(db, user_id):
                raise errors.UserHasTasks
            queries.delete_user(db, user_id)
            audit.record(
                db, AuditEvent.USER_DELETED, Subject.user(user_id), username=user.username, role=str(user.role)
            )

    def ensure_first_admin(self, db: Session, username: str, password: str, email: str | None = None) -> bool:
        """Create this administrator unless the name exists.

        Returns whether it was created; an existing user stays unchanged.

        Raises InvalidInput, whose detail names the setting, and UserExists if another user has the e-mail address.
        """
        admin = _first_admin(username, password, email)
        if self._exists(db, admin.username):
            return False
        try:
            self.create_user(db, admin.username, admin.email, admin.password, role=Role.ADMIN)
        except errors.WeakPassword as error:
            raise errors.WeakPassword(Text("FIRST_ADMIN_PASSWORD: {}", error.detail), error.errors) from None
        except errors.UserExists:
            # Each API process does this at its start, so another one may have created the user.
            if self._exists(db, admin.username):
                return False
            raise
        logger.info("created the first administrator %s", admin.username)
        return True

    def _insert(self, db: Session, username: str, email: str, password_hash: str, **columns: Any) -> User:
        user = accounts.insert_user(
            db, queries.name_columns(username=username, email=email) | {"password_hash": password_hash, **columns}
        )
        if user is None:
            raise errors.UserExists
        return user

    def _exists(self, db: Session, username: str) -> bool:
        with transaction(db):
            return queries.username_exists(db, username)

    def _replace_password(self, db: Session, user_id: UUID, password_hash: str, reason: str) -> None:
        """Write the hash, and end all logins of the user for this reason."""
        self._lock(db, user_id, with_admins=False)
        accounts.update_user(db, user_id, {"password_hash": password_hash})
        revoke_sessions_of(db, user_id, reason)

    def _lock(self, db: Session, user_id: UUID, *, with_admins: bool) -> User:
        """Lock and return the row; with `with_admins` lock all active administrators first, in the order of their ids.

        So two administrators who remove each other run one after the other, and the second finds that it is the last
        one.
        """
        if with_admins:
            accounts.lock_active_admins(db)
        user = lock_user(db, user_id)
        if user is None:
            raise errors.UserNotFound
        return user

    def _check_other_admin(self, db: Session, leaving: User) -> None:
        if leaving.role != Role.ADMIN or not leaving.is_active:
            return
        if not set(accounts.lock_active_admins(db)) - {leaving.id}:
            raise errors.LastAdmin

    def _write(self, db: Session, user: User, changes: dict[str, Any]) -> User:
        values = dict(changes) | queries.name_columns(username=changes.get("username"), email=changes.get("email"))
        try:
            with db.begin_nested():  # a violation must not roll back the caller's transaction
                return accounts.update_user(db, user.id, values)
        except IntegrityError as error:
            if sqlstate(error) != UNIQUE_VIOLATION:
                raise
            raise errors.UserExists from None


def _record_taken_name(db: Session, subject: Subject) -> None:
    """Record a refusal in a transaction of its own: that of the change was rolled back."""
    with transaction(db):
        audit.record(db, AuditEvent.USER_NAME_TAKEN, subject)


def _record_changes(db: Session, user_id: UUID, changes: dict[str, tuple[Any, Any]]) -> None:
    """Record each kind of change. For profile changes, record only the names of the fields."""
    changed = {name: values for name, values in changes.items() if values[0] != values[1]}
    subject = Subject.user(user_id)
    if "role" in changed:
        before, after = changed.pop("role")
        audit.record(db, AuditEvent.USER_ROLE_CHANGED, subject, before=str(before), after=str(after))
    if "max_priority" in changed:
        before, after = changed.pop("max_priority")
        audit.record(db, AuditEvent.USER_MAX_PRIORITY_CHANGED, subject, before=str(before), after=str(after))
    if "weight" in changed:
        before, after = changed.pop("weight")
        audit.record(db, AuditEvent.USER_WEIGHT_CHANGED, subject, before=before, after=after)
    if "is_active" in changed:
        _, active = changed.pop("is_active")
        audit.record(db, AuditEvent.USER_ACTIVATED if active else AuditEvent.USER_DEACTIVATED, subject)
    if changed:
        audit.record(db, AuditEvent.USER_PROFILE_CHANGED, subject, fields=sorted(changed))


def _first_admin(username: str, password: str, email: str | None) -> FirstAdmin:
    try:
        return FirstAdmin(username=username, password=password, email=email or f"{username}@localhost")
    except ValidationError as error:
        refused: list[errors.FieldError] = [
            {"loc": [f"FIRST_ADMIN_{each['loc'][0]}".upper()], "msg": each["msg"], "type": each["type"]}
            for each in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        detail = "; ".join(f"{each['loc'][0]}: {each['msg']}" for each in refused)
        raise errors.InvalidInput(detail, refused) from None


user_service = UserService()
