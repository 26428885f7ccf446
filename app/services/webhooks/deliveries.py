"""Deliveries as the API shows and repeats them. None of these functions commits."""

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from app.core.ids import new_id
from app.db.page import Page, page_of
from app.db.rows import changed_rows
from app.ddl.clock import NOW
from app.models.webhook import DELIVERY_BYTES, TEST_EVENT, DeliveryState, WebhookDelivery, WebhookEndpoint
from app.services.webhooks.bodies import body_of


def add_test(db: Session, endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Queue a test event for this endpoint."""
    now: datetime = db.execute(sa.select(NOW)).scalar_one()
    body = body_of(TEST_EVENT, now, {"id": str(endpoint.id), "description": endpoint.description})
    delivery = WebhookDelivery(
        user_id=endpoint.user_id,
        endpoint_id=endpoint.id,
        event_id=new_id(),
        type=TEST_EVENT,
        event_at=now,
        body=body,
        attempts=[],
        lane=endpoint.id,
        next_attempt_at=now,
        bytes=DELIVERY_BYTES + len(body),
    )
    db.add(delivery)
    db.flush()
    db.refresh(delivery)
    return delivery


def queue_again(db: Session, endpoint_id: UUID, *which: sa.ColumnElement[bool]) -> int:
    """Have these deliveries to an endpoint sent now, by a schedule that begins anew. Returns how many."""
    values = {"state": DeliveryState.PENDING.value, "lane": endpoint_id, "next_attempt_at": NOW, "tries": 0}
    queued = sa.update(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id, *which).values(values)
    return changed_rows(db.execute(queued.execution_options(synchronize_session=False)))


def page(
    db: Session, of: sa.ColumnElement[bool], limit: int, before: UUID | None
) -> Page[WebhookDelivery, UUID]:  # fmt: skip
    """Return a page of these deliveries, newest first; `before` is the id after which it starts."""
    found = sa.select(WebhookDelivery).where(of).order_by(WebhookDelivery.id.desc()).limit(limit + 1)
    if before is not None:
        found = found.where(WebhookDelivery.id < before)
    # Without their bodies, which no answer shows.
    without = found.options(defer(WebhookDelivery.body))
    rows = db.scalars(without.execution_options(populate_existing=True)).all()
    return page_of(list(rows), limit, lambda row: row.id)
