"""Users as the services know them: what a caller may have run, and queries, none of which commits."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import bindparam, delete, exists, select
from sqlalchemy.orm import Session

from app.errors import InsufficientScope
from app.models.auth import ALL_SCOPES
from app.models.task import ACTIVE, Task
from app.models.user import User


@dataclass(frozen=True, slots=True)
class Rights:
    """Those of a caller, as `permissions.check_may_create` compares them with tasks. A login has all scopes."""

    user_id: UUID
    role: str
    max_priority: str
    scopes: Collection[str] = ALL_SCOPES

    def check_scope(self, scope: str) -> None:
        """Raise InsufficientScope unless the caller has the scope."""
        if scope not in self.scopes:
            raise InsufficientScope(scope)


# -- Queries of users. None of them commits ----------------------------------------------------------------------------


def name_columns(*, username: str | None, email: str | None) -> dict[str, str]:
    """Return the columns of the given names, each with its normalised form, which is unique."""
    columns: dict[str, str] = {}
    if username is not None:
        columns |= {"username": username, "username_normalized": username.lower()}
    if email is not None:
        columns |= {"email": email, "email_normalized": email.lower()}
    return columns


_USERNAMES = select(User.id, User.username).where(User.id.in_(bindparam("ids", expanding=True)))


def usernames(db: Session, ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the names of those of these users that exist, by their ids. Has no limit: callers name a page of them."""
    if not ids:
        return {}
    found = db.execute(_USERNAMES, {"ids": [*ids]})
    return {row.id: row.username for row in found}


def id_of_username(db: Session, username: str) -> UUID | None:
    """Return the id of the user with this name, ignoring case, or None."""
    return db.scalar(select(User.id).where(User.username_normalized == username.lower()))


def username_exists(db: Session, username: str) -> bool:
    """Return whether a user has this name, ignoring case."""
    found = db.scalar(select(exists().where(User.username_normalized == username.lower())))
    return bool(found)


def has_active_tasks(db: Session, user_id: UUID) -> bool:
    """Return whether the user has pending or running tasks."""
    found = db.scalar(select(exists().where(Task.user_id == user_id, Task.status.in_(sorted(ACTIVE)))))
    return bool(found)


def delete_user(db: Session, user_id: UUID) -> None:
    db.execute(delete(User).where(User.id == user_id).execution_options(synchronize_session=False))
