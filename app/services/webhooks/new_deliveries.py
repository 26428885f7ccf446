"""New deliveries: a row for each receiver of an event, in the transaction of its caller, and the bodies of them.

The ends of tasks come from the outbox; what happens to schedules and workflows is recorded by the functions here. A
receiver is an enabled endpoint of an active user whose events and filter match, or the `webhook_url` of the task.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, uuid5
from zlib import crc32

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.core.json_text import dump_json
from app.db.statements import reads, task_rows
from app.db.statements.reads import is_one_of
from app.ddl.clock import NOW
from app.ddl.terms import BIT_OF_END
from app.models.outbox import ConsumerNumber, OutboxEvent
from app.models.schedule import Schedule
from app.models.task import Task
from app.models.user import User
from app.models.webhook import DELIVERY_BYTES, PRESENT_LANE, EventType, WebhookDelivery, WebhookEndpoint
from app.outbound.targets import parse_url
from app.schemas.schedule import ScheduleRead
from app.schemas.task import TaskRead
from app.services.outbox import Consumer, TaskEvent
from app.services.tasks.task_queries import SHOWN, as_shown

# The sender looks at each lane, and a user may name any number of hosts. Those of one lane wait for each other.
LANES_OF_URLS = 64
# Ends of tasks that are recorded in one transaction: 200 took half the time of four times 50, and 500 hardly less.
ENDS_AT_ONCE = 200

_DELIVERIES: Any = WebhookDelivery.__table__
_TYPES = {
    OutboxEvent.SUCCEEDED: EventType.TASK_SUCCEEDED,
    OutboxEvent.FAILED: EventType.TASK_FAILED,
    OutboxEvent.REVOKED: EventType.TASK_REVOKED,
}
# By the events that a task's end is to an endpoint, what says so in `followers`.
BIT_OF_KIND: Mapping[str, int] = {kind.value: BIT_OF_END[end] for end, kind in _TYPES.items()}
_ENDPOINTS = (
    sa.select(WebhookEndpoint.id, WebhookEndpoint.user_id, WebhookEndpoint.events, PRESENT_LANE.label("lane"))
    .add_columns(WebhookEndpoint.filter_task_type, WebhookEndpoint.filter_tag, WebhookEndpoint.filter_celery_task_name)
    .join(User, User.id == WebhookEndpoint.user_id)
    .where(is_one_of(WebhookEndpoint.user_id, "users"), WebhookEndpoint.enabled, User.is_active)
    .order_by(WebhookEndpoint.id)
)


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a schedule: which one it is, and what a filter names."""

    schedule_id: UUID
    task_type: str | None = None
    celery_task_name: str | None = None
    tags: Collection[str] = ()


def find_endpoints(db: Session, user_id: UUID, kind: EventType) -> list[Any]:
    """Return the endpoints of the user that want these events, as far as their filters match."""
    return [endpoint for endpoint in db.execute(_ENDPOINTS, {"users": [user_id]}) if kind in endpoint.events]


def record_events(
    db: Session, user_id: UUID, kind: EventType, endpoints: Sequence[Any], events: Sequence[Event]
) -> list[Event]:  # fmt: skip
    """Record events of this user, of now, for these endpoints of `find_endpoints`. Returns those that one is told of.

    The caller commits, together with what has happened. One INSERT for all; the bodies are made when they are first
    sent: what happens must not wait for them.
    """
    moment: datetime = db.execute(sa.select(NOW)).scalar_one()
    rows, told = list[dict[str, Any]](), list[Event]()
    for event in events:
        receivers = _matching(endpoints, event.task_type, event.celery_task_name, event.tags)
        whole = {"user_id": user_id, "schedule_id": event.schedule_id, "type": kind.value, "event_at": moment}
        rows += _rows_of_event(whole, receivers, DELIVERY_BYTES, moment)
        told += [event] if receivers else []
    if rows:
        db.execute(sa.insert(_DELIVERIES), rows)
    return told


def record_made(
    db: Session, user_id: UUID, kind: EventType, endpoints: Sequence[Any], shown: BaseModel
) -> None:  # fmt: skip
    """Record an event of now, of an object that has none of what a filter names, for these of `find_endpoints`.

    Its body is made at once, in the transaction of the event.
    """
    receivers = _matching(endpoints, None, None, ())
    if not receivers:
        return
    moment: datetime = db.execute(sa.select(NOW)).scalar_one()
    body = body_of(kind, moment, shown.model_dump(mode="json"))
    event = {"user_id": user_id, "type": kind.value, "event_at": moment, "body": body}
    rows = _rows_of_event(event, receivers, DELIVERY_BYTES + len(body), moment)
    db.execute(sa.insert(_DELIVERIES), rows)


def record_ends(db: Session, told: Sequence[TaskEvent]) -> None:
    """Record these ends of tasks: the consumer of the outbox. Their bodies are made when they are first sent.

    One SELECT of the endpoints of all their users, and one INSERT.
    """
    ends = [(each, _TYPES[OutboxEvent(each.event)]) for each in told if each.event in _TYPES]
    if not ends:
        return
    endpoints: dict[UUID, list[Any]] = {each.user_id: [] for each, _ in ends}
    for endpoint in db.execute(_ENDPOINTS, {"users": sorted(endpoints)}):
        endpoints[endpoint.user_id].append(endpoint)
    moment: datetime = db.execute(sa.select(NOW)).scalar_one()
    rows = [row for each, kind in ends for row in _rows_of_end(each, kind, endpoints[each.user_id], moment)]
    if rows:
        db.execute(sa.insert(_DELIVERIES), rows)


def _rows_of_end(told: TaskEvent, kind: EventType, endpoints: Sequence[Any], moment: datetime) -> list[dict[str, Any]]:
    wanting = [each for each in endpoints if kind in each.events]
    receivers = _matching(wanting, told.task_type, told.celery_task_name, told.tags or ())
    if told.webhook_url is not None:
        receivers.append({"url": told.webhook_url, "lane": lane_of_url(told.user_id, told.webhook_url)})
    event = {
        "user_id": told.user_id,
        "task_id": told.task_id,
        "generation": told.generation,
        "type": kind.value,
        "event_at": told.finished_at or told.created_at,
    }
    return _rows_of_event(event, receivers, DELIVERY_BYTES, moment)


CONSUMER = Consumer("webhooks", ConsumerNumber.WEBHOOKS, record_ends, ENDS_AT_ONCE)


def lane_of_url(user_id: UUID, url: str) -> UUID:
    """Return what stands for the receiver of a `webhook_url`: one of LANES_OF_URLS of the user, by its origin."""
    return uuid5(user_id, str(crc32(parse_url(url).origin.encode()) % LANES_OF_URLS))


def _matching(
    endpoints: Sequence[Any], task_type: str | None, celery_task_name: str | None, tags: Collection[str]
) -> list[dict[str, Any]]:
    """Return the receivers of an event: what their rows have of the endpoints whose filters match."""
    return [
        {"endpoint_id": endpoint.id, "lane": endpoint.lane}
        for endpoint in endpoints
        if endpoint.filter_task_type in {None, task_type}
        and endpoint.filter_celery_task_name in {None, celery_task_name}
        and (endpoint.filter_tag is None or endpoint.filter_tag in tags)
    ]


def _rows_of_event(
    event: dict[str, Any], receivers: Sequence[dict[str, Any]], size: int, due: Any
) -> list[dict[str, Any]]:  # fmt: skip
    """One row for each receiver, all with the event's id. The rows of an event are due in the order of their ids."""
    whole = {"endpoint_id": None, "url": None, **event, "event_id": new_id(), "attempts": [], "next_attempt_at": due}
    return [{"id": new_id(), **whole, **each, "bytes": size + len(each.get("url", "").encode())} for each in receivers]


# -- The bodies of webhooks: `{type, timestamp, data}`, made once and then sent as they are ----------------------------

MAX_DATA_BYTES = 256 * 1024
# Of an object that is larger, or is no more as it was then.
IDENTITY_FIELDS = ("id", "status")

_TASK_COLUMNS = Task.__table__.c
_TASK_SNAPSHOTS = sa.select(*(_TASK_COLUMNS[name] for name in SHOWN), task_rows.WAITS, _TASK_COLUMNS.generation).where(
    # What is larger by its columns is larger as JSON, too.
    reads.is_one_of(_TASK_COLUMNS.id, "ids"),
    task_rows.LARGE_BYTES <= MAX_DATA_BYTES,
)


class TaskEnd(NamedTuple):
    """The end of a task that is told: which one, and how and when it was."""

    task_id: UUID
    generation: int | None
    type: str
    at: datetime

    @property
    def status(self) -> str:
        return self.type.rpartition(".")[2]


class Skip(NamedTuple):
    """Times of a schedule that were skipped: of which one, and when they were."""

    schedule_id: UUID
    type: str
    at: datetime


def body_of(kind: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    """Return the body of an event. Data above MAX_DATA_BYTES are their id and status alone."""
    return _body(kind, at, dump_json(data).encode(), data)


def bodies_of_ends(db: Session, ends: Sequence[TaskEnd]) -> list[bytes]:
    """Return the body of each of these ends: the task as GET shows it. Reads all tasks in one statement.

    Of a task that was retried or deleted meanwhile, or is too large, `data` is its id and that end's status.
    """
    found = db.execute(_TASK_SNAPSHOTS, {"ids": list({end.task_id for end in ends})}).mappings()
    rows = {row["id"]: dict(row) for row in found}
    return [_body_of_end(end, rows.get(end.task_id)) for end in ends]


def bodies_of_skips(db: Session, skips: Sequence[Skip]) -> list[bytes]:
    """Return the body of each: the schedule as GET shows it now. Equal ones are one object.

    Of a schedule that is deleted, or is too large, `data` is its id alone.
    """
    rows = sa.select(Schedule).where(Schedule.id.in_({skip.schedule_id for skip in skips}))
    found = {each.id: each for each in db.scalars(rows.execution_options(populate_existing=True))}
    data = {each.id: ScheduleRead.model_validate(each).model_dump_json().encode() for each in found.values()}
    made = dict[Skip, bytes]()
    for skip in skips:
        if skip not in made:
            whole = {"id": str(skip.schedule_id)}
            made[skip] = _body(skip.type, skip.at, data.get(skip.schedule_id, b""), whole)
    return [made[skip] for skip in skips]


def _body_of_end(end: TaskEnd, row: dict[str, Any] | None) -> bytes:
    data = b""
    if row is not None and (row["generation"], row["status"]) == (end.generation, end.status):
        shown = TaskRead.model_validate(as_shown({name: value for name, value in row.items() if name != "generation"}))
        data = shown.__pydantic_serializer__.to_json(shown)
    return _body(end.type, end.at, data, {"id": str(end.task_id), "status": end.status})


def _body(kind: str, at: datetime, data: bytes, whole: Mapping[str, Any]) -> bytes:
    if not data or len(data) > MAX_DATA_BYTES:
        data = dump_json({name: whole[name] for name in IDENTITY_FIELDS if name in whole}).encode()
    head = dump_json({"type": kind, "timestamp": at.astimezone(UTC).isoformat().replace("+00:00", "Z")})
    return head[:-1].encode() + b',"data":' + data + b"}"
