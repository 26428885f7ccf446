"""A worker that is alive and consumes nothing (celery #8091, #8030, #10205) notices it by itself."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults import stalls
from tests.support.faults.scene import Scene
from tests.support.waiting import wait_for

MODULES = json.dumps(["tests.support.ledger_tasks", stalls.MODULE])
STALLED = "no message arrives although messages wait"


def test_a_worker_that_consumes_nothing_starts_its_consumer_anew(scene: Callable[..., Scene], tmp_path: Path) -> None:
    stalled = scene()
    trigger = tmp_path / "stall"
    worker = stalled.stack.worker(concurrency=2, env={"TASK_MODULES": MODULES, stalls.VARIABLE: str(trigger)})
    stalled.ended(stalled.work())
    trigger.touch()
    worker.await_line("stalled: None")
    ids = [stalled.work() for _ in range(10)]
    worker.await_line(STALLED)
    for task_id in ids:
        assert stalled.ended(task_id)["status"] == "succeeded"
    assert worker.running
    stalled.check()


@pytest.mark.full
def test_an_idle_or_busy_worker_is_left_alone(scene: Callable[..., Scene], tmp_path: Path) -> None:
    quiet = scene()
    worker = quiet.stack.worker(concurrency=1)
    gate = tmp_path / "gate"
    held = quiet.create("ledger.gate", gate=str(gate))
    quiet.started(held)
    waiting = quiet.work()  # behind the one that is held, for longer than a stall takes to be noticed
    aged = "UPDATE tasks SET due_at = due_at - interval '1 minute' WHERE status = 'pending'"
    quiet.stack.sql(aged)
    beats = "SELECT heartbeat_at > started_at + interval '20 seconds' FROM worker_processes"
    wait_for(lambda: quiet.stack.sql(beats)[0][0], 40, "many looks at what arrives")
    gate.touch()
    assert quiet.ended(waiting)["status"] == "succeeded"
    assert STALLED not in worker.output()
    quiet.check()
