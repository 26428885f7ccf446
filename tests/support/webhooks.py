"""Endpoints, events and deliveries, for the tests of webhooks. Those that send allow it by `settings(ALLOWED)`."""

import json
import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.host_rules import HostRules
from app.core.ids import new_id
from app.core.signatures import encode_secret
from app.ddl.clock import NOW
from app.maintenance.passes.backlogs import RECOVERIES
from app.maintenance.rounds import take_steps
from app.models import Task
from app.models.webhook import WebhookDelivery, WebhookEndpoint
from app.outbound import Bounds, Client
from app.outbound.targets import Policy
from app.services.execution import ends
from app.services.outbox import deliver_batch
from app.services.webhooks import queue, sender as outcomes
from app.services.webhooks.new_deliveries import CONSUMER
from app.services.webhooks.queue import Taken
from app.services.webhooks.sender import Ended, Sender
from app.services.webhooks.service import NewEndpoint, webhook_service
from tests.support.tasks import finish, new_task
from tests.unit.outbound.web_server import Web

ALL = ["task.succeeded", "task.failed", "task.revoked"]
SECRET = encode_secret(bytes(range(32)))
ALLOWED = {"OUTBOUND_ALLOW": '["127.0.0.0/8"]', "WEBHOOK_SECRET": SECRET}
LOOPBACK = Policy(allowed=HostRules.of(["127.0.0.0/8"]))


def endpoint(db: Session, user: UUID, url: str = "http://127.0.0.1:9/", **options: Any) -> NewEndpoint:
    fields: dict[str, Any] = {"events": ALL} | options
    return webhook_service.create_endpoint(db, user, url, **fields)


def record(db: Session) -> None:
    while deliver_batch(db, CONSUMER):
        pass


def ended(db: Session, user: UUID, ending: ends.Ending | None = None, **options: Any) -> Task:
    """A task whose end is recorded."""
    task = new_task(db, user, **options)
    finish(db, task, ending)
    record(db)
    return task


def sender(**bounds: Any) -> Sender:
    client = Client(LOOPBACK, Bounds(seconds=5, max_redirects=0, **bounds))
    return Sender(client, get_settings().accepted_keys)


def send(db: Session, by: Sender | None = None) -> None:
    """Until nothing is due and nothing under way."""
    one = by or sender()
    # A step that has dropped what it looked for tells of nothing under way; the next look finds what is left.
    while one.step(db) or one.step(db):
        pass


def work_off(db: Session) -> None:
    """As maintenance does: drop what stands in closed lanes, and queue what is to be recovered."""
    queue.drop_closed_lanes(db, threading.Event())
    while take_steps(db, RECOVERIES, threading.Event()):
        pass


def due_again(db: Session) -> None:
    """As if the wait were over, of a retry or of a lease."""
    pending = update(WebhookDelivery).where(WebhookDelivery.next_attempt_at.is_not(None))
    db.execute(pending.values(next_attempt_at=NOW).execution_options(synchronize_session=False))
    db.commit()


def deliveries(db: Session) -> list[WebhookDelivery]:
    db.expire_all()
    return list(db.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id)))


def delivery(db: Session) -> WebhookDelivery:
    [found] = deliveries(db)
    return found


def bodies(web: Web) -> list[dict[str, Any]]:
    return [json.loads(seen.body) for seen in web.seen]


def age_failures(db: Session, **since: float) -> None:
    db.execute(update(WebhookEndpoint).values(failing_since=NOW - timedelta(**since)))
    db.commit()


def copy_deliveries(db: Session, template: WebhookDelivery, number: int, **values: Any) -> None:
    """So many more of the same."""
    columns = [column.name for column in WebhookDelivery.__table__.c]
    same = {name: getattr(template, name) for name in columns} | values
    db.execute(insert(WebhookDelivery.__table__), [same | {"id": new_id()} for _ in range(number)])
    db.commit()


def answered(db: Session, *taken: Taken) -> None:
    """Send these now, and write what comes of them."""
    write(db, *((each, queue.send(Client(LOOPBACK), each.message)) for each in taken))


def an_outcome(web: Web) -> queue.Outcome:
    """What comes of a request to this receiver."""
    return queue.send(Client(LOOPBACK), queue.Message(web.url(), UUID(int=1), b"{}", [b"x" * 32]))


def write(db: Session, *ended: Ended) -> None:
    """As the sender does."""
    outcomes.note_endpoints(db, outcomes.write_outcomes(db, ended))
