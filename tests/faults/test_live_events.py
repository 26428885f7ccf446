"""Live events while Redis dies, comes back, freezes or cuts its clients: every stream gets its terminal event."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.event_reader import EventReader
from tests.support.faults.broker_server import BrokerServer
from tests.support.faults.scene import Scene, fault_scene
from tests.support.running import TASKS, TERMINAL
from tests.support.services import Services
from tests.support.waiting import wait_for

PROCESSES = 2
# A hint that is lost costs a comparison: a few seconds, on a machine that has other things to do.
SECONDS = 20


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    with BrokerServer(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture(scope="module")
def scene(services: Services, broker: BrokerServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    settings = {"CELERY_BROKER_URL": broker.url, "EVENTS_STREAMS_PER_USER": "500"}
    with fault_scene(services, tmp_path_factory.mktemp("scene"), **settings) as scene:
        scene.stack.server()
        scene.stack.worker(concurrency=PROCESSES)
        yield scene


@contextmanager
def followed(scene: Scene, ids: list[str]) -> Iterator[tuple[list[EventReader], EventReader]]:
    """A stream of each, and one of all of them."""
    token = str(scene.http.headers["Authorization"]).removeprefix("Bearer ")
    with ExitStack() as opened:
        every = opened.enter_context(EventReader(scene.stack.url, f"{TASKS}events", token))
        each = [opened.enter_context(EventReader(scene.stack.url, f"{TASKS}{one}/events", token)) for one in ids]
        yield each, every


def told(scene: Scene, ids: list[str], each: list[EventReader], every: EventReader, seconds: float = SECONDS) -> None:
    """Every stream of a task has ended with its terminal state, and the one of all has shown each of these."""
    for task_id, events in zip(ids, each, strict=True):
        last = events.await_end(seconds)[-1].task
        assert last["status"] in TERMINAL
        assert last == scene.get(task_id)

    def shown() -> bool:
        ended = {event.task["id"] for event in every.events if event.task["status"] in TERMINAL}
        return set(ids) <= ended

    wait_for(shown, seconds, "all of them in the stream of all")


def test_no_terminal_event_is_lost_over_a_restart(scene: Scene, broker: BrokerServer, gate: Path) -> None:
    """Some end while there is no Redis, some right after it is back, some have never been sent before it was gone."""
    holding = [scene.create("ledger.deaf", gate=str(gate)) for _ in range(PROCESSES)]
    waiting = [scene.work(seconds=0.05) for _ in range(40)]
    with followed(scene, holding + waiting) as (each, every):
        for task_id in holding:
            scene.started(task_id)
            every.await_state("running", task_id)
        broker.kill()
        gate.touch()
        told(scene, holding, each[:PROCESSES], every)
        broker.restart()
        told(scene, waiting, each[PROCESSES:], every, seconds=60)
    scene.check()


def test_nor_while_it_cuts_its_clients_again_and_again(scene: Scene, broker: BrokerServer) -> None:
    ids = [scene.work(seconds=0.05) for _ in range(40)]
    with followed(scene, ids) as (each, every):
        for _ in range(5):
            done = len(scene.lines(event="end"))
            assert broker.kill_clients() > 0
            wait_for(lambda: len(scene.lines(event="end")) > done, 30, "work to go on")  # noqa: B023
        told(scene, ids, each, every, seconds=60)
    scene.check()


def test_a_frozen_redis_holds_no_task_up(scene: Scene, broker: BrokerServer, gate: Path) -> None:
    """Progress in a loop while somebody listens: a report may cost a publish's timeout, once in a while."""
    holding = scene.create("ledger.gate", gate=str(gate))
    with followed(scene, [holding]) as (each, every):
        scene.started(holding)
        wait_for(lambda: _is_listened_to(broker), 20, "somebody to listen")
        with broker.frozen():
            begun = time.monotonic()
            gate.touch()
            told(scene, [holding], each, every)
            assert time.monotonic() - begun < SECONDS
    scene.check()


def _is_listened_to(broker: BrokerServer) -> bool:
    with broker.client() as client:
        return bool(client.get("task_service:live:0"))
