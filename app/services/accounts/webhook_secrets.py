"""The secrets that webhooks are signed with: WEBHOOK_SECRET's keys, and from each one of every user's own.

One secret for everybody would let each receiver forge what any other one gets.
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.errors import TaskNotFound, WebhooksOff
from app.models.task import Task
from app.outbound.signatures import secret_of, users_key


def secret_of_user(user_id: UUID) -> str:
    """What the user's receivers check with, as `whsec_…`. Raises WebhooksOff."""
    return secret_of(_users_keys(user_id)[0])


def keys_for_task(db: Session, task_id: UUID) -> list[bytes]:
    """Its owner's. Raises TaskNotFound or WebhooksOff."""
    owner = db.scalar(select(Task.user_id).where(Task.id == task_id))
    if owner is None:
        raise TaskNotFound
    return _users_keys(owner)


def service_keys() -> list[bytes]:
    """For what no user asked for. Raises WebhooksOff."""
    keys = get_settings().webhook_keys
    if not keys:
        raise WebhooksOff
    return keys


def _users_keys(user_id: UUID) -> list[bytes]:
    return [users_key(key, str(user_id)) for key in service_keys()]
