"""Deliveries as the API shows and repeats them. None of these functions commits, but for `recover`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, defer

from app.core.ids import first_id_at, new_id
from app.db.deadlocks import repeated
from app.db.page import Page, page_of
from app.db.rows import changed_rows
from app.db.session import transaction
from app.ddl.clock import NOW
from app.models.webhook import DELIVERY_BYTES, TEST_EVENT, DeliveryState, WebhookDelivery, WebhookEndpoint
from app.services.webhooks.bodies import body_of
from app.services.webhooks.queue import LEASE

# Rows that a recovery looks at in one transaction.
RECOVER_BATCH = 500
# An API process whose clock is behind may have made the id of a delivery.
_CLOCKS = timedelta(minutes=5)
# Nothing is older, and no engine needs to know of times that are.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOST = WebhookDelivery.state.in_([DeliveryState.FAILED.value, DeliveryState.DROPPED.value])
_WAITS = sa.and_(WebhookDelivery.lane.is_not(None), WebhookDelivery.tries > 0)


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
        lane=endpoint.id,
        next_attempt_at=now,
        bytes=DELIVERY_BYTES + len(body),
    )
    db.add(delivery)
    db.flush()
    db.refresh(delivery)
    return delivery


def is_soon() -> sa.ColumnElement[bool]:
    """The condition that a delivery is under way, or is sent within a minute.

    Queued anew, what its request comes to would be written nowhere.
    """
    row = WebhookDelivery
    return sa.and_(row.state == DeliveryState.PENDING.value, row.next_attempt_at <= NOW + LEASE)


def queue_again(db: Session, endpoint_id: UUID, *which: sa.ColumnElement[bool]) -> int:
    """Have these deliveries to an endpoint sent now, by a schedule that begins anew. Returns how many."""
    values = {"state": DeliveryState.PENDING.value, "lane": endpoint_id, "next_attempt_at": NOW, "tries": 0}
    queued = sa.update(WebhookDelivery).where(WebhookDelivery.endpoint_id == endpoint_id, *which).values(values)
    return changed_rows(db.execute(queued.execution_options(synchronize_session=False)))


def recover(db: Session, endpoint_id: UUID, since: datetime | None, *, commit: bool) -> int:
    """Have what failed, was dropped, or waits for another attempt since then sent now. Returns how many.

    Without a time: all that waits for another attempt, and nothing else. One that is under way just now may be sent
    twice. A transaction for each batch; with `commit=False` in the caller's.
    """
    row, oldest = WebhookDelivery, max(since or _EPOCH, _EPOCH)
    last = first_id_at((oldest - _CLOCKS).timestamp())  # an index has these
    which = _WAITS if since is None else sa.and_(sa.or_(_LOST, _WAITS), row.created_at >= oldest)

    def queue_batch() -> tuple[Sequence[UUID], int]:
        """The next ids, whatever became of them: so no statement reads more rows, however few of them are queued."""
        ids = sa.select(row.id).where(row.endpoint_id == endpoint_id, row.id > last).order_by(row.id)
        with transaction(db, commit=commit):
            seen = db.scalars(ids.limit(RECOVER_BATCH)).all()
            locked = sa.select(row.id).where(row.id.in_(seen), which).order_by(row.id).with_for_update()
            these = db.scalars(locked).all() if seen else ()
            return seen, queue_again(db, endpoint_id, row.id.in_(these)) if these else 0

    number = 0
    while True:
        seen, queued_now = repeated(queue_batch) if commit else queue_batch()
        number += queued_now
        if len(seen) < RECOVER_BATCH:
            return number
        last = seen[-1]


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


def newest(db: Session, endpoint_ids: Collection[UUID]) -> dict[UUID, WebhookDelivery]:
    """Return the newest delivery to each of these endpoints that has one, without its body."""
    row, endpoint = WebhookDelivery, WebhookEndpoint
    last = sa.select(row.id).where(row.endpoint_id == endpoint.id).order_by(row.id.desc()).limit(1).scalar_subquery()
    # Two statements, so that no engine reads more than one look-up in the index for each endpoint, and the rows.
    found = db.execute(sa.select(endpoint.id, last.label("last")).where(endpoint.id.in_(endpoint_ids)))
    endpoints = {each.last: each.id for each in found if each.last is not None}
    rows = sa.select(row).where(row.id.in_(endpoints)).options(defer(row.body))
    return {endpoints[each.id]: each for each in db.scalars(rows)} if endpoints else {}


def queued(db: Session, endpoint_id: UUID, most: int) -> Queued:
    """Return what waits for this endpoint; no more than `most` are counted, those that are due first."""
    row = WebhookDelivery
    due = sa.select(row.tries, row.next_attempt_at).where(row.lane == endpoint_id)
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
