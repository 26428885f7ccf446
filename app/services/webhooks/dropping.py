"""Drops what is queued for endpoints that are disabled or gone, in batches: a queue may have a million rows.

So whoever disables or deletes an endpoint writes its row alone. What is taken for it meanwhile is dropped as well.
"""

import threading
from collections.abc import Collection
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.rows import changed_rows
from app.db.session import transaction
from app.db.statements.batches import lock_batch
from app.models.webhook import DeliveryState, WebhookDelivery
from app.services.webhooks.due_lanes import find_unwanted

BATCH = 500


def drop(db: Session, ids: Collection[UUID]) -> int:
    """Send these deliveries no more, as far as they are pending. The caller commits. Returns how many."""
    if not ids:
        return 0
    values = {"state": DeliveryState.DROPPED.value, "lane": None, "next_attempt_at": None}
    pending = sa.update(WebhookDelivery).where(WebhookDelivery.id.in_(ids), WebhookDelivery.lane.is_not(None))
    return changed_rows(db.execute(pending.values(values).execution_options(synchronize_session=False)))


def drop_queue(db: Session, endpoint_id: UUID, *, commit: bool = True, stopping: threading.Event | None = None) -> None:
    """Drop all that is queued for this endpoint, in a transaction for each batch; with `commit=False` in the caller's.

    What another transaction has in hand just now is left out.
    """
    queued = sa.select(WebhookDelivery.id).where(WebhookDelivery.lane == endpoint_id)
    is_full = True
    while is_full and not (stopping and stopping.is_set()):
        with transaction(db, commit=commit):
            is_full = drop(db, lock_batch(db, queued, BATCH)) == BATCH


def drop_unwanted(db: Session, stopping: threading.Event) -> None:
    """Drop what is queued for all endpoints that are disabled or gone. A transaction for each batch."""
    for endpoint_id in find_unwanted(db):
        drop_queue(db, endpoint_id, stopping=stopping)
