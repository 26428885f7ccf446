"""Queues: what is listed, who may pause, and that a paused queue starts nothing until it is resumed."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from kombu.entity import Exchange, Queue
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, NoResultFound
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.celery_app import celery_app
from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.sql import prepared
from app.errors import QueueNotFound
from app.maintenance.loop import Maintenance
from app.messaging import wakeups
from app.models import Task, WorkerProcess
from app.models.task import TaskStatus
from app.services.execution import ends
from app.services.execution.claims import Claims
from app.services.operations import queue_service
from app.services.task_service import task_service
from tests.support.accounts import bearer
from tests.support.amounts import amount
from tests.support.databases import ENGINE
from tests.support.running import SECONDS, TASKS, Running, Start, lines, started
from tests.support.tasks import (
    WORKER,
    claim,
    claim_next,
    give_id,
    lines_of,
    names,
    new_task,
    new_user,
    retried,
    task_in,
)
from tests.support.waiting import wait_for

QUEUES = "/api/v1/queues/"
# Of the race. Off PostgreSQL a claim and a pause lock the same row: there are fewer ways to meet.
ROUNDS = amount(day=40, night=300 if ENGINE == "postgresql" else 100)
# Without the row that claims lock, which engines other than PostgreSQL keep.
HOLDS = "SELECT count(*) FROM claim_holds WHERE name <> ''"
# Between the snapshot of a claim and its look for pauses, and between that look and its commit, pass milliseconds.
SLOW_CLAIMS = """
CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(random() * 0.005); RETURN NEW; END $$;
CREATE TRIGGER a_before BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (NEW.status = 'running') EXECUTE FUNCTION linger();
CREATE TRIGGER z_after BEFORE UPDATE ON tasks FOR EACH ROW
WHEN (NEW.status = 'running') EXECUTE FUNCTION linger();
"""


def of_name(queues: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(queue for queue in queues if queue["name"] == name)


@pytest.fixture
def ask(client: TestClient, make_user: Callable[..., Any]) -> Callable[..., httpx.Response]:
    tokens = {role: make_user(role)[1] for role in ("user", "admin")}

    def request(method: str, path: str = "", body: Any = None, role: str = "admin") -> httpx.Response:
        return client.request(method, QUEUES + path, json=body, headers=bearer(tokens[role]))

    return request


class TestTheList:
    def test_counts_what_waits_what_is_due_and_what_runs(self, ask: Callable[..., Any]) -> None:
        with SessionLocal() as db:
            user = new_user(db)
            new_task(db, user)
            new_task(db, user, run_at=datetime.now(UTC) + timedelta(hours=1))
            task_in(db, TaskStatus.RUNNING, user)
            task_in(db, TaskStatus.SUCCEEDED, user)
            old = task_in(db, TaskStatus.SUCCEEDED, user)
            ago = datetime.now(UTC) - timedelta(minutes=5)
            give_id(db, old.id, new_id(), started_at=ago)
            common: dict[str, Any] = {"pid": 1, "queues": ["default", "own"], "concurrency": 4}
            db.add(WorkerProcess(id=new_id(), name="one", **common))
            db.add(WorkerProcess(id=new_id(), name="silent", heartbeat_at=ago, **common))
            db.add(WorkerProcess(id=new_id(), name="gone", stopped_at=ago, **common))
            db.commit()
        found = ask("GET", role="user").json()
        queue = of_name(found, "default")
        assert 0 < queue.pop("oldest_ready_seconds") < SECONDS
        assert queue == {
            "name": "default", "pending": 2, "ready": 1, "running": 1, "started_per_minute": 2,
            "startable": 1, "blocked": 0, "limited": 0, "scheduled": 1,
            "workers": 1, "slots": 4,
            "paused": False, "paused_reason": None, "paused_by": None, "paused_at": None,
        }  # fmt: skip
        assert of_name(found, "own")["slots"] == 4
        assert of_name(found, "low_priority")["oldest_ready_seconds"] is None

    def test_says_why_a_queue_is_paused_and_only_to_administrators_by_whom(self, ask: Callable[..., Any]) -> None:
        paused = ask("POST", "default/pause", {"reason": "maintenance"})
        assert paused.status_code == 200, paused.text
        assert paused.json()["paused_by"] is not None
        seen = of_name(ask("GET").json(), "default")
        assert {name: seen[name] for name in paused.json()} == paused.json()
        to_user = of_name(ask("GET", role="user").json(), "default")
        assert to_user == seen | {"paused_by": None}
        assert (to_user["paused"], to_user["paused_reason"]) == (True, "maintenance")


class TestPausing:
    def test_is_for_administrators(self, ask: Callable[..., Any]) -> None:
        assert ask("POST", "default/pause", {"reason": "x"}, role="user").status_code == 403
        assert ask("POST", "default/resume", role="user").status_code == 403

    def test_of_an_unknown_queue_finds_nothing(self, ask: Callable[..., Any]) -> None:
        for answer in (ask("POST", "nowhere/pause", {"reason": "x"}), ask("POST", "nowhere/resume")):
            assert (answer.status_code, answer.json()["code"]) == (404, "queue_not_found")
            assert answer.json()["detail"] == "There is no queue nowhere"
        assert ask("POST", "defualt/resume").json()["detail"] == "There is no queue defualt, did you mean default"

    def test_reaches_a_queue_whose_name_has_a_slash(
        self, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Celery would add it at the first message, for all tests of this process.
        monkeypatch.setitem(celery_app.amqp.queues, "eu/west", Queue("eu/west", Exchange("eu/west"), routing_key="x"))
        with SessionLocal() as db:
            db.add(WorkerProcess(id=new_id(), name="one", pid=1, queues=["eu/west"], concurrency=1))
            db.commit()
        for path in ("eu%2Fwest/pause", "eu/west/pause"):
            paused = ask("POST", path, {"reason": "x"})
            assert (paused.status_code, paused.json()["name"]) == (200, "eu/west"), paused.text
        assert ask("POST", "eu%2Fwest/resume").json()["paused"] is False

    def test_needs_a_reason(self, ask: Callable[..., Any]) -> None:
        assert ask("POST", "default/pause", {}).status_code == 422

    def test_again_keeps_the_time_and_takes_the_new_reason(self, ask: Callable[..., Any]) -> None:
        first, second = (ask("POST", "default/pause", {"reason": reason}).json() for reason in "ab")
        assert second == first | {"paused_reason": "b"}
        resumed = ask("POST", "default/resume").json()
        assert (resumed["paused"], resumed["paused_at"], resumed["paused_reason"]) == (False, None, None)
        third = ask("POST", "default/pause", {"reason": "c"}).json()
        assert third["paused_at"] > first["paused_at"]

    def test_is_recorded(self, ask: Callable[..., Any]) -> None:
        ask("POST", "default/pause", {"reason": "the disk is full"})
        for _ in range(2):
            ask("POST", "default/resume")
        with SessionLocal() as db:
            rows = db.execute(text("SELECT event, object_id, detail FROM audit_events WHERE event LIKE 'queue.%'"))
            assert sorted(tuple(row) for row in rows) == [
                ("queue.paused", "default", '{"reason":"the disk is full"}'),
                ("queue.resumed", "default", "{}"),
            ]


class TestAPausedQueue:
    def test_lets_no_claim_pass_and_no_other_queue_wait(self, db: Session) -> None:
        task, other = new_task(db), new_task(db, priority="low")
        task_service.pause_queue(db, "default", "why not")
        assert [found.id for found in claim_next(db)] == [other.id]
        again = task_service.get_task(db, task.id)
        assert (again.status, again.version, again.attempt) == ("pending", 1, 0)
        task_service.resume_queue(db, "default")
        assert [found.id for found in claim_next(db)] == [task.id]

    @pytest.mark.postgresql("elsewhere a claim locks the row that a pause locks: no trigger looks")
    def test_lets_no_claim_pass_that_was_made_without_a_look_at_pauses(self, db: Session) -> None:
        task = new_task(db)
        task_service.pause_queue(db, "default")
        with pytest.raises((NoResultFound, IntegrityError)):
            claim(db, task)

    def test_goes_on_with_what_runs(self, db: Session) -> None:
        task = new_task(db)
        attempt = claim(db, task).attempt
        task_service.pause_queue(db, "default")
        assert ends.end_attempt(db, task.id, attempt, ends.succeeded(None))

    def test_is_one_that_exists(self, db: Session) -> None:
        with pytest.raises(QueueNotFound):
            task_service.pause_queue(db, "nowhere")

    def test_by_a_call_that_joins_a_transaction_is_undone_with_it(self, db: Session) -> None:
        task = new_task(db)
        task_service.pause_queue(db, "default", commit=False)
        db.rollback()
        claim(db, task)


class TestOneQueue:
    def test_tells_the_slots_in_use_whatever_runs_there(self, db: Session) -> None:
        other = new_id()
        for worker_id, name, queues in ((WORKER.id, WORKER.name, ["default", "own"]), (other, "idle@test", ["own"])):
            db.add(WorkerProcess(id=worker_id, name=name, pid=1, queues=queues, concurrency=3))
        db.commit()
        for _ in range(2):
            task_in(db, TaskStatus.RUNNING)
        own = queue_service.get_queue(db, "own")
        assert (own.running, own.workers, own.slots, own.slots_used) == (0, 2, 6, 2)
        default = queue_service.get_queue(db, "default")
        assert (default.running, default.slots, default.slots_used) == (2, 3, 2)
        with pytest.raises(QueueNotFound):
            queue_service.get_queue(db, "nowhere")

    def test_tells_who_has_how_much_in_its_lines(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        many, few = new_user(db), new_user(db)
        for user, number, priority in ((many, 3, "high"), (many, 2, "critical"), (few, 1, "high")):
            for _ in range(number):
                new_task(db, user, priority=priority)
        new_task(db, few, priority="high", run_at=datetime.now(UTC) + timedelta(hours=1))  # it needs more than a slot
        new_task(db, few)  # of another queue
        lines = queue_service.queue_lines(db, "high_priority")
        assert [(line.user_id, line.total) for line in lines.users] == [(many, 5), (few, 1)]
        assert lines.users[0].by_priority == {"critical": 2, "high": 3}
        assert not lines.is_cut
        monkeypatch.setattr(queue_service, "FRONT", 2)
        lines = queue_service.queue_lines(db, "high_priority")
        assert (sum(line.total for line in lines.users), lines.is_cut) == (4, True)
        assert queue_service.queue_lines(db, "nowhere").users == []


class TestWakeUps:
    @pytest.fixture
    def woken(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The queues in which a slot was woken, by maintenance and by the service."""
        found: list[str] = []
        monkeypatch.setattr("app.messaging.wakeups.publish", found.extend)
        monkeypatch.setattr("app.maintenance.passes.task_states.wake", lambda _, queue: found.append(queue))
        return found

    @pytest.fixture
    def once(self, db: Session) -> Any:
        """A pass of maintenance."""
        maintenance = Maintenance(get_settings())

        def run() -> None:
            assert maintenance.run_once(db)

        yield run
        maintenance.close()

    def test_go_to_no_paused_queue_and_to_several_slots_at_the_resume(
        self, db: Session, woken: list[str], once: Callable[[], None]
    ) -> None:
        user = new_user(db)
        waits, retries = new_task(db, user), new_task(db, user, max_attempts=2)
        claim(db, retries)
        retried(db, task_service.get_task(db, retries.id))
        task_service.pause_queue(db, "default")
        woken.clear()
        once()
        assert woken == []
        low = new_task(db, user, priority="low")
        woken.clear()
        once()
        assert woken == ["low_priority"]
        task_service.resume_queue(db, "default")
        assert woken == ["low_priority", *["default"] * wakeups.MANY]
        assert db.execute(text(HOLDS)).scalar_one() == 0
        once()
        assert sorted(woken[-2:]) == ["default", "low_priority"]
        # What became due during the pause stands in the line.
        claimed = [claim_next(db)[0].id for _ in range(3)]
        assert claimed == [waits.id, retries.id, low.id]


class TestARace:
    """Of pauses and claims on real connections: no claim is committed after the pause's call has returned."""

    @pytest.mark.usefixtures("fresh_database")
    def test_no_claim_comes_after_the_pause(self) -> None:
        with SessionLocal() as db:
            user = new_user(db)
            for _ in range(ROUNDS):
                new_task(db, user)
            if ENGINE == "postgresql":
                db.execute(text(SLOW_CLAIMS))
            db.commit()
        outcomes = [self._round(("claim", "pause")[number % 2]) for number in range(ROUNDS)]
        # Both orders must have been seen, or the rounds have proven nothing.
        assert {0, 1} == {len(claimed) for claimed, _ in outcomes}
        assert all(claimed <= visible for claimed, visible in outcomes)

    def _round(self, second: str) -> tuple[set[UUID], set[UUID]]:
        """What was claimed, and what ran when the pause returned. `second` begins up to 10 ms after the other."""
        gate = threading.Barrier(2)

        def begin(which: str) -> None:
            gate.wait()
            if which == second:
                time.sleep(random.random() * 0.01)

        def claim_it() -> set[UUID]:
            with prepared.prepared_connection() as connection:
                claims = Claims(lines_of("default"))
                begin("claim")
                return {found.id for found in claims.next(connection, names(), new_id(), WORKER)}

        def pause() -> set[UUID]:
            with SessionLocal() as db:
                db.execute(text("SELECT 1"))
                begin("pause")
                task_service.pause_queue(db, "default")
                return set(db.scalars(select(Task.id).where(Task.status == TaskStatus.RUNNING)))

        with ThreadPoolExecutor(2) as pool:
            claimed, visible = pool.submit(claim_it), pool.submit(pause)
            result = claimed.result(), visible.result()
        with SessionLocal() as db:
            task_service.resume_queue(db, "default")
        return result


class TestOnWorkers:
    @pytest.fixture
    def running(self, start: Start) -> Running:
        return start()

    def test_what_has_waited_starts_within_seconds_and_in_order(self, running: Running, ledger: Path) -> None:
        running.stack.server()
        running.stack.worker(concurrency=1)
        with running.stack.api(role="admin") as admin:
            assert admin.post(QUEUES + "default/pause", json={"reason": "a test"}).status_code == 200
            ids = [running.create("note_down", str(ledger), kwargs={"line": str(n)}) for n in range(20)]
            assert running.run("echo", priority="low")["status"] == "succeeded"
            assert running.run("echo", priority="low")["status"] == "succeeded"
            assert lines(ledger) == []
            assert admin.post(QUEUES + "default/resume").status_code == 200
        assert started(ledger, len(ids)) == [str(n) for n in range(len(ids))]
        running.ran_once(ids)
        wait_for(lambda: running.stack.sql(HOLDS)[0][0] == 0, SECONDS, "no trace")
        assert running.http.get(TASKS + "count").json()["succeeded"] == len(ids) + 2
