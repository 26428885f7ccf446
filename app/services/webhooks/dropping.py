"""Drops what was queued for endpoints until they were disabled or deleted, in batches: it may be a million rows.

So whoever disables, enables or deletes an endpoint writes its row, and that its lane is closed. What is taken of that
lane meanwhile is dropped as well.
"""

import threading
from collections.abc import Collection
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.rows import changed_rows
from app.db.session import transaction
from app.db.statements.batches import lock_batch
from app.db.statements.upserting import upsert
from app.models.webhook import ClosedLane, DeliveryState, WebhookDelivery, WebhookEndpoint

BATCH = 500
_CLOSED: Any = ClosedLane.__table__


def drop(db: Session, ids: Collection[UUID]) -> int:
    """Send these deliveries no more, as far as they are pending. The caller commits. Returns how many."""
    if not ids:
        return 0
    values = {"state": DeliveryState.DROPPED.value, "lane": None, "next_attempt_at": None}
    pending = sa.update(WebhookDelivery).where(WebhookDelivery.id.in_(ids), WebhookDelivery.lane.is_not(None))
    return changed_rows(db.execute(pending.values(values).execution_options(synchronize_session=False)))


def close_lane(db: Session, row: WebhookEndpoint) -> None:
    """Have nothing sent that is queued for this endpoint now.

    The caller disables it, or deletes it, or enables it with another lane; and commits.
    """
    upsert(db, _CLOSED, [{"lane": row.present_lane, "endpoint_id": row.id}])


def drop_closed(db: Session, stopping: threading.Event) -> None:
    """Drop what is queued in closed lanes. A transaction for each batch."""
    with transaction(db):
        lanes = db.scalars(sa.select(ClosedLane.lane).order_by(ClosedLane.lane)).all()
    for lane in lanes:
        while not stopping.is_set() and _drop_batch(db, lane):
            """More is left."""


def _drop_batch(db: Session, lane: UUID) -> bool:
    """Drop a batch; the lane is forgotten with the last one. Returns whether more may be left.

    What another transaction has in hand just now is left out: the sender drops it, should it be sent.
    """
    closed, endpoint, row = ClosedLane, WebhookEndpoint, WebhookDelivery
    queued = sa.select(row.id).where(row.lane == lane)
    its = sa.and_(endpoint.id == closed.endpoint_id, endpoint.enabled)
    of_lane = sa.select(closed, endpoint).outerjoin(endpoint, its).where(closed.lane == lane)
    with transaction(db):
        found = db.execute(of_lane.execution_options(populate_existing=True)).one_or_none()
        if found is None:
            return False
        now: WebhookEndpoint | None = found[1]
        if now is not None and now.enabled_again_at is not None:
            queued = queued.where(row.created_at < now.enabled_again_at)
        # A process of a release that knew no lanes may have enabled the endpoint again.
        is_open = now is not None and now.present_lane == lane
        if not is_open and drop(db, lock_batch(db, queued, BATCH)) == BATCH:
            return True
        gone = sa.delete(closed).where(closed.lane == lane)
        db.execute(gone.execution_options(synchronize_session=False))
        return False
