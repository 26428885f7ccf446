"""Workflows end once, and as a whole, whatever dies: a worker around each commit, an API process within a call."""

from typing import Any

import httpx
import pytest

from tests.support.faults.failpoints import failpoints
from tests.support.faults.scene import SHORT_LEASE, Scene, doomed
from tests.support.waiting import wait_for

WORKFLOWS = "/api/v1/workflows/"
WIDTH = 8
# Around the commits of the ends that the workflow is told of, the last one among them.
POINTS = [
    {"at": "app.services.workflows.dependents:note_in_workflows", "when": "before"},
    {"at": "app.services.workflows.dependents:note_in_workflows", "when": "after"},
    {"at": "app.db.statements.workflows:end", "when": "before"},
    {"at": "app.db.statements.workflows:end", "when": "after"},
    {"at": "app.services.workflows.dependents:deliver_batch", "when": "after"},
]
# In a call of the API: before its commit, so that it is undone, and behind it, so that the answer is lost.
IN_CALLS = [
    ("create", {"at": "app.db.statements.workflows:insert_workflow", "when": "before"}),
    ("create", {"at": "app.db.statements.workflows:insert_workflow", "when": "after"}),
    ("cancel", {"at": "app.services.tasks.task_changes:revoke_all_pending", "when": "after"}),
    ("cancel", {"at": "app.db.statements.workflows:end", "when": "after"}),
    ("retry", {"at": "app.services.workflows.lifecycle:Restart.apply", "when": "before"}),
    ("retry", {"at": "app.services.tasks.due_tasks:wake_all_due", "when": "after"}),
]


@pytest.fixture(scope="class")
def scene(class_scene: Scene) -> Scene:
    return class_scene


def fan(scene: Scene, **fields: Any) -> dict[str, Any]:
    """A body: one task, many that wait for it, one that waits for these."""
    refs = [f"m{number}" for number in range(WIDTH)]
    tasks = [
        {"ref": ref, **scene.body("ledger.work", seconds=0.01), "depends_on": parents}
        for ref, parents in [("first", []), *((ref, ["first"]) for ref in refs), ("last", refs)]
    ]
    tasks[0] |= fields
    return {"name": "fan", "tasks": tasks}


def create(scene: Scene, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    answer = scene.http.post(WORKFLOWS, json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    found = dict(answer.json())
    scene.accepted += [task["id"] for task in found["tasks"] if task["id"] not in scene.accepted]
    return found


def get(scene: Scene, workflow_id: str) -> dict[str, Any]:
    return dict(scene.http.get(WORKFLOWS + workflow_id).json())


def ended(scene: Scene, workflow_id: str) -> dict[str, Any]:
    """The workflow, once its end is noted."""
    wait_for(lambda: get(scene, workflow_id)["status"] not in {"pending", "running"}, 40, "the workflow to end")
    listed = {"status": get(scene, workflow_id)["status"]}
    wait_for(
        lambda: workflow_id in [each["id"] for each in scene.http.get(WORKFLOWS, params=listed).json()], 20, "its note"
    )
    return get(scene, workflow_id)


class TestAWorkerThatDies:
    SETTINGS = SHORT_LEASE

    @pytest.mark.parametrize("point", POINTS, ids=lambda point: f"{point['when']} {point['at'].partition(':')[2]}")
    def test_delays_the_workflow_and_no_more(self, scene: Scene, point: dict[str, Any]) -> None:
        with doomed(scene, **point, concurrency=2) as died:
            made = create(scene, fan(scene))
            died()
        other = scene.stack.worker(concurrency=2)
        found = ended(scene, made["id"])
        assert (found["status"], found["counts"]["succeeded"]) == ("succeeded", WIDTH + 2)
        assert scene.stack.sql("SELECT DISTINCT generation FROM workflows") == [(1,)]
        other.stop()
        scene.check()


class TestAnApiProcessThatDies:
    SETTINGS = SHORT_LEASE

    @pytest.mark.parametrize(("deed", "point"), IN_CALLS, ids=lambda each: str(each)[:60])
    def test_has_done_all_of_the_call_or_nothing(
        self, scene: Scene, deed: str, point: dict[str, Any]
    ) -> None:  # fmt: skip
        scene.stack.server()
        made = None if deed == "create" else create(scene, fan(scene, delay_seconds=3600))
        if made is not None and deed == "retry":
            assert scene.http.post(f"{WORKFLOWS}{made['id']}/cancel").status_code == 200
        scene.stack.server().kill()
        once = scene.stack.directory / f"died-{IN_CALLS.index((deed, point))}"
        scene.stack.server(env=failpoints({**point, "do": "kill", "once_file": str(once)}))
        key = {"Idempotency-Key": once.name}

        def call() -> httpx.Response:
            if made is None:
                return scene.http.post(WORKFLOWS, json=fan(scene, delay_seconds=3600), headers=key)
            return scene.http.post(f"{WORKFLOWS}{made['id']}/{deed}")

        with pytest.raises(httpx.HTTPError):
            call()
        assert once.exists()
        scene.stack.server().kill()
        scene.stack.server()
        if made is None:
            assert scene.stack.sql("SELECT count(*) FROM tasks WHERE status = 'pending'") == [(0,)]
        else:
            before = "pending" if deed == "cancel" else "revoked"
            assert {task["status"] for task in get(scene, made["id"])["tasks"]} == {before}
        answer = call()
        assert answer.status_code in {200, 201}
        found = answer.json()
        assert found["counts"]["total"] == WIDTH + 2
        if deed != "cancel":
            assert scene.http.post(f"{WORKFLOWS}{found['id']}/cancel").status_code == 200
        scene.accepted += [task["id"] for task in found["tasks"] if task["id"] not in scene.accepted]
        assert ended(scene, found["id"])["status"] == "revoked"
        scene.check()
