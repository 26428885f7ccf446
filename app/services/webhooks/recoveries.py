"""Recoveries: what an endpoint has missed is accepted to be sent again by a request, and queued by maintenance.

A step is one transaction: it queues a batch, and moves the recovery on behind it. So a process that is killed loses
nothing, and no statement reads more rows than a batch, however few of them are to be sent.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import first_id_at
from app.db.deadlocks import repeated
from app.db.session import transaction
from app.db.statements import reads
from app.models.webhook import WebhookDelivery, WebhookEndpoint, WebhookRecovery
from app.services.webhooks import deliveries

# Rows that a step looks at.
BATCH = 500
# An API process whose clock is behind may have made the id of a delivery.
_CLOCKS = timedelta(minutes=5)
# Nothing is older, and no engine needs to know of times that are.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def accept(db: Session, endpoint: WebhookEndpoint, since: datetime | None) -> int | None:
    """Have what failed, was dropped, or waits for another attempt since then sent. The caller commits.

    Without a time: all that waits for another attempt, and nothing else. Returns how many match now; None if they
    cannot be counted within DATABASE_COSTLY_READ_SECONDS, which refuses nothing.
    """
    row = WebhookDelivery
    oldest = max(since or _EPOCH, _EPOCH)
    after = first_id_at((oldest - _CLOCKS).timestamp())
    until = db.scalar(sa.select(row.id).where(row.endpoint_id == endpoint.id).order_by(row.id.desc()).limit(1))
    if until is None or until <= after:
        return 0
    start = None if since is None else oldest
    # The index of the lanes has few rows of an endpoint that lost many; that of the ids has what came since then.
    within = [] if since is None else [row.endpoint_id == endpoint.id, row.id > after, row.id <= until]
    count = sa.select(sa.func.count()).select_from(row).where(*within, deliveries.is_lost(endpoint, start))
    number = reads.read_within(db, get_settings().costly_read_seconds, lambda: db.scalars(count).one())
    if number != 0:
        values = {"since": start, "after": after, "until": until}
        db.add(WebhookRecovery(endpoint_id=endpoint.id, user_id=endpoint.user_id, **values))
        db.flush()
    return number


def running(db: Session) -> dict[UUID, list[UUID]]:
    """Return the recoveries of each user that are left, the oldest first."""
    found: dict[UUID, list[UUID]] = {}
    with transaction(db):
        for user_id, its in db.execute(
            sa.select(WebhookRecovery.user_id, WebhookRecovery.id).order_by(WebhookRecovery.id)
        ):
            found.setdefault(user_id, []).append(its)
    return found


def step(db: Session, recovery_id: UUID) -> bool:
    """Queue the next batch; with the last one the recovery is over. False if another process has it in hand."""
    return repeated(lambda: _step(db, recovery_id))


def _step(db: Session, recovery_id: UUID) -> bool:
    row, recovery = WebhookDelivery, WebhookRecovery
    with transaction(db):
        locked = sa.select(recovery).where(recovery.id == recovery_id).with_for_update(skip_locked=True)
        its = db.scalars(locked.execution_options(populate_existing=True)).one_or_none()
        if its is None:
            return False
        endpoint = db.get_one(WebhookEndpoint, its.endpoint_id, populate_existing=True)
        ids = sa.select(row.id).where(row.endpoint_id == endpoint.id, row.id > its.after, row.id <= its.until)
        # Disabled meanwhile, it gets nothing of what was accepted before.
        seen = db.scalars(ids.order_by(row.id).limit(BATCH)).all() if endpoint.enabled else ()
        if seen:
            lost = sa.select(row.id).where(row.id.in_(seen), deliveries.is_lost(endpoint, its.since))
            these = db.scalars(lost.order_by(row.id).with_for_update()).all()
            if these:
                deliveries.queue_again(db, endpoint, row.id.in_(these))
            its.after = seen[-1]
        if len(seen) < BATCH:
            db.delete(its)
        return True
