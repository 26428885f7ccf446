"""Workflows through real processes: results that go from task to task, live states, and a canvas."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.event_reader import EventReader
from tests.support.running import Running
from tests.support.shared import module_running
from tests.support.waiting import wait_for

running = module_running()
WORKFLOWS = "/api/v1/workflows/"


def echo(ref: str, *args: Any, **fields: Any) -> dict[str, Any]:
    return {"ref": ref, "name": ref, "task_type": "test", "celery_task_name": "tests.echo", "args": [*args], **fields}


def create(running: Running, *tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    answer = running.http.post(WORKFLOWS, json={"name": "live", "tasks": [*tasks], **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def get(running: Running, workflow_id: str) -> dict[str, Any]:
    return dict(running.http.get(WORKFLOWS + workflow_id).json())


def listen(running: Running, workflow_id: str, last_id: str | None = None) -> EventReader:
    return EventReader(running.stack.url, f"{WORKFLOWS}{workflow_id}/events", running.token, last_id)


class TestRunning:
    def test_passes_results_on_and_tells_each_state(self, running: Running, gate: Path, ledger: Path) -> None:
        hold = {"celery_task_name": "tests.hold"}
        first = echo("first", str(gate), str(ledger), **hold)
        made = create(running, first, echo("second", {"$result": "first"}), echo("third", [{"$result": "second"}, 3]))
        with listen(running, made["id"]) as events:
            events.await_state("running")
            gate.touch()
            states = events.await_end()
        assert {event.kind for event in states} == {"workflow"}
        last = states[-1].task
        assert (last["status"], last["counts"]["succeeded"]) == ("succeeded", 3)
        assert last == get(running, made["id"])
        assert [event.id for event in states] == [str(version) for version in events.versions]
        second, third = (running.get(last["tasks"][at]["id"]) for at in (1, 2))
        assert third["result"]["args"] == [[second["result"], 3]]
        assert third["args"] == [[{"$result": "second"}, 3]]
        with listen(running, made["id"], last_id=states[-1].id) as again:
            assert (again.status, again.body) == (204, b"")

    def test_of_a_failure_is_told_with_what_it_revoked(self, running: Running) -> None:
        made = create(
            running,
            echo("first"),
            echo("second", {"$result": "first", "path": ["nothing"]}),
            echo("third", depends_on=["second"]),
        )
        with listen(running, made["id"]) as events:
            last = events.await_end()[-1].task
        assert [task["status"] for task in last["tasks"]] == ["succeeded", "failed", "revoked"]
        error = running.get(last["tasks"][1]["id"])["error"]
        assert error["message"].startswith("the result of 'first' has no 'nothing'")

    def test_is_ended_for_good_right_behind_its_last_task(self, running: Running) -> None:
        made = create(running, echo("only"))
        wait_for(lambda: get(running, made["id"])["status"] == "succeeded", 20, "its end")
        query = {"status": "succeeded", "limit": 1}
        wait_for(lambda: running.http.get(WORKFLOWS, params=query).json()[0]["id"] == made["id"], 20, "the list")

    @pytest.mark.parametrize("what", ["events", "cancel"])
    def test_of_another_user_is_not_found(self, running: Running, what: str) -> None:
        unknown = "019a1f3c-7b1e-7c3a-9f57-3b1f4a0c2d13"
        answer = running.http.request("GET" if what == "events" else "POST", f"{WORKFLOWS}{unknown}/{what}")
        assert (answer.status_code, answer.json()["code"]) == (404, "workflow_not_found")
