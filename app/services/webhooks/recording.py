"""Writes a delivery for each receiver of an event, in the transaction of its caller.

The ends of tasks come from the outbox; whatever else happens is recorded by `record_event`. A receiver is an enabled
endpoint of an active user whose events and filter match, or the `webhook_url` of the task.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.ddl.clock import NOW
from app.models.outbox import ConsumerNumber, OutboxEvent
from app.models.user import User
from app.models.webhook import DELIVERY_BYTES, EventType, WebhookDelivery, WebhookEndpoint
from app.outbound.urls import parse
from app.services.outbox import Consumer, TaskEvent
from app.services.webhooks.bodies import body_of

_TYPES = {
    OutboxEvent.SUCCEEDED: EventType.TASK_SUCCEEDED,
    OutboxEvent.FAILED: EventType.TASK_FAILED,
    OutboxEvent.REVOKED: EventType.TASK_REVOKED,
}
_ENDPOINTS = (
    sa.select(WebhookEndpoint.id, WebhookEndpoint.events)
    .add_columns(WebhookEndpoint.filter_task_type, WebhookEndpoint.filter_tag, WebhookEndpoint.filter_celery_task_name)
    .join(User, User.id == WebhookEndpoint.user_id)
    .where(WebhookEndpoint.user_id == sa.bindparam("user"), WebhookEndpoint.enabled, User.is_active)
    .order_by(WebhookEndpoint.id)
)


def record_event(
    db: Session,
    user_id: UUID,
    kind: EventType,
    data: Mapping[str, Any],
    *,
    at: datetime | None = None,
    task_type: str | None = None,
    celery_task_name: str | None = None,
    tags: Collection[str] = (),
) -> int:
    """Record an event of something of this user for the user's endpoints. Returns the number of deliveries.

    The caller commits, together with what has happened. `data` is the object as GET shows it, `at` the time of the
    event (default: now, by the database); the other values are those that a filter names.
    """
    matching = _matching(db, user_id, kind, task_type, celery_task_name, tags)
    if not matching:
        return 0
    moment: datetime = db.execute(sa.select(NOW)).scalar_one() if at is None else at
    body = body_of(kind, moment, data)
    event = {"user_id": user_id, "type": kind.value, "event_at": moment, "body": body}
    return _insert(db, event, [{"endpoint_id": each, "lane": each} for each in matching], DELIVERY_BYTES + len(body))


def is_followed(db: Session, user_id: UUID, kind: EventType) -> bool:
    """Return whether an endpoint of the user wants these events, of whatever they are."""
    return any(kind in endpoint.events for endpoint in db.execute(_ENDPOINTS, {"user": user_id}))


def record_end(db: Session, told: TaskEvent) -> None:
    """Record the end of a task: the consumer of the outbox. Its body is made when it is first sent."""
    kind = _TYPES.get(OutboxEvent(told.event)) if told.event in set(OutboxEvent) else None
    if kind is None:
        return
    found = _matching(db, told.user_id, kind, told.task_type, told.celery_task_name, told.tags or ())
    receivers: list[dict[str, Any]] = [{"endpoint_id": each, "lane": each} for each in found]
    if told.webhook_url is not None:
        receivers.append({"url": told.webhook_url, "lane": lane_of_url(told.user_id, told.webhook_url)})
    event = {
        "user_id": told.user_id,
        "task_id": told.task_id,
        "generation": told.generation,
        "type": kind.value,
        "event_at": told.finished_at or told.created_at,
    }
    _insert(db, event, receivers, DELIVERY_BYTES)


CONSUMER = Consumer("webhooks", ConsumerNumber.WEBHOOKS, record_end)


def lane_of_url(user_id: UUID, url: str) -> UUID:
    """Return what stands for the receiver of a `webhook_url`: one user's, at one scheme, host and port."""
    return uuid5(user_id, parse(url).origin)


def _matching(
    db: Session,
    user_id: UUID,
    kind: EventType,
    task_type: str | None,
    celery_task_name: str | None,
    tags: Collection[str],
) -> list[UUID]:
    return [
        endpoint.id
        for endpoint in db.execute(_ENDPOINTS, {"user": user_id})
        if kind in endpoint.events
        and endpoint.filter_task_type in {None, task_type}
        and endpoint.filter_celery_task_name in {None, celery_task_name}
        and (endpoint.filter_tag is None or endpoint.filter_tag in tags)
    ]


def _insert(db: Session, event: dict[str, Any], receivers: Sequence[dict[str, Any]], size: int) -> int:
    """One row for each receiver, all with the event's id. The rows of an event are due in the order of their ids."""
    if receivers:
        whole = {**event, "event_id": new_id(), "attempts": [], "next_attempt_at": NOW}
        columns = {"endpoint_id": None, "url": None}
        rows = [
            {"id": new_id(), **columns, **whole, **each, "bytes": size + len(each.get("url", "").encode())}
            for each in receivers
        ]
        db.execute(sa.insert(WebhookDelivery).values(rows))
    return len(receivers)
