"""`python -m tests.performance.sending rate|beside|spread …`: the sender of webhooks, in a process of its own.

    rate NUMBER ENDPOINTS ROUNDS URL      the ends of so many tasks to so many endpoints, one of each user, and httpx
                                          with as many connections at once: the seconds of both, round by round
    beside NUMBER QUEUED ROUNDS URL DEAD  how long so many events take, alone, and beside so many to a dead endpoint

    spread SECONDS URL DEAD               queues a hundred a second for so long, to ten endpoints, of which one is dead

Prints JSON. The bodies are those of tasks, made when they are sent; httpx sends the same ones, unsigned.
"""

import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import cycle, islice
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal, transaction
from app.ddl.clock import NOW
from app.maintenance.passes import backlogs as passes
from app.maintenance.rounds import Round
from app.models.webhook import DELIVERY_BYTES, DeliveryState, WebhookDelivery
from app.outbound.targets import Policy
from app.services.outbox import deliver_batch
from app.services.task_service import task_service
from app.services.webhooks.lanes import PLACES, PLACES_OF_LANE
from app.services.webhooks.new_deliveries import CONSUMER
from app.services.webhooks.sender import Sender, sender_of
from app.services.webhooks.service import webhook_service
from tests.support.schedules import TASK
from tests.support.tasks import new_user
from tests.support.waiting import wait_for

EVENTS = ["task.revoked"]
# For all of a round.
SECONDS = 300.0
DONE = WebhookDelivery.state == DeliveryState.DELIVERED.value


def main(words: Sequence[str]) -> int:
    what, *arguments = words
    with SessionLocal() as db:
        found = {"rate": _rate, "beside": _beside, "spread": _spread}[what](db, *arguments)  # type: ignore[operator]
    sys.stdout.write(f"{json.dumps(found)}\n")
    return 0


def _rate(db: Session, number: str, endpoints: str, rounds: str, url: str) -> dict[str, list[float]]:
    many, total = int(endpoints), int(number)
    users = [_receiver(db, url)[0] for _ in range(many)]
    connections = min(PLACES, many * PLACES_OF_LANE)
    sent, plain = [], []
    for _ in range(int(rounds) + 1):
        _end_tasks(db, list(islice(cycle(users), total)))
        sent.append(_seconds(lambda: _send(db, total)))
        bodies = db.scalars(select(WebhookDelivery.body)).all()
        assert len(bodies) == total
        plain.append(_seconds(lambda bodies=bodies: _post(url, bodies, connections)))  # type: ignore[misc]
        db.execute(delete(WebhookDelivery))
        db.commit()
    return {"sent": sent[1:], "httpx": plain[1:]}  # the first ones warm both up


def _beside(db: Session, number: str, queued: str, rounds: str, url: str, dead: str) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"alone": [], "beside": []}
    (user, mine), (other, theirs) = _receiver(db, url), _receiver(db, dead)
    for _ in range(int(rounds)):
        for name, many in (("alone", 0), ("beside", int(queued))):
            _queue(db, other, theirs, many)
            _queue(db, user, mine, int(number))
            stopping, sender = threading.Event(), _sender()
            thread = threading.Thread(target=_run, args=(sender, stopping))
            thread.start()
            found[name].append(_seconds(lambda: _await(db, WebhookDelivery.endpoint_id == mine, int(number))))
            stopping.set()
            thread.join()
            db.execute(delete(WebhookDelivery))
            db.commit()
    return found


def _spread(db: Session, seconds: str, url: str, dead: str) -> dict[str, list[float]]:
    number = int(seconds) * 10
    for each in range(10):
        user, endpoint = _receiver(db, dead if each == 0 else url)
        _queue(db, user, endpoint, number, every=0.1, after=each * 0.01)
    return {}


def _receiver(db: Session, url: str) -> tuple[UUID, UUID]:
    """A user, and an endpoint of it."""
    user = new_user(db)
    return user, webhook_service.create_endpoint(db, user, url, EVENTS).row.id


def _end_tasks(db: Session, users: Sequence[UUID]) -> None:
    """End a task of each of these users, and have the outbox record the deliveries."""
    for user in users:
        task, _ = task_service.create_task(db, **TASK, user_id=user)
        task_service.cancel_task(db, task.id)
        db.expunge_all()
    while deliver_batch(db, CONSUMER):
        pass


def _queue(db: Session, user: UUID, endpoint: UUID, number: int, *, every: float = 0.0, after: float = 0.0) -> None:
    """Deliveries whose bodies are made already; each is due so many seconds after the one before."""
    moment = db.execute(select(NOW)).scalar_one()
    row = {
        "user_id": user, "endpoint_id": endpoint, "lane": endpoint, "type": EVENTS[0], "event_at": moment,
        "attempts": [], "next_attempt_at": moment, "body": b'{"type":"task.revoked"}', "bytes": DELIVERY_BYTES,
    }  # fmt: skip
    if number:
        due = (moment + timedelta(seconds=after + every * each) for each in range(number))
        new = [{**row, "id": new_id(), "event_id": new_id(), "next_attempt_at": each} for each in due]
        db.execute(insert(WebhookDelivery), new)
    db.commit()


def _sender() -> Sender:
    settings = get_settings()
    return sender_of(Policy.of(settings), settings.accepted_keys)


def _run(sender: Sender, stopping: threading.Event) -> None:
    with SessionLocal() as db:
        while not stopping.is_set():
            if not sender.run(db, stopping):
                stopping.wait(passes.WEBHOOK_SECONDS)


def _send(db: Session, number: int) -> None:
    this = Round(get_settings(), None, threading.Event())
    while passes.SEND_WEBHOOKS.run(db, this) is not None:
        pass
    _await(db, DONE, number)


def _await(db: Session, of: Any, number: int) -> None:
    def delivered() -> bool:
        with transaction(db):
            return db.scalar(select(func.count()).where(of, DONE)) == number

    wait_for(delivered, SECONDS, f"{number} deliveries")


def _post(url: str, bodies: Sequence[bytes], connections: int) -> None:
    limits = httpx.Limits(max_connections=connections)
    with httpx.Client(limits=limits) as client, ThreadPoolExecutor(connections) as pool:
        for answer in pool.map(lambda body: client.post(url, content=body), bodies):
            answer.raise_for_status()


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
