"""Endpoints as rows: found, written, and what a request says of them. None of these functions commits."""

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.security import Undecryptable
from app.db.statements import api_keys
from app.ddl.clock import NOW
from app.errors import UserNotFound, WebhookDisabled, WebhookNotFound
from app.models.webhook import EventType, WebhookEndpoint
from app.services.audit import Subject
from app.services.webhooks import secrets


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
    if api_keys.lock_owner(db, user_id) is None:
        raise UserNotFound


def find(db: Session, user_id: UUID | None, endpoint_id: UUID, *, lock: bool = False) -> WebhookEndpoint:
    """Return an endpoint of this user, or of any where it is None, as it is committed now. Raises WebhookNotFound.

    `lock` has it stay so until the transaction ends.
    """
    found = sa.select(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id)
    if user_id is not None:
        found = found.where(WebhookEndpoint.user_id == user_id)
    if lock:
        found = found.with_for_update()
    row = db.scalars(found.execution_options(populate_existing=True)).one_or_none()
    if row is None:
        raise WebhookNotFound
    return row


def find_enabled(db: Session, user_id: UUID, endpoint_id: UUID) -> WebhookEndpoint:
    """The same where it must be enabled. Raises WebhookNotFound, WebhookDisabled."""
    row = find(db, user_id, endpoint_id)
    if not row.enabled:
        raise WebhookDisabled
    return row


def write(db: Session, endpoint_id: UUID, values: dict[str, Any]) -> None:
    """Write these columns of an endpoint, and that it has changed."""
    changed = sa.update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id)
    db.execute(changed.values(**values, updated_at=NOW).execution_options(synchronize_session=False))


def signs(row: WebhookEndpoint, service: list[str]) -> bool:
    """Return whether a key of the service decrypts the present secret."""
    try:
        secrets.decrypted(bytes(row.secret), row.id, service)
    except Undecryptable:
        return False
    return True


def subject_of(row: WebhookEndpoint) -> Subject:
    """Return the endpoint as the object of a recorded action."""
    return Subject("webhook", str(row.id))


def renew(row: WebhookEndpoint, service: list[str]) -> int:
    """Encrypt the secrets of a locked row anew. Returns how many were encrypted by a former key."""
    renewed = 0
    for name in ("secret", "old_secret"):
        old: bytes | None = getattr(row, name)
        try:
            key, is_current = (b"", True) if old is None else secrets.decrypted(bytes(old), row.id, service)
        except Undecryptable:
            continue  # logged when it is to sign
        if not is_current:
            setattr(row, name, secrets.encrypted(key, row.id, service))
            renewed += 1
    return renewed
