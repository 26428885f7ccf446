"""Live events while Redis dies, comes back, freezes or cuts its clients: every stream gets its terminal event."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.live import watcher
from tests.support.bounds import bounded
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
def scene(services: Services, broker: BrokerServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    settings = {"CELERY_BROKER_URL": broker.url, **bounded({watcher: {"STREAMS_PER_USER": 500}})}
    with fault_scene(services, tmp_path_factory.mktemp("scene"), **settings) as scene:
        scene.stack.server()
        scene.stack.worker(concurrency=PROCESSES)
        yield scene


class Followers:
    """Streams of single tasks, or the one of all of them: each kind must do without the other's comparing."""

    def __init__(self, scene: Scene, kind: str, opened: ExitStack) -> None:
        self._scene, self.kind, self._opened = scene, kind, opened
        self._token = str(scene.http.headers["Authorization"]).removeprefix("Bearer ")
        self._each: dict[str, EventReader] = {}
        self._every = self._open("events") if kind == BY_USER else None

    def _open(self, path: str) -> EventReader:
        return self._opened.enter_context(EventReader(self._scene.stack.url, TASKS + path, self._token))

    def follow(self, ids: list[str]) -> None:
        if self.kind == BY_NAME:
            self._each |= {task_id: self._open(f"{task_id}/events") for task_id in ids}

    def see(self, task_id: str, *statuses: str, seconds: float = SECONDS) -> dict[str, Any]:
        """The state, once an event has shown it."""
        events = self._every or self._each[task_id]

        def shown() -> dict[str, Any] | None:
            tasks = (event.task for event in list(events.events))
            return next((task for task in tasks if task["id"] == task_id and task["status"] in statuses), None)

        return wait_for(shown, seconds, f"an event of {task_id} that is {statuses}") or {}

    def see_the_end_of(self, ids: list[str], seconds: float = SECONDS) -> None:
        for task_id in ids:
            assert self.see(task_id, *TERMINAL, seconds=seconds) == self._scene.get(task_id)
            if self.kind == BY_NAME:
                self._each[task_id].await_end()


BY_NAME, BY_USER = "by name", "by user"


@pytest.fixture(params=[BY_NAME, BY_USER])
def followers(scene: Scene, request: pytest.FixtureRequest) -> Iterator[Followers]:
    with ExitStack() as opened:
        yield Followers(scene, request.param, opened)


def test_no_terminal_event_is_lost_over_a_restart(
    scene: Scene, broker: BrokerServer, followers: Followers, gate: Path
) -> None:
    """Some end while there is no Redis, some right after it is back, some have never been sent before it was gone."""
    holding = [scene.create("ledger.deaf", gate=str(gate)) for _ in range(PROCESSES)]
    waiting = [scene.work(seconds=0.05) for _ in range(40)]
    followers.follow(holding + waiting)
    for task_id in holding:
        scene.started(task_id)
        if followers.kind == BY_NAME:  # the stream of all may have begun after it
            followers.see(task_id, "running")
    broker.kill()
    gate.touch()
    unheard_of = scene.work(fields={"delay_seconds": 3600})
    followers.follow([unheard_of])
    assert scene.post(unheard_of, "cancel").status_code == 200
    followers.see_the_end_of([*holding, unheard_of])
    broker.restart()
    followers.see_the_end_of(waiting, seconds=60)
    scene.check()


def test_nor_while_it_cuts_its_clients_again_and_again(
    scene: Scene, broker: BrokerServer, followers: Followers
) -> None:
    ids = [scene.work(seconds=0.05) for _ in range(40)]
    followers.follow(ids)
    for _ in range(5):
        done = len(scene.lines(event="end"))
        wait_for(broker.kill_clients, 10, "connections to cut")
        wait_for(lambda: len(scene.lines(event="end")) > done or not scene.unended(), 30, "work to go on")  # noqa: B023
    followers.see_the_end_of(ids, seconds=60)
    scene.check()


def test_a_frozen_redis_holds_no_task_up(scene: Scene, broker: BrokerServer, followers: Followers, gate: Path) -> None:
    """Progress in a loop while somebody listens: a report may cost a publish's timeout, once in a while."""
    holding = scene.create("ledger.gate", gate=str(gate))
    followers.follow([holding])
    scene.started(holding)
    wait_for(lambda: _is_listened_to(broker), 20, "somebody to listen")
    with broker.frozen():
        gate.touch()
        followers.see_the_end_of([holding])
    scene.check()


def _is_listened_to(broker: BrokerServer) -> bool:
    with broker.client() as client:
        return bool(client.get("task_service:live:0"))
