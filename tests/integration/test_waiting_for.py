"""Why a pending task waits: the first reason that holds, in every answer, and neither a version nor an event of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.core import served_tasks as module
from app.core.ids import new_id
from app.core.served_tasks import ServedTasks, served_tasks
from app.db.session import SessionLocal
from app.models import WorkerProcess
from app.models.task import TaskStatus
from app.models.task_filter import TaskFilter
from app.services.task_service import task_service
from tests.support.ahead import Ahead
from tests.support.running import Running, Start
from tests.support.task_client import BODY, TaskClient, module_client
from tests.support.tasks import LONG_RUNNING, claim, new_task, new_user, retried, task_in
from tests.support.throttle import forget_everybody

shared = module_client()
NOBODY = {"until": None, "key": None, "blocked_by": None}
TURN, NO_WORKER = {"reason": "turn", **NOBODY}, {"reason": "no_worker", **NOBODY}
PAUSED = {**NOBODY, "reason": "paused", "key": "default"}
LATER = "2100-01-01T00:00:00Z"
SCHEDULE = {**NOBODY, "reason": "schedule", "until": LATER}


@pytest.fixture
def client(shared: TestClient) -> TestClient:
    forget_everybody(shared, "worker_processes", "claim_holds")
    return shared


def worker(db: Session, **options: Any) -> None:
    """One that lives."""
    row = {"name": "w", "pid": 1, "queues": ["default"], "concurrency": 1, "task_names": [LONG_RUNNING]}
    db.add(WorkerProcess(id=new_id(), **(row | options)))
    db.commit()


@pytest.fixture(autouse=True)
def look_again() -> Iterator[None]:
    """No picture of another test's workers."""
    served_tasks.replace(None)
    yield
    served_tasks.replace(None)


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers are read at every look."""
    monkeypatch.setattr(ServedTasks, "is_due", lambda _: True)


@pytest.mark.usefixtures("unseen")
class TestAnAnswer:
    def test_of_each_kind_tells_it(self, tasks: TaskClient) -> None:
        created = tasks.create()
        assert created["waiting_for"] == NO_WORKER
        assert tasks.get(created["id"]).json()["waiting_for"] == NO_WORKER
        assert [task["waiting_for"] for task in tasks.get().json()] == [NO_WORKER]
        with SessionLocal() as db:
            worker(db)
        assert tasks.create()["waiting_for"] == TURN
        assert tasks.get(created["id"]).json()["waiting_for"] == TURN
        assert [task["waiting_for"] for task in tasks.get().json()] == [TURN, TURN]
        batch = tasks.post("batch", {"tasks": [BODY, BODY | {"run_at": LATER}, BODY | {"priority": "low"}]}).json()
        assert [task["waiting_for"] for task in batch["tasks"]] == [TURN, SCHEDULE, NO_WORKER]
        keyed = [tasks.post(body=BODY, headers={"Idempotency-Key": "k"}).json()["waiting_for"] for _ in range(2)]
        assert keyed == [TURN, TURN]
        assert tasks.patch(created["id"], {"run_at": LATER}).json()["waiting_for"] == SCHEDULE
        cancelled = tasks.post(f"{created['id']}/cancel").json()
        assert (cancelled["status"], cancelled["waiting_for"]) == ("revoked", None)
        assert tasks.post(f"{created['id']}/retry").json()["waiting_for"] == TURN

    def test_tells_at_once_of_a_pause_and_of_its_end(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            worker(db)
            task = tasks.create()
            tag = tasks.get(task["id"]).headers["etag"]
            task_service.pause_queue(db, "default")
            paused = tasks.get(task["id"])
            assert (paused.json()["waiting_for"], paused.headers["etag"]) == (PAUSED, tag)
            assert paused.json() == task | {"waiting_for": PAUSED}
            assert [each["waiting_for"] for each in tasks.get().json()] == [PAUSED]
            assert tasks.create()["waiting_for"] == PAUSED
            assert tasks.create(run_at=LATER)["waiting_for"] == SCHEDULE
            task_service.resume_queue(db, "default")
        assert tasks.get(task["id"]).json()["waiting_for"] == TURN

    def test_is_null_of_a_task_that_does_not_wait(self, tasks: TaskClient) -> None:
        others = [status for status in TaskStatus if status is not TaskStatus.PENDING]
        shown = {status: tasks.get(tasks.task_in(status)).json()["waiting_for"] for status in others}
        assert shown == dict.fromkeys(others)
        assert [task["waiting_for"] for task in tasks.get().json()] == [None] * len(others)

    def test_tells_of_the_back_off(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            task = new_task(db, tasks.user["id"], max_attempts=3)
            claim(db, task)
            retried(db, task_service.get_task(db, task.id), delay=600)
        shown = tasks.get(str(task.id)).json()
        assert shown["waiting_for"] == {**NOBODY, "reason": "retry", "until": shown["run_at"]}


@pytest.mark.usefixtures("unseen")
class TestNoWorker:
    def test_means_that_no_live_one_serves_the_queue_and_knows_the_task(self, tasks: TaskClient) -> None:
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        created: list[str] = []
        for options, reason in (
            ({}, "turn"),
            ({"task_names": None}, "turn"),  # of a release that does not tell them
            ({"task_names": []}, "no_worker"),
            ({"task_names": ["another"]}, "no_worker"),
            ({"queues": ["low_priority"]}, "no_worker"),
            ({"heartbeat_at": long_ago}, "no_worker"),
            ({"stopped_at": long_ago}, "no_worker"),
        ):
            with SessionLocal() as db:
                db.execute(delete(WorkerProcess))
                worker(db, **options)
            task = tasks.create()
            created.insert(0, task["id"])
            assert (options, task["waiting_for"]["reason"]) == (options, reason)
            assert (options, [found["id"] for found in tasks.get(waiting_for=reason).json()]) == (options, created)

    def test_is_told_of_each_queue_by_what_its_own_workers_know(self, tasks: TaskClient) -> None:
        with SessionLocal() as db:
            worker(db, task_names=["another"])
            worker(db, queues=["low_priority"])
        reasons = [tasks.create(priority=priority)["waiting_for"]["reason"] for priority in ("normal", "low")]
        assert reasons == ["no_worker", "turn"]


@pytest.mark.usefixtures("client")
def test_the_workers_are_read_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Ahead()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "READ_EVERY_SECONDS", 3600.0)  # longer than any test takes
    with SessionLocal() as db:
        task = new_task(db)
        assert task_service.get_task(db, task.id).waits == "ready"
        assert served_tasks().can_run("default", LONG_RUNNING) is False
        worker(db)
        task_service.get_task(db, task.id)
        assert served_tasks().can_run("default", LONG_RUNNING) is False
        clock.passes(3600)
        task_service.get_task(db, task.id)
        assert served_tasks().can_run("default", LONG_RUNNING) is True


@pytest.mark.usefixtures("unseen")
class TestFiltersAndCounts:
    @pytest.fixture
    def by_reason(self, tasks: TaskClient) -> dict[str, list[str]]:
        with SessionLocal() as db:
            user = tasks.user["id"]
            worker(db)
            turn = [new_task(db, user), new_task(db, user)]
            no_worker = [new_task(db, user, celery_task_name="app.tasks.common_tasks.fetch_url", args=["https://a.b"])]
            schedule = [new_task(db, user, run_at=datetime.now(UTC) + timedelta(hours=1))]
            failed = new_task(db, user, max_attempts=2)
            claim(db, failed)
            retried(db, task_service.get_task(db, failed.id), delay=600)
            paused = [new_task(db, user, priority="low") for _ in range(3)]
            task_service.pause_queue(db, "low_priority")
            for status in ("running", "succeeded"):
                task_in(db, TaskStatus(status), user)
            new_task(db, new_user(db))
        groups = {"turn": turn, "no_worker": no_worker, "schedule": schedule, "retry": [failed], "paused": paused}
        return {reason: [str(task.id) for task in reversed(found)] for reason, found in groups.items()}

    def test_agree_with_what_is_shown(self, tasks: TaskClient, by_reason: dict[str, list[str]]) -> None:
        shown: dict[str, list[str]] = {}
        for task in tasks.get().json():
            if task["waiting_for"]:
                shown.setdefault(task["waiting_for"]["reason"], []).append(task["id"])
        assert shown == by_reason
        for reason, ids in by_reason.items():
            assert [task["id"] for task in tasks.get(waiting_for=reason).json()] == ids
            assert tasks.get(waiting_for=reason, status="running").json() == []
            counts = tasks.get("count", waiting_for=reason).json()
            assert (counts["total"], counts["pending"]) == (len(ids), len(ids))
            assert "waiting_for" not in counts

    def test_count_by_reason(self, tasks: TaskClient, by_reason: dict[str, list[str]]) -> None:
        counts = tasks.get("count", by="waiting_for").json()
        assert counts["waiting_for"] == {reason: len(ids) for reason, ids in by_reason.items()}
        assert (counts["total"], counts["pending"]) == (10, 8)
        assert tasks.get("count", by="waiting_for", queue="low_priority").json()["waiting_for"] == {"paused": 3}
        assert tasks.get("count", by="status").status_code == 422
        assert tasks.get(waiting_for="nothing").status_code == 422

    def test_from_python(self, tasks: TaskClient, by_reason: dict[str, list[str]]) -> None:
        with SessionLocal() as db:
            found = task_service.get_tasks(db, tasks.user["id"], waiting_for="paused")
            assert [str(task.id) for task in found] == by_reason["paused"]
            assert {task.waits for task in found} == {"paused"}
            assert task_service.count(db, TaskFilter(waiting_for="turn"))["total"] == 3


class TestOnWorkers:
    def test_a_worker_tells_which_tasks_it_knows(self, start: Start) -> None:
        running: Running = start()
        task_id = running.create("echo")
        assert running.get(task_id)["waiting_for"]["reason"] == "no_worker"
        running.stack.worker(concurrency=1, queues="low_priority")
        running.stack.worker(concurrency=1, env={"TASK_MODULES": "app.tasks"}, queues="default")
        assert running.get(task_id)["waiting_for"]["reason"] == "no_worker"
        with running.stack.engine.connect() as connection:
            rows = connection.execute(select(WorkerProcess.queues, WorkerProcess.task_names)).all()
        known = {queues[0]: names for queues, names in rows}
        assert "tests.echo" in known["low_priority"]
        assert "tests.echo" not in known["default"]
