"""A step whose function has committed never runs again, however the attempt ends that ran it."""

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.faults.scene import DEFAULT_LEASE, SHORT_LEASE, Scene
from tests.support.waiting import wait_for

NUMBER = 10
PLACES = ("before", "after", "kept")


@pytest.fixture(scope="class")
def scene(class_scene: Scene) -> Scene:
    return class_scene


def runs(scene: Scene, task_id: str) -> dict[int, int]:
    """How often the function of each step has run, by the ledger."""
    ledger = Path(f"{scene.ledger}-steps")
    lines = ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []
    return dict(Counter(int(line.split()[1]) for line in lines if line.startswith(task_id)))


def once(number: int = NUMBER) -> dict[int, int]:
    return dict.fromkeys(range(1, number + 1), 1)


def resumed(scene: Scene, task_id: str, again: int | None = None) -> None:
    """It has succeeded in the second attempt, and only the function of step `again` ran twice."""
    ended = scene.ended(task_id)
    assert (ended["status"], ended["attempt"], ended["result"]) == ("succeeded", 2, [*range(1, NUMBER + 1)])
    assert runs(scene, task_id) == once() | ({} if again is None else {again: 2})


class TestAnAttemptThatEnds:
    SETTINGS = DEFAULT_LEASE

    @pytest.fixture(scope="class")
    @classmethod
    def scene(cls, class_scene: Scene) -> Scene:
        class_scene.stack.worker(concurrency=4)
        return class_scene

    def test_by_a_kill_at_any_point_repeats_the_one_step_that_was_not_committed(self, scene: Scene) -> None:
        ends = [(step, place) for step in range(1, NUMBER + 1) for place in PLACES]
        bodies = [scene.body("ledger.steps", end=["kill", *end]) for end in ends]
        for (step, place), task_id in zip(ends, scene.create_together(*bodies), strict=True):
            resumed(scene, task_id, step if place == "after" else None)
            assert scene.outcomes(task_id) == ["worker_lost", "succeeded"], (step, place)
        scene.check()

    def test_by_an_error_goes_on_behind_its_last_step_in_a_retry_of_its_own_or_of_the_api(self, scene: Scene) -> None:
        end = ["raise", 5, "kept"]
        own = scene.create("ledger.steps", end=end, fields={"max_attempts": 2})
        by_api = scene.create("ledger.steps", end=end)
        assert scene.ended(by_api)["status"] == "failed"
        assert scene.post(by_api, "retry").status_code == 202
        for task_id in (own, by_api):
            resumed(scene, task_id)

    def test_begins_again_from_the_start_where_that_is_wanted(self, scene: Scene) -> None:
        task_id = scene.create("ledger.steps", end=["raise", 5, "kept"])
        assert scene.ended(task_id)["status"] == "failed"
        assert scene.post(task_id, "retry?from_start=true").status_code == 202
        assert scene.ended(task_id)["status"] == "succeeded"
        assert runs(scene, task_id) == {step: 2 if step <= 5 else 1 for step in once()}

    def test_by_a_time_limit_keeps_its_steps(self, scene: Scene) -> None:
        fields = {"max_attempts": 2, "timeout_seconds": 2}
        task_id = scene.create("ledger.steps", end=["hang", 5, "after"], fields=fields)
        resumed(scene, task_id, 5)

    def test_by_a_cancellation_keeps_its_steps(self, scene: Scene, gate: Path) -> None:
        task_id = scene.create("ledger.steps", gate=str(gate))
        wait_for(lambda: runs(scene, task_id) == once(), 20, "the last step to begin")
        assert scene.post(task_id, "cancel").status_code == 202
        assert scene.ended(task_id)["status"] == "revoked"
        gate.touch()
        assert scene.post(task_id, "retry").status_code == 202
        resumed(scene, task_id, NUMBER)


class TestAWorkerThatGoes:
    SETTINGS = SHORT_LEASE

    @pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
    def test_leaves_its_steps_to_another(self, scene: Scene, gate: Path, by: signal.Signals) -> None:
        """Killed with its pool, or told to stop, by which it hands its task back."""
        leaving = scene.stack.worker(concurrency=1, env={"SHUTDOWN_GRACE_SECONDS": "1"})
        task_id = scene.create("ledger.steps", gate=str(gate))
        wait_for(lambda: runs(scene, task_id) == once(), 20, "the last step to begin")
        leaving.kill() if by == signal.SIGKILL else leaving.stop()
        gate.touch()
        other = scene.stack.worker(concurrency=1)
        resumed(scene, task_id, NUMBER)
        other.stop()
        scene.check()
