"""Workers that die, freeze, run out of memory, hang or are told to leave: rows 4, 9–14 and 26 of the matrix."""

import logging
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psutil
import pytest
import redis

from tests.support.faults.engines import freezes
from tests.support.faults.load import load
from tests.support.faults.memory import memory_limit
from tests.support.faults.scene import DEFAULT_LEASE, Scene
from tests.support.running import messages
from tests.support.stack import Part
from tests.support.waiting import wait_for

logger = logging.getLogger(__name__)

# A queue that a test keeps to one worker: the others serve the rest.
LOW, REST = {"priority": "low"}, "high_priority,default"


def gone(*pids: int) -> bool:
    """Whether none of them runs any more."""
    running = [process for process in psutil.process_iter(["status"]) if process.pid in pids]
    return all(process.info["status"] == psutil.STATUS_ZOMBIE for process in running)


@contextmanager
def asleep(*pids: int) -> Iterator[None]:
    """Frozen while the block lasts."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def started_again(scene: Scene, task_id: str, since: float, within: float) -> None:
    """Its second start comes at most so many seconds after that moment (monotonic)."""
    scene.started(task_id, 2, seconds=within - (time.monotonic() - since))


@pytest.fixture(scope="class")
def scene(class_scene: Scene) -> Scene:
    return class_scene


class TestAChildThatDies:
    """Under a parent that lives and tells of the loss: no lease has to run out."""

    SETTINGS = DEFAULT_LEASE

    @pytest.fixture(scope="class")
    @classmethod
    def scene(cls, class_scene: Scene) -> Scene:
        class_scene.stack.worker(concurrency=2, queues=REST)
        return class_scene

    @pytest.mark.every_engine("kill of a pool child")
    def test_row_4_killed_in_its_body_it_is_run_again_within_15_s(self, scene: Scene, gate: Path) -> None:
        task_id = scene.create("ledger.gate", gate=str(gate))
        os.kill(scene.started(task_id).pid, signal.SIGKILL)
        started_again(scene, task_id, time.monotonic(), within=15)
        gate.touch()
        ended = scene.ended(task_id)
        assert (ended["status"], ended["attempt"]) == ("succeeded", 2)
        assert scene.outcomes(task_id) == ["worker_lost", "succeeded"]
        scene.check()

    @pytest.mark.every_engine("retry")
    def test_row_12_a_poison_task_fails_at_its_cap_while_its_neighbours_progress(self, scene: Scene) -> None:
        poison = [scene.create("ledger.poison") for _ in range(3)]
        neighbours, deadline = 0, time.monotonic() + 60
        while set(poison) & set(scene.unended()):
            assert time.monotonic() < deadline, "the poison tasks never fail"
            # One after another: each has to get through while others die around it.
            neighbour = scene.ended(scene.work(seconds=0.02), seconds=15)
            assert (neighbour["status"], neighbour["attempt"]) == ("succeeded", 1)
            neighbours += 1
        assert neighbours >= 3
        for task_id in poison:
            ended = scene.get(task_id)
            assert (ended["status"], ended["attempt"], ended["error"]["type"]) == ("failed", 3, "worker_lost")
            assert scene.outcomes(task_id) == ["worker_lost"] * 3
        scene.check()

    def test_row_13_out_of_memory_it_is_run_again_within_15_s(self, scene: Scene, gate: Path) -> None:
        worker = scene.stack.worker(concurrency=1, queues="low_priority")
        (child,) = worker.children()
        with memory_limit(child, megabytes=64) as limit:
            logger.info("killed by %s", limit.how)
            task_id = scene.create("ledger.swallow", megabytes=400, gate=str(gate), fields=LOW)
            assert scene.started(task_id).pid == child
            wait_for(lambda: gone(child), 30, f"the child to be killed by {limit.how}")
            started_again(scene, task_id, time.monotonic(), within=15)
            assert limit.kills() == 1
        gate.touch()
        ended = scene.ended(task_id)
        assert (ended["status"], ended["attempt"], ended["result"]) == ("succeeded", 2, 400)
        assert scene.outcomes(task_id) == ["worker_lost", "succeeded"]
        worker.stop()
        scene.check()

    def test_row_14_a_hung_one_is_killed_at_its_time_limit(self, scene: Scene) -> None:
        hung = scene.create("ledger.spin", fields={"timeout_seconds": 2, "max_attempts": 2})
        children = []
        for attempt in (1, 2):
            children.append(scene.started(hung, attempt).pid)
            neighbour = scene.ended(scene.work(seconds=0.02))
            assert (neighbour["status"], neighbour["attempt"]) == ("succeeded", 1)
        ended = scene.ended(hung)
        assert (ended["status"], ended["attempt"], ended["error"]["type"]) == ("failed", 2, "TimeLimitExceeded")
        assert scene.outcomes(hung) == ["retried", "failed"]
        for attempt in scene.attempts(hung):
            began, over = (datetime.fromisoformat(attempt[name]) for name in ("started_at", "finished_at"))
            assert 1.9 < (over - began).total_seconds() < 15
        wait_for(lambda: gone(*children), 15, "the hung processes to be gone")
        scene.check()


class TestAParentThatDies:
    SETTINGS = DEFAULT_LEASE

    def test_row_9_its_children_go_with_it_and_its_tasks_run_again_within_35_s(self, scene: Scene, gate: Path) -> None:
        worker = scene.stack.worker(concurrency=2)
        ids = [scene.create("ledger.deaf", gate=str(gate)) for _ in range(2)]
        children = [scene.started(task_id).pid for task_id in ids]
        scene.stack.worker(concurrency=2, queues=REST)
        killed = time.monotonic()
        worker.kill()
        wait_for(lambda: gone(*children), 20, "the dead worker's children to be gone")
        for task_id in ids:
            started_again(scene, task_id, killed, within=35)
        gate.touch()
        for task_id in ids:
            assert scene.ended(task_id)["attempt"] == 2
            assert scene.outcomes(task_id) == ["worker_lost", "succeeded"]
        scene.check()


@freezes
class TestAParentThatIsFrozen:
    """The broker hands one wake-up to the frozen process, and counts it as delivered."""

    def test_row_10_what_it_had_popped_while_frozen_is_sent_again(self, scene: Scene) -> None:
        worker = scene.stack.worker(concurrency=1)
        ids = self._have_it_pop_one(scene, worker)
        worker.kill()
        with redis.Redis.from_url(scene.stack.broker_url) as broker:
            broker.flushdb()  # nor is any other one left
        scene.stack.worker(concurrency=1)
        scene.ran_once(ids)

    @staticmethod
    def _have_it_pop_one(scene: Scene, worker: Part) -> list[str]:
        """Freeze it and create five; again, should it have been caught between two calls to the broker.

        No other process leads maintenance, which would send more.
        """
        with redis.Redis.from_url(scene.stack.broker_url) as broker:
            for _ in range(10):
                scene.ended(scene.work())
                wait_for(lambda: messages(broker, "default") == 0, 20, "all wake-ups to be taken")
                worker.send(signal.SIGSTOP)
                ids = [scene.work() for _ in range(5)]
                wait_for(lambda: messages(broker, "default") >= 4, 20, "the wake-ups to be out")
                try:
                    wait_for(lambda: messages(broker, "default") > 4, 1, "one that it did not pop")
                except AssertionError:
                    return ids
                worker.send(signal.SIGCONT)
                wait_for(lambda: not scene.unended(), 20, "these to be done")
        raise AssertionError("the frozen worker never popped a wake-up")


class TestWorkersThatComeBackOrLeave:
    @freezes
    def test_row_11_what_a_frozen_one_writes_when_it_wakes_matches_no_row(self, scene: Scene, gate: Path) -> None:
        frozen = scene.stack.worker(concurrency=2)
        # The one has its result to write, the other one its progress first.
        late = scene.create("ledger.deaf", gate=str(gate))
        telling = scene.create("ledger.gate", gate=f"{gate}-{{attempt}}")
        children = [scene.started(task_id).pid for task_id in (late, telling)]
        with asleep(frozen.pid):
            with asleep(*children):
                other = scene.stack.worker(concurrency=2)
                for task_id in (late, telling):
                    scene.started(task_id, 2)
                gate.touch()
                before = scene.ended(late)
                assert (before["status"], before["attempt"], before["worker"]) == ("succeeded", 2, "worker2@test")
            # They wake before their parent, which would end them, and which has their late success to write.
            wait_for(lambda: scene.lines(telling, "lost"), 20, "the late progress to be refused")
            wait_for(lambda: scene.lines(late, "end"), 20, "the late body to end")
            assert scene.status(telling) == "running"
        frozen.await_line(f"attempt 1 of task {late} no longer held it")
        assert scene.get(late) == before
        gate.with_name(f"{gate.name}-2").touch()
        ended = scene.ended(telling)
        assert (ended["status"], ended["attempt"], ended["result"]) == ("succeeded", 2, 2)
        other.send(signal.SIGTERM)  # whatever comes now is for the one that woke up
        wait_for(lambda: not other.running, 20, "the other one to leave")
        assert scene.ended(scene.work())["worker"] == "worker1@test"
        scene.check()

    def test_row_26_sigterm_to_each_in_turn_wastes_no_attempt_of_a_short_task(self, scene: Scene) -> None:
        workers = [part for part in scene.stack.parts if part.name.startswith("worker") and part.running]
        workers = workers or [scene.stack.worker(concurrency=2)]
        with load(scene) as ids:
            for _ in range(2):
                workers.append(scene.stack.worker(concurrency=2))
                leaving = workers.pop(0)
                leaving.send(signal.SIGTERM)
                wait_for(lambda: not leaving.running, 30, "it to leave")  # noqa: B023
                assert leaving.process.poll() == 0
                begun = len(scene.lines(event="start"))
                wait_for(lambda: len(scene.lines(event="start")) > begun + 5, 20, "the other to go on")  # noqa: B023
        assert len(ids) > 50
        scene.ran_once(ids)
