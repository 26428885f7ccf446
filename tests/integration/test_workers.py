"""Workers: what is listed of them, and that a drained one takes nothing more, ends what it runs, and leaves."""

import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, NoResultFound
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.core.version import VERSION
from app.db.session import SessionLocal
from app.errors import WorkerNotFound
from app.models import Task, WorkerProcess
from app.services.execution import ends
from app.services.execution.attempts import WorkerIdentity
from app.services.operations import worker_service
from app.services.task_service import task_service
from tests.support.accounts import bearer
from tests.support.databases import ENGINE
from tests.support.retention import forget
from tests.support.running import SECONDS, Running, Start, lines, started
from tests.support.spelling import spelled
from tests.support.tasks import claim, new_task
from tests.support.waiting import wait_for

WORKERS = "/api/v1/workers/"
# Without the row that claims lock, which engines other than PostgreSQL keep.
HOLDS = "SELECT count(*) FROM claim_holds WHERE name <> ''"
AGO = datetime(2020, 1, 1, tzinfo=UTC)


def add(db: Session, name: str = "w@here", **options: Any) -> WorkerIdentity:
    worker_id = new_id()
    row = {"pid": 4711, "queues": ["default"], "concurrency": 2}
    db.add(WorkerProcess(id=worker_id, name=name, **(row | options)))
    db.commit()
    return WorkerIdentity(name, worker_id, 4712)


@pytest.fixture
def ask(client: Any, make_user: Callable[..., Any]) -> Callable[..., httpx.Response]:
    tokens = {role: make_user(role)[1] for role in ("user", "admin")}

    def request(method: str, path: str = "", role: str = "admin") -> httpx.Response:
        answer: httpx.Response = client.request(method, WORKERS + path, headers=bearer(tokens[role]))
        return answer

    return request


class TestTheList:
    def test_shows_what_each_says_of_itself_and_runs(self, ask: Callable[..., httpx.Response]) -> None:
        with SessionLocal() as db:
            worker = add(db, processed=7, version="1.2", memory_bytes=10, build_id="b7")
            task = new_task(db)
            claim(db, task, worker)
        (shown,) = ask("GET").json()
        assert ask("GET", "w@here").json() == shown
        (running,) = shown.pop("running")
        assert running.pop("started_at")
        assert running == {"task_id": str(task.id), "name": "a task", "celery_task_name": task.celery_task_name,
                           "progress": 0}  # fmt: skip
        assert shown.pop("started_at") <= shown.pop("last_heartbeat_at")
        assert shown == {
            "name": "w@here", "host": "here", "pid": 4711, "queues": ["default"], "concurrency": 2, "state": "alive",
            "processed": 7, "version": "1.2", "memory_bytes": 10, "build_id": "b7",
        }  # fmt: skip

    def test_has_the_last_start_of_each_name_unless_it_has_stopped(self, ask: Callable[..., httpx.Response]) -> None:
        with SessionLocal() as db:
            add(db, "a", started_at=AGO, heartbeat_at=AGO)
            add(db, "a")
            add(db, "b", heartbeat_at=AGO)
            add(db, "c", started_at=AGO, heartbeat_at=AGO)
            add(db, "c", stopped_at=datetime.now(UTC))
        assert [(worker["name"], worker["state"]) for worker in ask("GET").json()] == [("a", "alive"), ("b", "lost")]
        assert ask("GET", "c").status_code == 404

    def test_is_for_administrators(self, ask: Callable[..., httpx.Response]) -> None:
        with SessionLocal() as db:
            add(db)
        for method, path in (("GET", ""), ("GET", "w@here"), ("POST", "w@here/drain")):
            assert ask(method, path, role="user").status_code == 403
        assert [worker["state"] for worker in ask("GET").json()] == ["alive"]


class TestADrain:
    def test_is_shown_and_recorded_once(self, ask: Callable[..., httpx.Response]) -> None:
        with SessionLocal() as db:
            add(db)
        for _ in range(2):
            answer = ask("POST", "w@here/drain")
            assert (answer.status_code, answer.json()["state"]) == (200, "draining")
        with SessionLocal() as db:
            rows = db.execute(text("SELECT object_id FROM audit_events WHERE event = 'worker.drained'")).all()
            assert [tuple(row) for row in rows] == [("w@here",)]

    @pytest.mark.parametrize("options", [{"stopped_at": AGO}, {"heartbeat_at": AGO}])
    def test_of_a_worker_that_does_not_live_finds_nothing(self, db: Session, options: dict[str, Any]) -> None:
        add(db, **options)
        for name in ("w@here", "nobody"):
            with pytest.raises(WorkerNotFound):
                task_service.drain_worker(db, name)

    @pytest.mark.postgresql("elsewhere a claim looks for drains itself (test_claims.py): no trigger does")
    def test_refuses_its_claims_and_no_others(self, db: Session) -> None:
        worker, other = add(db), add(db, "other")
        task = new_task(db)
        task_service.drain_worker(db, "w@here")
        with pytest.raises((NoResultFound, IntegrityError)):
            claim(db, task, worker)
        assert claim(db, task, other).attempt == 1

    def test_is_forgotten_with_a_worker_that_was_killed_meanwhile(self, db: Session) -> None:
        worker = add(db)
        add(db, "other")
        for name in ("w@here", "other"):
            task_service.drain_worker(db, name)
        db.execute(spelled("UPDATE worker_processes SET stopped_at = now() WHERE id = :id", {"id": worker.id}))
        forget(db, "claim_holds")
        assert db.execute(text(HOLDS)).scalar_one() == 1


class TestOnWorkers:
    @pytest.fixture
    def running(self, start: Start) -> Running:
        return start(SHUTDOWN_GRACE_SECONDS="6")

    def test_a_drained_one_ends_what_it_runs_hands_back_the_rest_and_leaves(
        self, running: Running, ledger: Path, gate: Path
    ) -> None:
        running.stack.server()
        first = running.stack.worker(concurrency=2, env={"TASK_BUILD_ID": "b7"})
        short = running.create("hold", str(gate), str(ledger))
        long = running.create("hold", str(gate.with_name("never")), str(ledger))
        started(ledger, 2)
        with running.stack.api(role="admin") as admin:
            (worker,) = admin.get(WORKERS).json()
            told = [worker[name] for name in ("version", "build_id", "state", "concurrency")]
            assert told == [VERSION, "b7", "alive", 2]
            assert {task["task_id"] for task in worker["running"]} == {short, long}
            wait_for(lambda: admin.get(WORKERS).json()[0]["processed"] == 2, SECONDS, "a heartbeat")
            assert admin.get(WORKERS).json()[0]["memory_bytes"] > 10 * 2**20
            assert admin.post(f"{WORKERS}{worker['name']}/drain").status_code == 200
            later = running.create("hold", str(gate), str(ledger))
            gate.touch()
            assert running.ended(short)["attempt"] == 1
            assert first.process.wait(SECONDS) == 0
            assert admin.get(WORKERS).json() == []
            assert running.get(long)["status"] == "pending"
            assert running.outcomes(long) == ["handed_back"]
            assert running.get(later)["attempt"] == 0
            assert len(lines(ledger)) == 2
            running.stack.worker(concurrency=2)
            assert running.ended(later)["attempt"] == 1
            wait_for(lambda: running.get(long)["attempt"] == 2, SECONDS, "the long one to start again")
            gate.with_name("never").touch()
            assert running.ended(long)["status"] == "succeeded"
        assert running.stack.sql(HOLDS)[0][0] == 0

    @pytest.mark.skipif(ENGINE == "sqlite", reason="who is frozen while it writes keeps all others from writing")
    def test_a_neighbour_runs_what_a_drained_one_refuses(self, running: Running) -> None:
        running.stack.server()
        drained = running.stack.worker(concurrency=1)
        ((name,),) = wait_for(lambda: running.stack.sql("SELECT name FROM worker_processes"), SECONDS, "its row")
        running.stack.worker(concurrency=1)
        os.kill(drained.pid, signal.SIGSTOP)  # it does not see the order yet; its child goes on
        with running.stack.api(role="admin") as admin:
            assert admin.post(f"{WORKERS}{name}/drain").status_code == 200
        ids = [running.create("echo", n) for n in range(20)]
        os.kill(drained.pid, signal.SIGCONT)
        assert {running.ended(task_id)["worker"] for task_id in ids} != {name}
        assert name not in {running.get(task_id)["worker"] for task_id in ids}
        assert drained.process.wait(SECONDS) == 0


class TestItsTasks:
    def test_are_the_newest_whose_last_attempt_it_ran(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        worker, other = add(db), add(db, "other@here")
        mine = [new_task(db).id for _ in range(3)]
        for task_id in mine:
            claim(db, db.get_one(Task, task_id), worker)
        claim(db, new_task(db), other)
        assert [task.id for task in worker_service.last_tasks(db, "w@here")] == mine[::-1]
        assert worker_service.last_tasks(db, "nobody") == []
        monkeypatch.setattr(worker_service, "LOOK", 3)
        assert [task.id for task in worker_service.last_tasks(db, "w@here")] == mine[:0:-1]
        monkeypatch.setattr(worker_service, "SHOWN", 1)
        assert [task.id for task in worker_service.last_tasks(db, "w@here")] == mine[:1:-1]

    def test_that_were_lost_with_it_are_told_with_what_became_of_them(self, db: Session) -> None:
        worker, other = add(db), add(db, "other@here")
        task = new_task(db)
        claim(db, task, worker)
        ends.end_tasks(db, ends.lost("no heartbeat"), Task.id == task.id)
        db.commit()
        claim(db, task, other)
        (lost,) = worker_service.lost_attempts(db, "w@here")
        assert (lost.id, lost.number, lost.status, lost.worker) == (task.id, 1, "running", "other@here")
        assert worker_service.lost_attempts(db, "other@here") == []
