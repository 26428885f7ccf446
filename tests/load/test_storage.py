"""The database's disk: what one user may keep, and how much of the audit one user may cause."""

import asyncio
import json
import math
import time
from typing import Any

import pytest

from app.services import audit
from tests.load.duel import BOUND, Duel
from tests.load.greedy import Side
from tests.performance.wire import Answer, Connection, Request
from tests.support.accounts import API
from tests.support.bounds import bounded
from tests.support.tasks import LONG_RUNNING

MIB = 1024**2
QUOTA, DEEDS = 20 * MIB, 300
SETTINGS = {"QUOTA_STORED_BYTES": str(QUOTA), **bounded({audit: {"DEEDS_PER_MINUTE": DEEDS}})}
VALUE_BYTES = 250_000
# Nobody else submits so much that the quota would be looked at late.
SLACK = 1.1


def submission(token: str, value: str = "") -> Request:
    body: dict[str, Any] = {"name": "n", "task_type": "load", "celery_task_name": LONG_RUNNING, "args": [1]}
    # Not to run now: there is no worker, and the greedy client cancels it.
    body |= {"delay_seconds": 3600, "kwargs": {"param": value}}
    return Request("POST", f"{API}/tasks/", json.dumps(body).encode(), token=token)


async def creates_and_cancels_large_tasks(side: Side) -> None:
    connection = Connection(side.address)
    create = submission(side.token, "x" * VALUE_BYTES)
    while True:
        created = await counted(side, connection, create, "create")
        if created.status == 201:
            cancel = Request("POST", f"{API}/tasks/{created.json()['id']}/cancel", token=side.token)
            await counted(side, connection, cancel, "cancel")


async def cancels_and_retries_in_a_loop(side: Side) -> None:
    await asyncio.gather(*(_cancels_and_retries(side) for _ in range(2)))


async def _cancels_and_retries(side: Side) -> None:
    connection = Connection(side.address)
    task_id = (await connection.ask(submission(side.token))).json()["id"]
    while True:
        for deed in ("cancel", "retry"):
            await counted(side, connection, Request("POST", f"{API}/tasks/{task_id}/{deed}", token=side.token), deed)


async def counted(side: Side, connection: Connection, request: Request, what: str) -> Answer:
    answer = await connection.ask(request)
    side.count(f"{what} {answer.status}")
    return answer


def test_large_tasks_that_are_created_and_cancelled_stop_at_the_quota(duel: Duel) -> None:
    seen = duel.compare(creates_and_cancels_large_tasks, duel.modest_request(*_parts(submission(""))))
    kept = duel.stack.sql("SELECT coalesce(sum(octet_length(kwargs)), 0) FROM tasks WHERE kwargs LIKE '%xxxxxxxx%'")
    assert seen.taken["create 429"] > 0, str(seen)
    assert kept[0][0] <= SLACK * QUOTA, str(seen)
    assert seen.taken["create 201"] <= SLACK * QUOTA / VALUE_BYTES, str(seen)
    assert seen.ratio <= BOUND, str(seen)


@pytest.mark.full
def test_deeds_that_the_audit_records_stop_at_their_limit(duel: Duel) -> None:
    began = time.monotonic()
    seen = duel.compare(cancels_and_retries_in_a_loop, duel.modest_get())
    recorded = dict(map(tuple, duel.stack.sql("SELECT event, count(*) FROM audit_events GROUP BY event")))
    assert seen.taken["cancel 429"] + seen.taken["retry 429"] > 0, str(seen)
    assert recorded["task.retried"] >= seen.taken["retry 202"] > 0, str(seen)  # none is left out
    minutes = math.ceil((time.monotonic() - began) / 60) + 1
    assert recorded["task.retried"] + recorded["task.cancelled"] <= minutes * DEEDS, str(seen)
    assert 1 <= recorded["deeds.throttled"] <= minutes, str(seen)
    assert seen.ratio <= BOUND, str(seen)


def _parts(request: Request) -> tuple[str, str, bytes]:
    return request.method, request.path, request.body
