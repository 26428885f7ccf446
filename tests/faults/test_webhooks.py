"""Webhooks while their senders die: each event of each task arrives at least once, with one id, and none is lost.

SOAK_SECONDS=… makes it as long as one likes.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import update

from app.ddl.clock import NOW
from app.models.webhook import WebhookDelivery
from tests.support.faults.leaders import Leaders
from tests.support.faults.load import repeated
from tests.support.faults.receiver import Ledger, ledger
from tests.support.faults.scene import Scene
from tests.support.spelling import id_of
from tests.support.waiting import wait_for

HOOKS = "/api/v1/webhooks/"
ALL = ["task.succeeded", "task.failed", "task.revoked"]
OWN = "whsec_" + "A" * 43 + "="
SETTINGS = {"OUTBOUND_ALLOW": '["127.0.0.0/8"]', "WEBHOOK_SECRET": OWN}
LONG_SECONDS = 45.0
# Where a leader dies: with a delivery that is not committed, between its commit and its request, between that and its record.
POINTS = (
    {"at": "app.services.webhooks.new_deliveries:_rows_of_end", "when": "after"},
    {"at": "app.services.webhooks.queue:take", "when": "before"},
    {"at": "app.services.webhooks.queue:take", "when": "after"},
    {"at": "app.services.webhooks.queue:send", "when": "before"},
    {"at": "app.services.webhooks.queue:send", "when": "after"},
    {"at": "app.services.webhooks.sender:write_outcomes", "when": "before"},
    {"at": "app.services.webhooks.sender:write_outcomes", "when": "after"},
)
# Behind its request, of which the receiver knows and the database does not.
SENT = POINTS[4]
# In which the living sender has sent and recorded what is due.
REST_SECONDS = 3.0
# A lease of what a dead sender had taken, retries after 10 and 60 s, the leases of workers.
SETTLE_SECONDS = 300.0


def endpoint(scene: Scene, receiver: Ledger) -> None:
    """One endpoint for all tasks, and a URL that some of them name."""
    wanted = {"url": receiver.web.url("/endpoint"), "events": ALL}
    made = scene.http.post(HOOKS, json=wanted)
    assert made.status_code == 201, made.text
    receiver.listen("/endpoint", made.json()["secret"])
    receiver.listen("/own", scene.http.get("/api/v1/users/me/webhook-secret").json()["secret"])
    # Outlives a login's access token, which ends within the half hour.
    key = scene.http.post("/api/v1/auth/api-keys", json={"name": "soak", "scopes": ["tasks:read", "tasks:write"]})
    scene.http.headers["Authorization"] = f"Bearer {key.json()['key']}"


def submit(scene: Scene, receiver: Ledger, named: list[str]) -> None:
    number = len(scene.accepted)
    fields = {"webhook_url": receiver.web.url("/own")} if number % 5 == 0 else {}
    work: dict[str, Any] = {"fail": True} if number % 3 == 0 else {}
    task_id = scene.work(fields=fields, **work)
    if fields:
        named.append(task_id)


def check(scene: Scene, receiver: Ledger, named: list[str]) -> int:
    """What the ledger must hold; returns how many webhooks came more than once."""
    rows = scene.stack.sql("SELECT id, status FROM tasks")
    ended = {str(id_of(row[0])): f"task.{row[1]}" for row in rows}
    assert ended.keys() == set(scene.accepted)
    wanted = {("/endpoint", task_id, kind) for task_id, kind in ended.items()}
    wanted |= {("/own", task_id, ended[task_id]) for task_id in named}
    taken = list(receiver.taken)
    assert {(each.path, *each.event) for each in taken} == wanted
    ids, bodies = defaultdict(set), defaultdict(set)
    for each in taken:
        ids[each.event].add(each.event_id)
        bodies[each.path, each.event_id].add(each.body)
    assert {len(found) for found in ids.values()} == {1}, "an event has one id, whoever sends it"
    assert len({found for each in ids.values() for found in each}) == len(ended), "and no other event has it"
    assert {len(found) for found in bodies.values()} == {1}, "the same bytes each time"
    assert receiver.forged == []
    return len(taken) - len(wanted)


def end_leases(scene: Scene) -> None:
    """As if the time of what dead senders had taken were over, and that of what is tried again."""
    pending = update(WebhookDelivery).where(WebhookDelivery.lane.is_not(None)).values(next_attempt_at=NOW)
    with scene.stack.engine.begin() as connection:
        connection.execute(pending)


def delivered(scene: Scene, waits: bool) -> int:
    """How many are. Unless it waits, where nothing has changed for a while, what is pending is made due."""
    query = "SELECT count(*) FROM webhook_deliveries WHERE state = 'delivered'"
    number: int = scene.stack.sql(query)[0][0]
    until = time.monotonic() + REST_SECONDS
    while not waits and time.monotonic() < until and scene.stack.sql(query)[0][0] == number:
        time.sleep(0.1)
    if not waits and scene.stack.sql(query)[0][0] == number:
        end_leases(scene)
    return number


def soak(scene: Scene, seconds: float, points: Sequence[dict[str, str]] = POINTS, *, waits: bool = True) -> str:
    """Load and deaths for so long, one at each point at least, then peace, until nothing is to be sent. What happened, in a line.

    `waits`: until leases and retries are due by themselves.
    """
    named: list[str] = []
    with ledger() as receiver:
        endpoint(scene, receiver)
        leaders = Leaders(scene, points)
        with repeated(lambda: submit(scene, receiver, named), lambda: 0.2):
            until = time.monotonic() + seconds
            leaders.round()
            while time.monotonic() < until or len(leaders.deaths) < len(points):
                leaders.round()
        scene.check(SETTLE_SECONDS)
        expected = len(scene.accepted) + len(named)
        wait_for(lambda: delivered(scene, waits) == expected, SETTLE_SECONDS, f"{expected} deliveries")
        assert scene.stack.sql("SELECT count(*) FROM webhook_deliveries")[0][0] == expected
        again = check(scene, receiver, named)
        halves = receiver.cut_off
    return f"{len(scene.accepted)} tasks, {expected} deliveries, {again} of them twice, {halves} cut off, deaths {dict(leaders.deaths)}"


@pytest.mark.timeout(300)
def test_a_leader_that_dies_behind_a_request_sends_it_again_with_its_id(
    scene: Callable[..., Scene], tell: Callable[[str], None]
) -> None:
    tell(f"webhooks: {soak(scene(**SETTINGS), 0, [SENT], waits=False)}")


@pytest.mark.full
@pytest.mark.timeout(1200 + 2 * float(os.environ.get("SOAK_SECONDS") or LONG_SECONDS))
def test_no_event_is_lost_in_minutes_of_deaths(scene: Callable[..., Scene], tell: Callable[[str], None]) -> None:
    tell(f"webhooks: {soak(scene(**SETTINGS), float(os.environ.get('SOAK_SECONDS') or LONG_SECONDS))}")
