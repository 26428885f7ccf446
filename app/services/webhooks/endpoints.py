"""Endpoints: the secrets that sign webhooks, their rows, and that the outbox tells of the tasks of their users.

The secrets are those of Standard Webhooks 1.0. The key of a user is derived from WEBHOOK_SECRET, and signs what goes to
the `webhook_url` of tasks. With one secret for all users, each receiver could forge the webhooks of the others.
"""

import os
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.security import Undecryptable, decrypt, encrypt
from app.core.signatures import derive_user_key
from app.db.session import transaction
from app.db.statements import accounts
from app.db.statements.reads import find_owned
from app.ddl.clock import NOW
from app.errors import EndpointsOff, UserNotFound, WebhookDisabled, WebhookNotFound, WebhooksOff
from app.models.outbox import OF_WEBHOOKS
from app.models.task import ACTIVE, Task
from app.models.user import User
from app.models.webhook import EventType, WebhookEndpoint
from app.services.audit import Subject
from app.services.outbox import add_followers
from app.services.webhooks.new_deliveries import BIT_OF_KIND

SECRET_BYTES = 32


def service_keys() -> list[bytes]:
    """Return the service's own signing keys, for webhooks without a user. Raises WebhooksOff."""
    keys = get_settings().webhook_keys
    if not keys:
        raise WebhooksOff
    return keys


def keys_of_user(user_id: UUID) -> list[bytes]:
    """Return the signing keys of a user, the present one first. Raises WebhooksOff."""
    return [derive_user_key(key, str(user_id)) for key in service_keys()]


def encryption_keys() -> list[str]:
    """Return the keys that encrypt the secrets of endpoints, the present one first.

    Raises EndpointsOff without SECRET_KEY: then each process has made one up, and no other could decrypt them.
    """
    settings = get_settings()
    if settings.secret_key is None:
        raise EndpointsOff
    return settings.accepted_keys


def new_key() -> bytes:
    """Return a random signing key for an endpoint."""
    return os.urandom(SECRET_BYTES)


def encrypted_key(key: bytes, endpoint_id: UUID, service: Sequence[str]) -> bytes:
    """Return the key as the row of the endpoint has it. `service`: `Settings.accepted_keys`."""
    return encrypt(key, service, _context_of_secret(endpoint_id))


def decrypted_key(secret: bytes, endpoint_id: UUID, service: Sequence[str]) -> tuple[bytes, bool]:
    """Return the key, and whether the first of the service's keys has encrypted it. Raises Undecryptable."""
    return decrypt(secret, service, _context_of_secret(endpoint_id))


def _context_of_secret(endpoint_id: UUID) -> str:
    return f"webhook endpoint {endpoint_id}"


# -- Endpoints as rows: found, written, and what a request says of them. None of these functions commits ---------------


def columns_of(wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of these fields of a request."""
    values = dict(wanted)
    if "events" in values:
        values["events"] = [EventType(each).value for each in values["events"]]
    if "filter" in values:
        values |= {f"filter_{name}": value for name, value in values.pop("filter").items()}
    return values


def lock_user(db: Session, user_id: UUID) -> None:
    """Have no other endpoint of the user come or go until the transaction ends. Raises UserNotFound."""
    if accounts.lock_owner(db, user_id) is None:
        raise UserNotFound


def find_endpoint(db: Session, user_id: UUID | None, endpoint_id: UUID, *, lock: bool = False) -> WebhookEndpoint:
    """Return an endpoint of this user, or of any where it is None, as it is committed now. Raises WebhookNotFound.

    `lock` has it stay so until the transaction ends.
    """
    return find_owned(db, WebhookEndpoint, endpoint_id, user_id, WebhookNotFound, lock=lock)


def find_enabled(db: Session, user_id: UUID, endpoint_id: UUID) -> WebhookEndpoint:
    """Return an enabled endpoint of this user. Raises WebhookNotFound, WebhookDisabled."""
    row = find_endpoint(db, user_id, endpoint_id)
    if not row.enabled:
        raise WebhookDisabled
    return row


def write_endpoint(db: Session, endpoint_id: UUID, values: dict[str, Any]) -> None:
    """Write these columns of an endpoint, and that it has changed."""
    changed = sa.update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id)
    db.execute(changed.values(**values, updated_at=NOW).execution_options(synchronize_session=False))


def can_sign(row: WebhookEndpoint, service: list[str]) -> bool:
    """Return whether a key of the service decrypts the present secret."""
    try:
        decrypted_key(bytes(row.secret), row.id, service)
    except Undecryptable:
        return False
    return True


def subject_of(row: WebhookEndpoint) -> Subject:
    """Return the endpoint as the object of a recorded action."""
    return Subject("webhook", str(row.id))


def renew_secrets(row: WebhookEndpoint, service: list[str]) -> int:
    """Encrypt the secrets of a locked row anew. Returns how many were encrypted by a former key."""
    renewed = 0
    for name in ("secret", "old_secret"):
        old: bytes | None = getattr(row, name)
        try:
            key, is_current = (b"", True) if old is None else decrypted_key(bytes(old), row.id, service)
        except Undecryptable:
            continue  # logged when it is to sign
        if not is_current:
            setattr(row, name, encrypted_key(key, row.id, service))
            renewed += 1
    return renewed


# -- Users whose tasks the outbox tells of: those with an enabled endpoint that wants ends of tasks --------------------
# `users.followers` says so to each submit, which reads it with what it reads of the user anyway. So it is set in the
# transaction that creates or changes an endpoint. The tasks that are active then are followed afterwards.

# At most so many tasks in one transaction.
FOLLOW_BATCH = 1000
# A submit that has read its user before the endpoint was committed has ended by then.
YOUNG = timedelta(minutes=5)


def follow_tasks_of(db: Session, user_id: UUID) -> None:
    """Have each new task of the user followed as to the ends that an enabled endpoint wants.

    Also those that are active, a batch of them here, where an end is wanted that was not. The caller commits. It holds
    the lock on the user's row, so that no other endpoint comes or goes meanwhile.
    """
    before = db.scalars(sa.select(User.followers).where(User.id == user_id)).one() or 0
    enabled = sa.select(WebhookEndpoint.events).where(WebhookEndpoint.user_id == user_id, WebhookEndpoint.enabled)
    kinds = {kind for events in db.scalars(enabled) for kind in events}
    wanted = sum(bit for kind, bit in BIT_OF_KIND.items() if kind in kinds)
    followed = sa.update(User).where(User.id == user_id).values(followers=before & ~OF_WEBHOOKS | wanted or None)
    db.execute(followed.execution_options(synchronize_session=False))
    if wanted & ~before:
        follow_batch(db, user_id, wanted)


def follow_batch(db: Session, user_id: UUID, bits: int, after: UUID | None = None) -> UUID | None:
    """Follow a batch of the user's active tasks, those behind this id, as these bits say. The caller commits.

    Returns the last id of the batch, or None if no more are left.
    """
    found = sa.select(Task.id).where(Task.user_id == user_id, Task.status.in_(sorted(ACTIVE)))
    if after is not None:
        found = found.where(Task.id < after)
    ids = db.scalars(found.order_by(Task.id.desc()).limit(FOLLOW_BATCH)).all()
    if ids:
        add_followers(db, bits, Task.id.in_(ids))
    return ids[-1] if len(ids) == FOLLOW_BATCH else None


def follow_active_tasks(db: Session, stopping: threading.Event) -> None:
    """Follow the active tasks of users with endpoints that are younger than YOUNG: those that nothing follows yet.

    A transaction for each batch.
    """
    with transaction(db):
        bits = User.followers.bitwise_and(OF_WEBHOOKS)
        young = sa.select(User.id, bits).join(WebhookEndpoint, WebhookEndpoint.user_id == User.id).distinct()
        users = db.execute(
            young.where(WebhookEndpoint.enabled, WebhookEndpoint.updated_at > NOW - YOUNG, bits != 0)
        ).all()
    for user_id, wanted in users:
        last: UUID | None = None
        while not stopping.is_set():
            with transaction(db):
                last = follow_batch(db, user_id, wanted, last)
            if last is None:
                break
