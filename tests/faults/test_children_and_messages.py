"""A pool child dies at a named point, the claim's reply is lost, each wake-up comes fifty times."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from tests.support.faults import followed
from tests.support.faults.proxy import CLAIM_STATEMENT, READY, TcpProxy
from tests.support.faults.scene import LEDGER, Scene, counts, doomed
from tests.support.running import lists, messages
from tests.support.services import Services
from tests.support.waiting import wait_for

CLAIM = "app.services.execution.claims:Claims.next"
# The first that a process does with what it has claimed.
CLAIMED = "app.worker.child.process:Slot.running"
HAND_OVER = "app.worker.shared.hand_over:HandOver.send"
TOGETHER = "app.services.execution.ends:end_successes"


class TestAChildDies:
    def test_before_the_claim_its_wake_up_is_sent_again_and_no_attempt_is_consumed(self, class_scene: Scene) -> None:
        """Row 5."""
        with doomed(class_scene, CLAIM, "before") as await_death:
            task_id = class_scene.work()
            await_death()
            class_scene.check()
        assert counts(class_scene, task_id) == ("succeeded", 1, 0, 0)

    def test_after_the_claims_commit_the_attempt_is_consumed(self, class_scene: Scene) -> None:
        """Row 6. It had not begun: that is no crash of the task's."""
        with doomed(class_scene, CLAIMED, "before"):
            task_id = class_scene.work()
            class_scene.check()
        assert counts(class_scene, task_id) == ("succeeded", 2, 0, 0)
        assert [line.attempt for line in class_scene.lines(task_id, "start")] == [2]
        assert class_scene.outcomes(task_id) == ["handed_back", "succeeded"]

    @pytest.mark.parametrize(
        ("finish", "fail", "ended"),
        [
            (HAND_OVER, False, ("succeeded", 1, 0, 0)),
            ("app.services.execution.ends:end_attempt", False, ("succeeded", 1, 0, 0)),
            ("app.services.execution.ends:end_attempt", True, ("failed", 1, 0, 1)),
        ],
        ids=["handed over", "written by itself", "failed"],
    )
    def test_after_the_finishs_commit_the_task_does_not_run_again(
        self, class_scene: Scene, finish: str, fail: bool, ended: tuple[Any, ...]
    ) -> None:
        """Row 8. What was handed over is as good as committed for a child, though not for its parent."""
        modules = (LEDGER,) if finish == HAND_OVER else (LEDGER, followed.MODULE)
        with doomed(class_scene, finish, "after", modules) as await_death:
            task_id = class_scene.work(fail=fail)
            await_death()
            # The parent has heard of the loss by the time that its next child has run something.
            class_scene.until(class_scene.work(), "succeeded")
            assert counts(class_scene, task_id) == ended
            class_scene.check()
        assert [line.attempt for line in class_scene.lines(task_id, "start")] == [1]


class TestAParentDies:
    """With a success in its hands that a child has left it."""

    @pytest.mark.every_engine("kill of a worker's parent")
    def test_before_it_is_written_the_task_runs_again(self, class_scene: Scene) -> None:
        with doomed(class_scene, TOGETHER, "before") as await_death:
            task_id = class_scene.work()
            await_death()
            other = class_scene.stack.worker(concurrency=1)
            class_scene.check()
            other.stop()
        assert counts(class_scene, task_id) == ("succeeded", 2, 1, 0)
        assert class_scene.outcomes(task_id) == ["worker_lost", "succeeded"]

    def test_after_it_is_written_it_does_not(self, class_scene: Scene) -> None:
        with doomed(class_scene, TOGETHER, "after") as await_death:
            task_id = class_scene.work()
            await_death()
            class_scene.check()
        assert counts(class_scene, task_id) == ("succeeded", 1, 0, 0)
        assert len(class_scene.lines(task_id, "start")) == 1


@pytest.mark.postgresql("elsewhere a claim has several statements, and no one reply; any outage: test_fence.py")
class TestTheClaimsReplyIsLost:
    def test_the_body_runs_once_an_attempt(self, scene: Callable[..., Scene], services: Services) -> None:
        """Row 7: the second try finds the claim that the first one made."""
        running = scene()
        with TcpProxy("127.0.0.1", services.postgres.port) as proxy:
            env = {"DATABASE_URL": proxy.through(running.stack.database_url)}
            running.stack.worker(concurrency=1, env=env)
            running.until(running.work(), "succeeded")
            for _ in range(3):
                wait_for(lambda: not self._woken(running), 20, "no wake-up to be out: it would send a claim as well")
                reply = proxy.drop_reply(CLAIM_STATEMENT, READY)
                task_id = running.work()
                reply.wait()
                running.until(task_id, "succeeded")
                assert counts(running, task_id) == ("succeeded", 1, 0, 0)
                assert len(running.lines(task_id, "start")) == 1
            running.check()

    @staticmethod
    def _woken(running: Scene) -> int:
        with redis.Redis.from_url(running.stack.broker_url) as broker:
            return messages(broker, "default")


@pytest.mark.every_engine("double claim")
class TestEachWakeUpFiftyTimes:
    def test_each_attempt_starts_once(self, scene: Callable[..., Scene]) -> None:
        """Row 25: by two workers at once, retries in between included."""
        running = scene()
        ids = [running.work(seconds=0.02) for _ in range(8)]
        again = {"max_attempts": 3, "retry_backoff_seconds": 0.1}
        ids += [running.work(fail=True, fields=again) for _ in range(2)]
        with redis.Redis.from_url(running.stack.broker_url) as broker:
            wait_for(lambda: messages(broker, "default") == len(ids), 20, "a wake-up for each to be out")
            for queue in lists(broker, "default"):
                broker.rpush(queue, *(message for message in broker.lrange(queue, 0, -1) for _ in range(49)))
            assert messages(broker, "default") == 50 * len(ids)
            for _ in range(2):
                running.stack.worker(concurrency=2)
            running.check()
            wait_for(lambda: messages(broker, "default") == 0, 60, "the last repeats to be taken")
        running.check()
        starts = [(line.task_id, line.attempt) for line in running.lines(event="start")]
        assert sorted(starts) == sorted({*starts})
        assert len(starts) == 8 + 2 * 3
