"""Deletes deliveries that have been kept long enough."""

import time

from sqlalchemy.orm import Session

from app.core.ids import first_id_at
from app.db.session import transaction
from app.db.statements.batches import delete_batch
from app.models.webhook import KEPT, WebhookDelivery

FORGET_BATCH = 500


def forget_deliveries(db: Session, limit: int = FORGET_BATCH) -> int:
    """Delete a batch of deliveries older than KEPT, whatever became of them. Their ids tell when they were made."""
    oldest = first_id_at(time.time() - KEPT.total_seconds())
    with transaction(db):
        return delete_batch(db, WebhookDelivery, WebhookDelivery.id < oldest, limit=limit)
