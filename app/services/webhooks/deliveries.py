"""Deliveries as the API shows and repeats them, recoveries of what an endpoint has missed, and retention.

The functions for the API do not commit; the steps of maintenance do.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from app.core.config import get_settings
from app.core.ids import first_id_at, new_id
from app.core.moments import EPOCH
from app.db.listing import Listing
from app.db.session import transaction
from app.db.statements import reads
from app.db.statements.writes import changed_rows
from app.db.transactions import retry_deadlocks
from app.ddl.clock import NOW
from app.models.webhook import (
    DELIVERY_BYTES,
    PRESENT_LANE,
    TEST_EVENT,
    DeliveryState,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookRecovery,
)
from app.services.webhooks.new_deliveries import body_of
from app.services.webhooks.queue import LEASE


@dataclass(frozen=True, slots=True)
class Queued:
    """How many deliveries wait for an endpoint, how many of them have failed before, and when those are due first."""

    number: int
    again: int
    next_at: datetime | None


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
        lane=endpoint.present_lane,
        next_attempt_at=now,
        bytes=DELIVERY_BYTES + len(body),
    )
    db.add(delivery)
    db.flush()
    db.refresh(delivery)
    return delivery


def is_soon(endpoint: WebhookEndpoint) -> sa.ColumnElement[bool]:
    """Return the condition that a delivery to this endpoint is under way, or is sent within a minute.

    Queued anew, what its request comes to would be written nowhere.
    """
    return sa.and_(_is_queued(endpoint), WebhookDelivery.next_attempt_at <= NOW + LEASE)


def is_lost(endpoint: WebhookEndpoint, since: datetime | None) -> sa.ColumnElement[bool]:
    """The condition that a delivery to this endpoint failed, was dropped or waits for another attempt, since then.

    Without a time: that it waits for another attempt.
    """
    row = WebhookDelivery
    waits = sa.and_(_is_queued(endpoint), row.tries > 0)
    if since is None:
        return waits
    is_over = row.state.in_([DeliveryState.FAILED.value, DeliveryState.DROPPED.value])
    # What stands in a closed lane is dropped, as soon as maintenance comes to it.
    is_dropped = sa.and_(row.state == DeliveryState.PENDING.value, ~_is_queued(endpoint))
    return sa.and_(sa.or_(is_over, is_dropped, waits), row.created_at >= since)


def _is_queued(endpoint: WebhookEndpoint) -> sa.ColumnElement[bool]:
    # Never NULL, as the lane alone is once a delivery is over.
    is_pending = WebhookDelivery.state == DeliveryState.PENDING.value
    return sa.and_(is_pending, WebhookDelivery.lane == endpoint.present_lane)


def queue_again(db: Session, endpoint: WebhookEndpoint, *which: sa.ColumnElement[bool]) -> int:
    """Have these deliveries to the endpoint sent now, by a schedule that begins anew. Returns how many."""
    lane = endpoint.present_lane
    values = {"state": DeliveryState.PENDING.value, "lane": lane, "next_attempt_at": NOW, "tries": 0}
    queued = sa.update(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint.id, *which).values(values)
    return changed_rows(db.execute(queued.execution_options(synchronize_session=False)))


# The newest first, without their bodies, which no answer shows.
DELIVERIES = Listing(WebhookDelivery, WebhookDelivery.id, options=[defer(WebhookDelivery.body)])


def newest_deliveries(db: Session, endpoint_ids: Collection[UUID]) -> dict[UUID, WebhookDelivery]:
    """Return the newest delivery to each of these endpoints that has one, without its body."""
    row, endpoint = WebhookDelivery, WebhookEndpoint
    last = sa.select(row.id).where(row.endpoint_id == endpoint.id).order_by(row.id.desc()).limit(1).scalar_subquery()
    # Two statements, so that no engine reads more than one look-up in the index for each endpoint, and the rows.
    found = db.execute(sa.select(endpoint.id, last.label("last")).where(endpoint.id.in_(endpoint_ids)))
    endpoints = {each.last: each.id for each in found if each.last is not None}
    rows = sa.select(row).where(row.id.in_(endpoints)).options(defer(row.body))
    return {endpoints[each.id]: each for each in db.scalars(rows)} if endpoints else {}


def count_queued(db: Session, endpoint_id: UUID, most: int) -> Queued:
    """Return what waits for this endpoint; no more than `most` are counted, those that are due first."""
    row = WebhookDelivery
    its_lane = sa.select(PRESENT_LANE).where(WebhookEndpoint.id == endpoint_id).scalar_subquery()
    due = sa.select(row.tries, row.next_attempt_at).where(row.lane == its_lane)
    first = due.order_by(row.next_attempt_at, row.id).limit(most).subquery()
    next_at = sa.case((first.c.tries > 0, first.c.next_attempt_at))  # NULL, which is not counted
    found = db.execute(sa.select(sa.func.count(), sa.func.count(next_at), sa.func.min(next_at)).select_from(first))
    return Queued(*found.one())


def receivers(db: Session, deliveries: Collection[WebhookDelivery]) -> dict[UUID, str]:
    """Return the URL of each delivery by its id; nothing for one whose endpoint is deleted."""
    ids = {each.endpoint_id for each in deliveries if each.endpoint_id}
    endpoint = WebhookEndpoint
    rows = db.execute(sa.select(endpoint.id, endpoint.url).where(endpoint.id.in_(ids))) if ids else ()
    urls = {row.id: row.url for row in rows}
    found = {each.id: urls.get(each.endpoint_id) if each.endpoint_id else each.url for each in deliveries}
    return {delivery_id: url for delivery_id, url in found.items() if url}


# -- Recoveries: what an endpoint has missed is accepted to be sent again by a request, and queued by maintenance ------
# A step is one transaction: it queues a batch, and moves the recovery on behind it. So a process that is killed loses
# nothing, and no statement reads more rows than a batch, however few of them are to be sent.

# Rows that a step looks at.
RECOVERY_BATCH = 500
# An API process whose clock is behind may have made the id of a delivery.
_CLOCK_SKEW = timedelta(minutes=5)
# Nothing is older, and no engine needs to know of times that are.


def accept_recovery(db: Session, endpoint: WebhookEndpoint, since: datetime | None) -> int | None:
    """Have what failed, was dropped, or waits for another attempt since then sent. The caller commits.

    Without a time: all that waits for another attempt, and nothing else. Returns how many match now; None if they
    cannot be counted within DATABASE_COSTLY_READ_SECONDS, which refuses nothing.
    """
    row = WebhookDelivery
    oldest = max(since or EPOCH, EPOCH)
    after = first_id_at((oldest - _CLOCK_SKEW).timestamp())
    until = db.scalar(sa.select(row.id).where(row.endpoint_id == endpoint.id).order_by(row.id.desc()).limit(1))
    if until is None or until <= after:
        return 0
    start = None if since is None else oldest
    # The index of the lanes has few rows of an endpoint that lost many; that of the ids has what came since then.
    within = [] if since is None else [row.endpoint_id == endpoint.id, row.id > after, row.id <= until]
    count = sa.select(sa.func.count()).select_from(row).where(*within, is_lost(endpoint, start))
    number = reads.read_within(db, get_settings().costly_read_seconds, lambda: db.scalars(count).one())
    if number != 0:
        values = {"since": start, "after": after, "until": until}
        db.add(WebhookRecovery(endpoint_id=endpoint.id, user_id=endpoint.user_id, **values))
        db.flush()
    return number


def running_recoveries(db: Session) -> dict[UUID, list[UUID]]:
    """Return the recoveries of each user that are left, the oldest first."""
    found: dict[UUID, list[UUID]] = {}
    with transaction(db):
        for user_id, its in db.execute(
            sa.select(WebhookRecovery.user_id, WebhookRecovery.id).order_by(WebhookRecovery.id)
        ):
            found.setdefault(user_id, []).append(its)
    return found


def step_recovery(db: Session, recovery_id: UUID) -> bool:
    """Queue the next batch; with the last one the recovery is over. False if another process has it in hand."""
    return retry_deadlocks(lambda: _step_recovery(db, recovery_id))


def _step_recovery(db: Session, recovery_id: UUID) -> bool:
    row, recovery = WebhookDelivery, WebhookRecovery
    with transaction(db):
        locked = sa.select(recovery).where(recovery.id == recovery_id).with_for_update(skip_locked=True)
        its = db.scalars(locked.execution_options(populate_existing=True)).one_or_none()
        if its is None:
            return False
        endpoint = db.get_one(WebhookEndpoint, its.endpoint_id, populate_existing=True)
        ids = sa.select(row.id).where(row.endpoint_id == endpoint.id, row.id > its.after, row.id <= its.until)
        # Disabled meanwhile, it gets nothing of what was accepted before.
        seen = db.scalars(ids.order_by(row.id).limit(RECOVERY_BATCH)).all() if endpoint.enabled else ()
        if seen:
            lost = sa.select(row.id).where(row.id.in_(seen), is_lost(endpoint, its.since))
            these = db.scalars(lost.order_by(row.id).with_for_update()).all()
            if these:
                queue_again(db, endpoint, row.id.in_(these))
            its.after = seen[-1]
        if len(seen) < RECOVERY_BATCH:
            db.delete(its)
        return True
