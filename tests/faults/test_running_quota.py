"""QUOTA_RUNNING_TASKS on real workers: by the ledger of the bodies, never more of one user, whatever is killed."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil
import pytest

from tests.support.faults.histories import most_at_once
from tests.support.faults.scene import Scene
from tests.support.running import TASKS
from tests.support.waiting import wait_for

QUOTA = 2


@pytest.fixture
def scene(class_scene: Scene) -> Scene:
    return class_scene


def submit(scene: Scene, http: httpx.Client, number: int, **options: Any) -> list[str]:
    """Half of them one by one, the others together."""
    bodies = [scene.body("ledger.work", **options) for _ in range(number)]
    half = number // 2
    answers = [http.post(TASKS, json=body) for body in bodies[:half]]
    batch = http.post(f"{TASKS}batch", json={"tasks": bodies[half:]})
    assert {answer.status_code for answer in (*answers, batch)} == {201}
    ids = [str(task["id"]) for task in (*(answer.json() for answer in answers), *batch.json()["tasks"])]
    scene.accepted += ids
    return ids


def places(scene: Scene) -> int:
    return int(scene.stack.sql("SELECT count(*) FROM limit_places")[0][0])


def most_of_each(scene: Scene, users: Iterable[list[str]], died: dict[int, float] | None = None) -> list[int]:
    return [most_at_once(scene.lines(), ids, died or {}) for ids in users]


class TestAUser:
    SETTINGS: ClassVar = {"QUOTA_RUNNING_TASKS": str(QUOTA)}

    def test_has_so_many_bodies_beside_those_of_others(self, scene: Scene) -> None:
        worker = scene.stack.worker(concurrency=4)
        other = scene.stack.api(role="admin")
        own = submit(scene, scene.http, 16, seconds=0.15)
        theirs = submit(scene, other, 8, seconds=0.15)
        failing = [scene.work(fail=True, fields={"max_attempts": 2, "retry_backoff_seconds": 0.1}) for _ in range(2)]
        scene.check()
        assert most_of_each(scene, (own + failing, theirs)) == [QUOTA, QUOTA]
        assert most_at_once(scene.lines(), own + theirs, {}) > QUOTA
        # Whoever ends a body frees its place. The agent would at its second look, and take 40 s for these.
        scene.create_together(*[scene.body("ledger.quick")] * 40)
        scene.check(seconds=20)
        # The last success is written, and its place freed, after its body.
        wait_for(lambda: places(scene) == 0, 10, "all places to be free")
        worker.stop()

    def test_keeps_to_it_while_processes_are_killed(self, scene: Scene, tmp_path: Path) -> None:
        """Two children, then a whole worker, each in the middle of bodies."""
        first = scene.stack.worker(concurrency=3)
        before = len(scene.lines(event="start"))
        died: dict[int, float] = {}
        own = submit(scene, scene.http, 12, seconds=0.3)
        for number in range(2):
            wait_for(lambda at=number: len(scene.lines(event="start")) > before + 3 * at, 40, "bodies to start")
            running = scene.lines(event="start")[-1].pid
            os.kill(running, signal.SIGKILL)
            died[running] = time.time()
        gate = tmp_path / "gate"
        held = [scene.create("ledger.deaf", gate=str(gate)) for _ in range(QUOTA)]
        pids = [scene.started(task_id).pid for task_id in held]
        second = scene.stack.worker(concurrency=3)
        waiting = [scene.work() for _ in range(3)]
        assert scene.get(waiting[0])["waiting_for"]["key"] == "QUOTA_RUNNING_TASKS"
        first.kill()
        for pid in pids:
            wait_for(lambda pid=pid: not psutil.pid_exists(pid), 30, "the body's process to go with its parent")
            died[pid] = time.time()
        scene.started(waiting[0], seconds=30)
        gate.touch()
        scene.check()
        assert most_of_each(scene, [[*own, *held, *waiting]], died) == [QUOTA]
        wait_for(lambda: places(scene) == 0, 10, "all places to be free")
        second.stop()
