"""The secrets that sign webhooks: the keys of WEBHOOK_SECRET, and one key for each user derived from each of them.

With one secret for all users, each receiver could forge the webhooks of the others.
"""

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.signatures import derive_user_key, encode_secret
from app.errors import TaskNotFound, WebhooksOff
from app.models.task import Task


def secret_of_user(user_id: UUID) -> str:
    """Return the secret with which the user's receivers verify webhooks, as `whsec_…`. Raises WebhooksOff."""
    return encode_secret(_user_keys(user_id)[0])


def keys_for_task(db: Session, task_id: UUID) -> list[bytes]:
    """Return the signing keys of the task's owner. Raises TaskNotFound, WebhooksOff."""
    owner = db.scalar(select(Task.user_id).where(Task.id == task_id))
    if owner is None:
        raise TaskNotFound
    return _user_keys(owner)


def service_keys() -> list[bytes]:
    """Return the service's own signing keys, for webhooks without a user. Raises WebhooksOff."""
    keys = get_settings().webhook_keys
    if not keys:
        raise WebhooksOff
    return keys


def _user_keys(user_id: UUID) -> list[bytes]:
    return [derive_user_key(key, str(user_id)) for key in service_keys()]
