"""Tasks that depend on others run once and in order, whatever dies around the end of a parent."""

from itertools import pairwise
from typing import Any

import pytest

from tests.support.faults.failpoints import failpoints
from tests.support.faults.scene import SHORT_LEASE, Scene, doomed
from tests.support.running import TASKS
from tests.support.spelling import id_of

WIDTH, LAYERS = 6, 4
# Around each commit: of the parent's end, of the release with the child's turn, and of the note.
POINTS = [
    {"at": "app.services.execution.ends:end_successes", "when": "before"},
    {"at": "app.services.execution.ends:end_successes", "when": "after"},
    {"at": "app.db.postgresql.released_children:let_go_on", "when": "before"},
    {"at": "app.db.postgresql.released_children:let_go_on", "when": "after"},
    {"at": "app.services.tasks.due_tasks:wake_committed", "when": "after"},
    {"at": "app.services.workflows.dependents:deliver_batch", "when": "before"},
    {"at": "app.services.workflows.dependents:deliver_batch", "when": "after"},
]


@pytest.fixture(scope="class")
def scene(class_scene: Scene) -> Scene:
    return class_scene


def graph(scene: Scene) -> list[list[str]]:
    """Layers of tasks, each of which depends on all of the layer above."""
    layers: list[list[str]] = []
    for _ in range(LAYERS):
        above = {"depends_on": layers[-1]} if layers else {}
        layers.append(scene.create_together(*[scene.body("ledger.work", seconds=0.02, fields=above)] * WIDTH))
    return layers


def in_order(scene: Scene, layers: list[list[str]]) -> None:
    """No task has begun before those of the layer above had ended for the last time."""
    rows = scene.stack.sql("SELECT id, started_at, finished_at FROM tasks")
    times: dict[str, tuple[Any, Any]] = {str(id_of(row[0])): (row[1], row[2]) for row in rows}
    for above, below in pairwise(layers):
        assert max(times[each][1] for each in above) <= min(times[each][0] for each in below)


class TestAProcessThatDies:
    SETTINGS = SHORT_LEASE

    @pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point['when']} {point['at'].partition(':')[2]}")
    def test_delays_what_depends_on_its_tasks_and_no_more(self, scene: Scene, point: dict[str, Any]) -> None:
        with doomed(scene, **point, concurrency=2) as died:
            layers = graph(scene)
            died()
        other = scene.stack.worker(concurrency=2)
        for task_id in (each for layer in layers for each in layer):
            assert scene.ended(task_id)["status"] == "succeeded"
        in_order(scene, layers)
        assert not scene.stack.sql("SELECT 1 FROM task_dependencies WHERE is_open")
        other.stop()
        scene.check()

    def test_ends_nothing_for_those_that_a_failure_revokes(self, scene: Scene) -> None:
        once = scene.stack.directory / "died-of-a-failure"
        point = {"at": "app.services.execution.ends:end_tasks", "when": "after", "do": "kill", "once_file": str(once)}
        scene.stack.worker(concurrency=1, env=failpoints(point))
        failed = scene.create("ledger.work", fail=True)
        (child,) = scene.create_together(scene.body("ledger.work", fields={"depends_on": [failed]}))
        (grandchild,) = scene.create_together(scene.body("ledger.work", fields={"depends_on": [child]}))
        other = scene.stack.worker(concurrency=1)
        for each in (child, grandchild):
            ended = scene.ended(each)
            assert (ended["status"], ended["status_reason"], ended["attempt"]) == ("revoked", "parent_failed", 0)
        assert scene.http.delete(f"{TASKS}{failed}").status_code == 204
        other.stop()
