"""A paused queue under a steady flow of short tasks, over the death of every process: none of its tasks starts."""

import math
import os
import signal
from collections.abc import Callable
from datetime import datetime

from tests.support.databases import ENGINE
from tests.support.faults.broker_server import BrokerServer
from tests.support.faults.engines import database_server_of
from tests.support.faults.load import PACE_SECONDS, repeated
from tests.support.faults.scene import Scene
from tests.support.services import Services
from tests.support.spelling import id_of
from tests.support.waiting import wait_for

QUEUES = "/api/v1/queues/default"
FLOW = {"seconds": 0.01}


def pause(running: Scene) -> datetime:
    """Returns a time after the answer."""
    with running.stack.api(role="admin") as admin:
        answer = admin.post(f"{QUEUES}/pause", json={"reason": "a test"})
        assert answer.status_code == 200, answer.text
        return now(running)


def now(running: Scene) -> datetime:
    """By the database's clock."""
    return running.stack.now()


def resume(running: Scene) -> None:
    with running.stack.api(role="admin") as admin:
        assert admin.post(f"{QUEUES}/resume").status_code == 200


def begun(running: Scene) -> set[str]:
    """The tasks whose body has begun, by the ledger."""
    return {line.task_id for line in running.lines(event="start")}


def claims(running: Scene, after: datetime, until: datetime | None = None) -> int:
    """How many claims there were of tasks of the queue, by the witness of all changes."""
    before = math.inf if until is None else until.timestamp()
    changes = running.witness.changes(after)
    return sum(each.claims and each.row["queue"] == "default" and each.at <= before for each in changes)


def settled(running: Scene) -> set[str]:
    """What had begun once nothing of the queue runs any more."""
    running_now = "SELECT count(*) FROM tasks WHERE queue = 'default' AND status = 'running'"
    wait_for(lambda: running.stack.sql(running_now)[0][0] == 0, 30, "what was claimed before to end")
    return begun(running)


def low_ones(running: Scene) -> set[str]:
    return {str(id_of(row[0])) for row in running.stack.sql("SELECT id FROM tasks WHERE queue = 'low_priority'")}


def starts_nothing(running: Scene, since: datetime, before: set[str]) -> None:
    """Everything works but the paused queue: tasks of another one start and end, and its own stay where they are."""
    waiting = [running.work(**FLOW) for _ in range(10)]
    low = [running.work(fields={"priority": "low"}) for _ in range(3)]
    for task_id in low:
        assert running.ended(task_id)["status"] == "succeeded"
    assert begun(running) - low_ones(running) == before
    assert claims(running, since) == 0
    assert {running.get(task_id)["waiting_for"]["reason"] for task_id in waiting} == {"paused"}


def test_a_pause_holds_from_its_answer_on_and_over_every_restart(
    scene: Callable[..., Scene], own_services: Services, broker: BrokerServer
) -> None:
    running = scene(on=own_services, CELERY_BROKER_URL=broker.url)
    server = running.stack.server()
    workers = [running.stack.worker(concurrency=2) for _ in range(2)]
    with repeated(lambda: running.work(**FLOW), lambda: PACE_SECONDS):
        wait_for(lambda: len(begun(running)) > 20, 40, "the flow to run")
        since = pause(running)
        before = settled(running)
        wait_for(lambda: len(running.unended()) > 20, 40, "the flow to go on")
        assert claims(running, since) == 0
    starts_nothing(running, since, before)

    for worker in workers:
        worker.kill()
    running.stack.worker(concurrency=2)
    starts_nothing(running, since, before)

    server.kill()
    running.stack.server()
    starts_nothing(running, since, before)

    broker.kill()
    broker.restart(empty=True)
    starts_nothing(running, since, before)

    if ENGINE != "sqlite":  # which has no server
        database = database_server_of(own_services)
        os.kill(database.pid, signal.SIGKILL)
        assert database.process.wait(30) is not None
        database.start()
    wait_for(lambda: running.http.get("/readyz").status_code == 200, 40, "the API to be ready again")
    starts_nothing(running, since, before)

    resume(running)
    running.check()


def test_no_claim_lies_between_the_answers_to_a_pause_and_to_its_resume(scene: Callable[..., Scene]) -> None:
    """Pauses and resumes as fast as they go, under a flow."""
    running = scene()
    running.stack.server()
    running.stack.worker(concurrency=4)
    with repeated(running.work, lambda: PACE_SECONDS / 4), running.stack.api(role="admin") as admin:
        wait_for(lambda: len(begun(running)) > 5, 40, "the flow to run")
        spans = []
        for _ in range(60):
            answer = admin.post(f"{QUEUES}/pause", json={"reason": "a test"})
            answered = now(running)
            assert answer.status_code == 200, answer.text
            assert claims(running, answered) == 0
            until = now(running)
            spans.append((answered, until))
            assert admin.post(f"{QUEUES}/resume").status_code == 200
    running.check()
    for answered, until in spans:
        assert claims(running, answered, until) == 0
