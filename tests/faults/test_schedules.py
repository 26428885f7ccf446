"""Schedules while their leaders die, freeze, and lose the database: each nominal time has one task, and none is left out."""

import os
import signal
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models.task import Task
from tests.support.faults.engines import database_server_of, needs_server
from tests.support.faults.failpoints import failpoints
from tests.support.faults.leaders import Leaders
from tests.support.faults.scene import Scene, post
from tests.support.services import Services
from tests.support.waiting import wait_for

SCHEDULES = "/api/v1/schedules/"
SECOND = timedelta(seconds=1)
# Where a leader dies: before it writes, with all of it written and nothing committed, and behind the commit.
POINTS = (
    {"at": "app.services.schedules.due_schedules:_fire", "when": "before"},
    {"at": "app.db.statements.schedules:insert_runs", "when": "after"},
    {"at": "app.services.schedules.due_schedules:_fire", "when": "after"},
    {"at": "app.services.schedules.due_schedules:fire", "when": "after"},
)
NUMBER = 3


class Every:
    """Schedules that fire each second, whatever came between."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        timing = {"every_seconds": 1, "overlap": "allow", "catch_up": "all", "catch_up_seconds": 86_400}
        self._ids = []
        for number in range(NUMBER):
            wanted = {"name": f"each second {number}", "task": scene.body("ledger.work"), **timing}
            made = scene.http.post(SCHEDULES, json=wanted)
            assert made.status_code == 201, made.text
            self._ids.append(made.json()["id"])

    def fired(self) -> int:
        return int(self._scene.stack.sql("SELECT count(*) FROM schedule_runs")[0][0])

    def await_more(self, number: int, seconds: float = 60) -> None:
        wanted = self.fired() + number
        wait_for(lambda: self.fired() >= wanted, seconds, f"{number} more times")

    def check(self) -> str:
        """Let them end, and look at each nominal time since their creation. What was found, in a line."""
        end = self._scene.stack.now() + 2 * SECOND
        for each in self._ids:
            answer = self._scene.http.patch(SCHEDULES + each, json={"end_at": end.isoformat()})
            assert answer.status_code == 200, answer.text
        due = "SELECT count(*) FROM schedules WHERE due_at IS NOT NULL"
        wait_for(lambda: self._scene.stack.sql(due)[0][0] == 0, 60, "each time to be dealt with")
        with Session(self._scene.stack.engine) as db:
            tasks = db.execute(select(Task.id, Task.schedule_id, Task.metadata_)).all()
        self._scene.accepted += [str(row.id) for row in tasks]
        total = 0
        for each in self._ids:
            schedule = self._scene.http.get(SCHEDULES + each).json()
            begin = datetime.fromisoformat(schedule["start_at"])
            wanted = [begin + number * SECOND for number in range(int((end - begin) / SECOND) + 1)]
            its = [row.metadata_["scheduled_for"] for row in tasks if str(row.schedule_id) == each]
            assert sorted(map(datetime.fromisoformat, its)) == wanted
            assert (schedule["runs"], schedule["skipped"]) == (len(wanted), 0)
            total += len(wanted)
        self._scene.check(120)
        return f"{total} times of {NUMBER} schedules"


@pytest.mark.timeout(600)
def test_leaders_that_die_at_each_boundary_leave_no_time_out_and_make_none_twice(
    scene: Callable[..., Scene], tell: Callable[[str], None]
) -> None:
    running = scene()
    leaders, schedules = Leaders(running, POINTS), Every(running)
    for _ in POINTS:
        leaders.round()
    schedules.await_more(2 * NUMBER)
    tell(f"schedules: {schedules.check()}, deaths {dict(leaders.deaths)}")


@pytest.mark.timeout(600)
def test_a_leader_that_was_frozen_and_goes_on_beside_another_makes_no_time_twice(
    scene: Callable[..., Scene], tell: Callable[[str], None]
) -> None:
    """Frozen within its transaction, and thawed while the other one fires."""
    running = scene()
    schedules = Every(running)
    gate = running.stack.directory / "thaw"
    once = running.stack.directory / "frozen"
    point = {"at": "app.services.schedules.due_schedules:_fire", "when": "before", "do": f"wait:{gate}"}
    running.stack.worker(concurrency=1, env=failpoints({**point, "once_file": str(once)}))
    wait_for(once.exists, 60, "the first leader to stop")
    running.stack.worker(concurrency=2)
    schedules.await_more(5 * NUMBER)
    gate.touch()
    schedules.await_more(5 * NUMBER)
    tell(f"schedules: {schedules.check()}, one leader frozen")


@needs_server
@pytest.mark.timeout(600)
def test_a_restart_of_the_database_leaves_no_time_out(
    scene: Callable[..., Scene], own_services: Services, tell: Callable[[str], None]
) -> None:
    running = scene(on=own_services)
    running.stack.worker(concurrency=2)
    schedules, server = Every(running), database_server_of(own_services)
    schedules.await_more(NUMBER)
    os.kill(server.pid, signal.SIGKILL)
    assert server.process.wait(30) is not None
    server.start()
    wait_for(lambda: post(running) == 201, 20, "a POST to be accepted again")
    schedules.await_more(3 * NUMBER)
    tell(f"schedules: {schedules.check()}, the database killed")
