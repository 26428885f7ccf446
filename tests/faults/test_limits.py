"""Limits under faults: never more bodies than allowed, by the ledger that the bodies write, whatever is killed."""

import os
import random
import signal
import time
from contextlib import suppress

import httpx
import psutil
import pytest

from tests.support.faults.histories import most_at_once
from tests.support.faults.scene import Scene
from tests.support.waiting import wait_for

LIMITS = "/api/v1/limits/"
TASKS = "/api/v1/tasks/"
ROUNDS = 3


@pytest.fixture(scope="class")
def scene(class_scene: Scene) -> Scene:
    return class_scene


@pytest.fixture(scope="class")
def admin(scene: Scene) -> httpx.Client:
    return scene.stack.api(role="admin")


def limit(admin: httpx.Client, name: str, **bounds: object) -> None:
    answer = admin.put(LIMITS + name, json=bounds)
    assert answer.status_code == 200, answer.text


def kill(pid: int, died: dict[int, float]) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        died[pid] = time.time()


@pytest.mark.every_engine("limits")
class TestKilledChildren:
    def test_free_their_places_and_never_one_too_many(self, scene: Scene, admin: httpx.Client) -> None:
        limit(admin, "two", concurrency=2)
        worker = scene.stack.worker(concurrency=4)
        ids = [scene.work(seconds=0.15, fields={"limit": "two"}) for _ in range(40)]
        died: dict[int, float] = {}
        chance, deadline = random.Random(7), time.monotonic() + 60
        for number in range(1, 6):
            wait_for(lambda at=number: len(scene.lines(event="start")) >= 5 * at, 40, "bodies to start")
            kill(chance.choice(worker.children()), died)
            assert time.monotonic() < deadline
        scene.check()
        assert most_at_once(scene.lines(), ids, died) == 2
        wait_for(lambda: scene.stack.sql("SELECT count(*) FROM limit_places")[0][0] == 0, 10, "all places to be free")
        worker.stop()


class TestAKilledParent:
    def test_frees_its_places_within_the_lease(
        self, scene: Scene, admin: httpx.Client, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        limit(admin, "one", concurrency=1)
        gate = tmp_path_factory.mktemp("gates") / "gate"
        first = scene.stack.worker(concurrency=2)
        running = scene.create("ledger.deaf", gate=str(gate), fields={"limit": "one"})
        body = scene.started(running)
        second = scene.stack.worker(concurrency=2)
        waiting = [scene.work(fields={"limit": "one"}) for _ in range(3)]
        assert scene.get(waiting[0])["waiting_for"] == {
            "reason": "limit", "until": None, "key": "one", "blocked_by": None,
        }  # fmt: skip
        first.kill()
        wait_for(lambda: not psutil.pid_exists(body.pid), 30, "the body's process to go with its parent")
        died = {body.pid: time.time()}
        scene.started(waiting[0], seconds=30)
        gate.touch()
        scene.check()
        assert most_at_once(scene.lines(), [running, *waiting], died) == 1
        second.stop()


class TestABodyThatRunsOn:
    @pytest.mark.parametrize("deed", ["revoked", "retried", "deleted"])
    def test_keeps_its_place_after_its_task_was_ended_from_outside(
        self, scene: Scene, admin: httpx.Client, deed: str, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        limit(admin, deed, concurrency=1)
        gate = tmp_path_factory.mktemp("gates") / "gate"
        worker = scene.stack.worker(concurrency=2)
        fields = {"limit": deed}
        first = scene.create("ledger.deaf", gate=str(gate), fields=fields)
        scene.started(first)
        second = scene.work(fields=fields)
        assert admin.patch(TASKS + first, json={"status": "revoked"}).status_code == 200
        if deed == "retried":
            assert scene.post(first, "retry").status_code == 202
            gate.touch()
        if deed == "deleted":
            assert scene.http.delete(TASKS + first).status_code == 204
            scene.accepted.remove(first)
        scene.started(second)
        wait_for(lambda: not scene.unended(), 40, "all to end")
        assert most_at_once(scene.lines(), [first, second], {}) == 1
        worker.stop()


class TestARate:
    @pytest.mark.timeout(300)
    def test_holds_in_every_interval(self, scene: Scene, admin: httpx.Client) -> None:
        count, period = 5, 0.7
        limit(admin, "rated", rate={"count": count, "period_seconds": period})
        workers = [scene.stack.worker(concurrency=2) for _ in range(2)]
        # Not in step with the passes of maintenance, one a second: that would take twice as long, in each round.
        most = 2 * period * 30 / count
        for _ in range(ROUNDS):
            begun = time.monotonic()
            ids = [scene.work(fields={"limit": "rated"}) for _ in range(30)]
            scene.check(seconds=60)
            took = time.monotonic() - begun
            starts = sorted(line.time for line in scene.lines(event="start") if line.task_id in ids)
            gaps = [later - earlier for earlier, later in zip(starts, starts[count:], strict=False)]
            assert len(starts) == 30
            assert min(gaps) >= period
            if took < most:
                break
        assert took < most, gaps
        for worker in workers:
            worker.stop()
