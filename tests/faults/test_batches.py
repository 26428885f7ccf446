"""Faults in the middle of a batch: ten tasks that one process has claimed at once, of which some have ended."""

import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults.batches import (
    NUMBER,
    TRIES,
    attempts_begun,
    batch_of_ten,
    begun_by_a_frozen_process,
    claimed_with,
    gated,
    open_gate,
    succeeded_after_a_hand_back,
    uncounted,
)
from tests.support.faults.engines import database_server_of, freezes, needs_server
from tests.support.faults.failpoints import failpoints
from tests.support.faults.scene import DEFAULT_LEASE, Scene, counts
from tests.support.services import Services
from tests.support.stack import Part
from tests.support.waiting import wait_for

logger = logging.getLogger(__name__)

# How often a machine may stand still between two bodies of a batch that was claimed together.
MOST_LATE = 3
SUCCEEDED_AT_ONCE = ("succeeded", 1, 0, 0)


class TestAChild:
    SETTINGS = DEFAULT_LEASE

    @pytest.fixture(scope="class")
    @classmethod
    def scene(cls, class_scene: Scene) -> Scene:
        class_scene.stack.worker(concurrency=2, queues="high_priority,default")
        return class_scene

    def test_killed_after_the_third_end_costs_one_row_a_crash_and_no_row_its_end(self, scene: Scene) -> None:
        ids = batch_of_ten(scene, {3: {"die": 1}})
        scene.check()
        assert [counts(scene, task_id) for task_id in ids[:3]] == [SUCCEEDED_AT_ONCE] * 3
        assert counts(scene, ids[3]) == ("succeeded", 2, 1, 0)
        assert scene.outcomes(ids[3]) == ["worker_lost", "succeeded"]
        for task_id in ids[4:]:
            succeeded_after_a_hand_back(scene, task_id)

    def test_that_a_poison_task_kills_blames_no_neighbour(self, scene: Scene) -> None:
        ids = batch_of_ten(scene, {5: {"die": 99}})
        scene.check()
        assert counts(scene, ids[5]) == ("failed", 3, 3, 0)
        assert scene.outcomes(ids[5]) == ["worker_lost"] * 3
        for task_id in ids[:5] + ids[6:]:
            assert counts(scene, task_id)[0] == "succeeded"
            assert counts(scene, task_id)[2:] == (0, 0)
            assert len(attempts_begun(scene, task_id)) == 1

    @pytest.mark.full
    def test_that_dies_before_celery_knows_what_it_took_blames_no_neighbour(self, scene: Scene) -> None:
        """No loss is reported, another process has its slot, and the agent's looks find its rows."""
        unknown = {"at": "celery.worker.request:Request.on_accepted", "do": "raise:RuntimeError", "times": 1000}
        # As where another process has the slot before the rows could be taken back.
        not_taken_back = {"at": "app.worker.parent.limits:TimeLimits.look", "do": "raise:SystemExit"}
        points = failpoints(unknown, not_taken_back)
        worker = scene.stack.worker(concurrency=1, queues="low_priority", env=points)
        ids = batch_of_ten(scene, {3: {"die": 1}}, priority="low")
        scene.check()
        worker.stop()
        assert [counts(scene, task_id)[2] for task_id in ids] == [0, 0, 0, 1, *[0] * 6]

    def test_ended_by_sigterm_costs_the_row_that_it_runs_a_crash(self, scene: Scene) -> None:
        """Python ends it by SystemExit, on whose way out Celery tells that the task is over."""
        held = gated(scene)
        ids = batch_of_ten(scene, {2: held})
        os.kill(scene.started(ids[2]).pid, signal.SIGTERM)
        scene.started(ids[2], 2)
        open_gate(held)
        scene.check()
        assert counts(scene, ids[2]) == ("succeeded", 2, 1, 0)
        assert [counts(scene, task_id)[2] for task_id in ids] == [0, 0, 1, *[0] * 7]

    def test_in_a_long_body_keeps_no_row_from_another_slot(self, scene: Scene) -> None:
        """It was short by history."""
        held = gated(scene)
        before = uncounted(scene)
        ids = batch_of_ten(scene, {2: held})
        begun = scene.started(ids[2])
        others = [scene.started(task_id) for task_id in ids[3:]]
        took = max(line.time for line in others) - begun.time
        logger.info("behind a long body: all begun in another slot after %.2f s", took)
        assert took < 5  # about half a second on a machine that has nothing else to do
        assert {line.pid for line in others}.isdisjoint({begun.pid})
        assert scene.status(ids[2]) == "running"
        open_gate(held)
        scene.check()
        assert [counts(scene, task_id) for task_id in ids[:3]] == [SUCCEEDED_AT_ONCE] * 3
        for task_id in ids[3:]:
            succeeded_after_a_hand_back(scene, task_id)
        assert uncounted(scene) == before

    @pytest.mark.timeout(300)
    def test_whose_claim_took_long_begins_all_of_it(self, scene: Scene, gate: Path) -> None:
        """A slow database is not asked for the same rows again and again."""
        gate.touch()
        reply = {"at": "app.services.execution.claims:ReadyClaim.__init__", "do": f"wait:{gate}", "times": 10**6}
        scene.stack.worker(concurrency=1, queues="low_priority", env=failpoints(reply))
        ids = batch_of_ten(scene, priority="low")  # short from now on

        def claimed_long_ago() -> bool:
            long_ago = "status = 'running' AND started_at < now() - interval '0.5 second'"
            return bool(scene.stack.sql(f"SELECT 1 FROM tasks WHERE id = :id AND {long_ago}", id=ids[0]))

        late = 0
        for _ in range(TRIES):
            gate.unlink()
            ids = scene.create_together(
                *(scene.body("ledger.quick", fields={"priority": "low"}) for _ in range(NUMBER))
            )
            wait_for(claimed_long_ago, 30, "the first one to be claimed for long")
            together = claimed_with(scene, ids[0])
            gate.touch()
            scene.check()
            # Without the rule none would begin at once. With it, a machine that stands still between two bodies makes some late.
            at_once = [counts(scene, task_id) for task_id in ids] == [SUCCEEDED_AT_ONCE] * NUMBER
            if together == {*ids}:
                late += not at_once
                if at_once or late == MOST_LATE:
                    break
        assert together == {*ids}
        assert at_once

    @freezes
    def test_that_was_frozen_begins_nothing_after_its_time(self, scene: Scene, gate: Path) -> None:
        begun = begun_by_a_frozen_process(scene, gate)
        assert [len(attempts) for attempts in begun] == [1] * 7
        assert min(attempts[0] for attempts in begun) > 1


class TestAParent:
    @pytest.fixture(scope="class")
    @classmethod
    def workers(cls, class_scene: Scene) -> list[Part]:
        return [class_scene.stack.worker(concurrency=1) for _ in range(2)]

    def test_killed_leaves_the_written_ends_and_the_rest_runs_again(
        self, class_scene: Scene, workers: list[Part]
    ) -> None:
        held = gated(class_scene)
        ids = batch_of_ten(class_scene, {2: held})
        victim = self._worker_of(class_scene, ids[2], workers)
        for task_id in ids[:2]:
            class_scene.ended(task_id)
        victim.kill()
        class_scene.started(ids[2], 2)
        open_gate(held)
        class_scene.check()
        assert [counts(class_scene, task_id) for task_id in ids[:2]] == [SUCCEEDED_AT_ONCE] * 2
        assert counts(class_scene, ids[2]) == ("succeeded", 2, 1, 0)
        # Those that the parent had not given back by then count its loss; nobody is left to say that they had not begun.
        for task_id in ids[3:]:
            status, attempt, _, _ = counts(class_scene, task_id)
            assert (status, attempts_begun(class_scene, task_id)) == ("succeeded", [attempt])
            assert attempt > 1
        workers.remove(victim)
        workers.append(class_scene.stack.worker(concurrency=1))

    def test_told_to_leave_ends_the_short_rows_or_gives_them_back(
        self, class_scene: Scene, workers: list[Part]
    ) -> None:
        held = gated(class_scene)
        ids = batch_of_ten(class_scene, {2: held})
        leaving = self._worker_of(class_scene, ids[2], workers)
        leaving.send(signal.SIGTERM)
        open_gate(held)
        wait_for(lambda: not leaving.running, 30, "it to leave")
        assert leaving.process.poll() == 0
        class_scene.check()
        for task_id in ids:
            status, attempt, crashes, failures = counts(class_scene, task_id)
            assert (status, crashes, failures) == ("succeeded", 0, 0)
            assert attempts_begun(class_scene, task_id) == [attempt]

    @staticmethod
    def _worker_of(scene: Scene, task_id: str, workers: list[Part]) -> Part:
        child = scene.started(task_id).pid
        return next(worker for worker in workers if child in worker.children())


@needs_server
class TestTheDatabase:
    def test_restarted_in_the_middle_costs_no_end(self, scene: Callable[..., Scene], own_services: Services) -> None:
        running = scene(on=own_services, **DEFAULT_LEASE)
        running.stack.worker(concurrency=2)
        held = gated(running)
        ids = batch_of_ten(running, {2: held})
        running.started(ids[2])
        server = database_server_of(own_services)
        os.kill(server.pid, signal.SIGKILL)
        open_gate(held)
        wait_for(lambda: running.lines(ids[2], "end"), 20, "the body to end while the database is away")
        assert server.process.wait(30) is not None
        server.start()
        wait_for(lambda: running.http.get("/readyz").status_code == 200, 40, "the API to be ready again")
        running.check()
        for task_id in ids:
            status, attempt, crashes, failures = counts(running, task_id)
            assert (status, crashes, failures) == ("succeeded", 0, 0)
            # Given back where its process came to it too late, and begun once.
            assert attempts_begun(running, task_id) == [attempt]
