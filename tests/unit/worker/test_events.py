"""Events of rows are sent while somebody wants them, and a broker that is away costs one try in a while."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from app.celery_app import celery_app
from app.core.ids import new_id
from app.messaging.broker import BrokerLink
from app.worker.child import taker
from app.worker.child.taker import TaskEvents
from app.worker.shared.slot_table import SlotTable

REQUEST = {"task": "celery.map", "root_id": "one", "retries": 0}


class Clock:
    now = 1000.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    return made


def a_run() -> Any:
    claim = SimpleNamespace(celery_task_name="celery.map", celery_id=new_id())
    return SimpleNamespace(claim=claim, task_id=new_id(), was_revoked=False)


def test_a_broker_that_is_away_is_tried_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[float] = []

    def refuse(_link: Any) -> None:
        tries.append(clock.now)
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(BrokerLink, "connection", refuse)
    table = SlotTable(1)
    sender, run = TaskEvents(celery_app, "node", table), a_run()
    sender.begun(run, REQUEST)
    assert tries == []
    table.sends_events = True
    for _ in range(3):
        sender.begun(run, REQUEST)
        sender.ended(run, None, 0.1, "None")
    assert tries == [1000.0]
    clock.now += taker.EVENTS_PAUSE_SECONDS
    sender.begun(run, REQUEST)
    assert tries == [1000.0, 1000.0 + taker.EVENTS_PAUSE_SECONDS]
    assert len(caplog.messages) == 2
