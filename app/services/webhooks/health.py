"""What deliveries say of their endpoints: since when nothing gets through, and which are disabled for it."""

import logging
from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.rows import changed_rows
from app.ddl.clock import NOW
from app.models.webhook import DisabledReason, WebhookEndpoint, WebhookEvent
from app.services.audit import recording as audit
from app.services.audit.recording import Subject

logger = logging.getLogger(__name__)

# Nothing got through for so long, and one has just failed: the endpoint is disabled.
FAILING_FOR = timedelta(days=5)


def note(db: Session, *, failed: Collection[UUID], recovered: Collection[UUID], gone: Collection[UUID]) -> None:
    """Note the endpoints whose deliveries failed or got through just now, or that are gone. The caller commits."""
    endpoint = WebhookEndpoint
    if failed:
        since = sa.update(endpoint).where(endpoint.id.in_(sorted(failed)), endpoint.failing_since.is_(None))
        db.execute(since.values(failing_since=NOW).execution_options(synchronize_session=False))
    if recovered:
        again = sa.select(endpoint.id).where(endpoint.id.in_(sorted(recovered)), endpoint.failing_since.is_not(None))
        if ids := db.scalars(again).all():  # nearly never: no row is written for a success
            over = sa.update(endpoint).where(endpoint.id.in_(ids)).values(failing_since=None)
            db.execute(over.execution_options(synchronize_session=False))
    for each in sorted(gone):
        disable(db, each, DisabledReason.GONE)
    lasting = sa.select(endpoint.id).where(
        endpoint.id.in_(sorted(set(failed) - set(gone))), endpoint.enabled, endpoint.failing_since < NOW - FAILING_FOR
    )
    for each in db.scalars(lasting).all() if failed else ():
        disable(db, each, DisabledReason.FAILING)


def disable(db: Session, endpoint_id: UUID, reason: DisabledReason) -> None:
    """Disable an endpoint, and have the audit say so. The caller commits. Maintenance drops what is queued for it.

    The user's tasks stay followed until the user disables or deletes the endpoint: then the user's row is locked.
    """
    enabled = sa.update(WebhookEndpoint).where(WebhookEndpoint.id == endpoint_id, WebhookEndpoint.enabled)
    values = {"enabled": False, "disabled_at": NOW, "disabled_reason": reason.value, "updated_at": NOW}
    if not changed_rows(db.execute(enabled.values(values).execution_options(synchronize_session=False))):
        return
    owner = db.scalar(sa.select(WebhookEndpoint.user_id).where(WebhookEndpoint.id == endpoint_id))
    subject = Subject("webhook", str(endpoint_id))
    audit.record(db, WebhookEvent.DISABLED, subject, actor=None, reason=reason.value, owner=str(owner))
    logger.warning("webhooks: endpoint %s of user %s is disabled: %s", endpoint_id, owner, reason)
