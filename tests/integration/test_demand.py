"""What a queue could start: the numbers of its pending tasks, the demand that an autoscaler asks for, a place in line."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.core.ids import new_id
from app.db.session import SessionLocal, transaction
from app.db.statements import held_tasks, startable
from app.models.limit import Limit
from app.models.task import Held, Task, TaskStatus
from app.models.worker import WorkerProcess
from app.services.execution import ends
from app.services.execution.attempts import NextTry
from app.services.operations import demand, queue_service
from app.services.operations.demand import place_in_line, read_demand
from tests.support.accounts import bearer
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.tasks import ERROR, WORKER, claim, finish, flush_admitter, new_task, new_user, task_in

LATER = timedelta(hours=1)


@pytest.fixture(autouse=True)
def database(services: Services) -> Iterator[None]:
    with on_new_database(services):
        yield


@pytest.fixture
def db() -> Iterator[Session]:
    with SessionLocal() as session:
        yield session


def add_worker(db: Session, *task_names: str, queues: tuple[str, ...] = ("default",), slots: int = 4) -> WorkerProcess:
    worker = WorkerProcess(id=new_id(), name=new_id().hex, pid=1, queues=[*queues], concurrency=slots)
    worker.task_names = [*task_names] or None
    db.add(worker)
    db.commit()
    return worker


def waiting(db: Session, name: str = "default") -> tuple[int, int, int, int]:
    """What can start, is blocked, limited, scheduled; both ways to count agree about the first."""
    queue = queue_service.get_queue(db, name)
    assert queue.startable + queue.blocked + queue.limited + queue.scheduled == queue.pending
    assert read_demand(db, name).startable == queue.startable
    return queue.startable, queue.blocked, queue.limited, queue.scheduled


class TestWhatWaits:
    def test_is_told_by_what_it_needs(self, db: Session) -> None:
        user = new_user(db)
        add_worker(db)
        db.add(Limit(name="one", concurrency=1))
        db.commit()
        new_task(db, user)
        for _ in range(2):
            new_task(db, user, limit="one")
        parent = new_task(db, user)
        new_task(db, user, depends_on=[parent.id])
        new_task(db, user, run_at=datetime.now(UTC) + LATER)
        again = new_task(db, user, max_attempts=2)
        finish(db, again, ends.retried(ERROR, NextTry(3600)))
        flush_admitter()
        startable_now, blocked, limited, scheduled = waiting(db)
        assert (startable_now, blocked, limited, scheduled) == (3, 1, 1, 2)

    def test_of_a_paused_queue_is_blocked(self, db: Session) -> None:
        new_task(db)
        new_task(db, run_at=datetime.now(UTC) + LATER)
        assert waiting(db) == (1, 0, 0, 1)
        queue_service.pause_queue(db, "default")
        assert waiting(db) == (0, 1, 0, 1)
        found = read_demand(db, "default")
        assert (found.startable, found.more, found.oldest_startable_seconds) == (0, False, None)
        queue_service.resume_queue(db, "default")
        assert waiting(db) == (1, 0, 0, 1)

    def test_that_no_worker_knows_counts_where_no_worker_serves_the_queue(self, db: Session) -> None:
        task = new_task(db)
        assert waiting(db) == (1, 0, 0, 0)
        other = add_worker(db, "another.task")
        assert waiting(db) == (0, 1, 0, 0)
        held_tasks.hold_tasks(db, [task.id], Held.NAME)
        db.commit()
        assert waiting(db) == (0, 1, 0, 0)
        knowing = add_worker(db, task.celery_task_name)
        assert waiting(db) == (1, 0, 0, 0)
        silent = add_worker(db)  # that does not tell what it knows
        knowing.stopped_at = datetime.now(UTC)
        db.commit()
        assert waiting(db) == (1, 0, 0, 0)
        for worker in (other, silent):
            worker.stopped_at = datetime.now(UTC)
        db.commit()
        assert waiting(db) == (1, 0, 0, 0)


class TestTheDemand:
    def test_is_told_of_any_name_to_keys_that_read_tasks(
        self, client: TestClient, make_user: Callable[..., Any], db: Session
    ) -> None:
        _, token = make_user("user")
        add_worker(db, queues=("default", "a/b"), slots=3)
        running = new_task(db)
        claim(db, running)
        new_task(db)
        new_task(db)
        answers = {
            name: client.get(f"/api/v1/queues/{name}/demand", headers=bearer(token)).json()
            for name in ("default", "a/b", "nothing")
        }
        assert 0 <= answers["default"].pop("oldest_startable_seconds") < 60
        assert answers["default"] == {
            "queue": "default", "slots": 3, "running": 1, "startable": 2, "more": False, "slots_needed": 3,
        }  # fmt: skip
        none = {"running": 0, "startable": 0, "more": False, "slots_needed": 0, "oldest_startable_seconds": None}
        assert answers["a/b"] == {"queue": "a/b", "slots": 3, **none}
        assert answers["nothing"] == {"queue": "nothing", "slots": 0, **none}
        assert client.get("/api/v1/queues/default/demand").status_code == 401

    def test_is_exact_up_to_its_bound(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(startable, "MOST", 3)
        monkeypatch.setattr(demand, "MOST", 3)
        user = new_user(db)
        for number, priority in enumerate(("high", "critical", "high", "critical", "high"), 1):
            new_task(db, user, priority=priority)
            found = read_demand(db, "high_priority")
            assert (found.startable, found.more) == (min(number, 3), number > 3)

    def test_counts_what_is_due_and_has_no_turn_yet(self, db: Session) -> None:
        task = new_task(db, run_at=datetime.now(UTC) + LATER)
        assert waiting(db) == (0, 0, 0, 1)
        past = datetime.now(UTC) - timedelta(seconds=90)
        with transaction(db):
            db.execute(update(Task).where(Task.id == task.id).values(run_at=past, due_at=past))
        assert waiting(db) == (1, 0, 0, 0)
        assert (read_demand(db, "default").oldest_startable_seconds or 0) > 60


class TestAPlaceInLine:
    def test_is_behind_what_is_served_before_it(self, db: Session) -> None:
        one, other = new_user(db), new_user(db)
        worker = add_worker(db, slots=2)
        first, second = new_task(db, one), new_task(db, one)
        fair = new_task(db, other)
        assert [task.id for task in (first, fair, second)] == [
            task.id for task in sorted((first, second, fair), key=lambda task: _ahead(db, task))
        ]
        place = place_in_line(db, second.id, "default")
        assert place is not None
        assert (place.ahead, place.more, place.slots, place.running) == (2, False, 2, [])
        assert worker.queues == ["default"]

    def test_is_none_of_a_task_that_waits_for_more_than_a_slot(self, db: Session) -> None:
        later, ended = new_task(db, run_at=datetime.now(UTC) + LATER), task_in(db, TaskStatus.SUCCEEDED)
        assert place_in_line(db, later.id, "default") is place_in_line(db, ended.id, "default") is None

    def test_is_behind_all_higher_priorities_of_its_queue(self, db: Session) -> None:
        user = new_user(db)
        tasks = [new_task(db, user, priority=each) for each in ("high", "critical", "high", "critical")]
        assert [_ahead(db, task) for task in tasks] == [2, 0, 3, 1]

    def test_tells_what_runs_in_the_slots(self, db: Session) -> None:
        db.add(WorkerProcess(id=WORKER.id, name="one", pid=1, queues=["default"], concurrency=2))
        db.commit()
        running, waits = new_task(db), new_task(db)
        attempt = claim(db, running).attempt
        place = place_in_line(db, waits.id, "default")
        assert place is not None
        assert (place.ahead, place.slots, place.running) == (0, 2, [(running.celery_task_name, 1)])
        assert ends.end_attempt(db, running.id, attempt, ends.succeeded(1))
        db.commit()
        place = place_in_line(db, waits.id, "default")
        assert place is not None
        assert not place.running


def _ahead(db: Session, task: Task) -> int:
    place = place_in_line(db, task.id, "default")
    assert place is not None
    return place.ahead
