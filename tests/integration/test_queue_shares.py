"""QUEUE_SHARES: queues are served by shares instead of strictly; and strictly without it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.statements import pending_rows
from app.models.task import TaskPriority
from app.schemas.task import TaskCreate
from app.services.execution.claims import Claims
from app.services.task_service import task_service
from tests.support.running import Start
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.tasks import LONG_RUNNING, WORKER, new_user
from tests.support.waiting import wait_for

QUEUES = ("high_priority", "default", "low_priority")
SHARES = {"high_priority": 6, "default": 3, "low_priority": 1}
PRIORITY = {"high_priority": "high", "default": "normal", "low_priority": "low"}
BATCHES = pending_rows.TaskNames([LONG_RUNNING], [LONG_RUNNING])
SINGLES = pending_rows.TaskNames([LONG_RUNNING], [])


@pytest.fixture(scope="module", autouse=True)
def _database(services: Services) -> Iterator[None]:
    with on_new_database(services):
        yield


@pytest.fixture
def user(db: Session) -> UUID:
    return new_user(db)


def fill(db: Session, user: UUID, number: int, *queues: str) -> None:
    """Have so many tasks ready in each of the queues."""
    for queue in queues:
        fields = {"name": "a", "task_type": "test", "celery_task_name": LONG_RUNNING, "args": [1]}
        wanted = [TaskCreate.model_validate(fields | {"priority": PRIORITY[queue]})] * number
        task_service.create_tasks(db, wanted, user)


def process(shares: Mapping[str, int] | None = None, queues: Sequence[str] = QUEUES) -> Claims:
    """Where a pool process that serves these queues looks."""
    return Claims([(queue, priority.value) for queue in queues for priority in reversed(TaskPriority)], shares)


def starts(db: Session, processes: Sequence[Claims], number: int, names: pending_rows.TaskNames = SINGLES) -> list[str]:
    """Of which queues at least so many next starts are, by processes that claim one after another."""
    found: list[str] = []
    while len(found) < number:
        for claims in processes:
            taken = claims.next(db, names, new_id(), WORKER)
            db.commit()
            assert taken, f"{len(found)} started, and nothing is ready"
            found += [claim.queue for claim in taken]
    return found


class TestShares:
    def test_hold_of_a_thousand_starts_within_5_percent(self, db: Session, user: UUID) -> None:
        fill(db, user, 1000, *QUEUES)
        served = Counter(starts(db, [process(SHARES), process(SHARES)], 1000))
        for queue, share in SHARES.items():
            assert abs(served[queue] - share * 100) <= share * 5, served

    def test_hold_where_short_tasks_are_claimed_ten_at_a_time(self, db: Session, user: UUID) -> None:
        fill(db, user, 1000, *QUEUES)
        found = starts(db, [process(SHARES), process(SHARES)], 1000, BATCHES)
        served = Counter(found)
        for queue, share in SHARES.items():
            assert abs(served[queue] - share * 100) <= 50, served

    def test_of_an_empty_queue_go_to_the_others_and_no_slot_is_idle(self, db: Session, user: UUID) -> None:
        fill(db, user, 120, "default", "low_priority")
        served = Counter(starts(db, [process(SHARES)], 120))
        assert served == {"default": 90, "low_priority": 30}
        # What is left of one queue alone.
        assert len(starts(db, [process(SHARES)], 120)) == 120

    def test_a_higher_priority_still_goes_first_within_its_queue(self, db: Session, user: UUID) -> None:
        fill(db, user, 20, *QUEUES)
        fields = {"name": "a", "task_type": "test", "celery_task_name": LONG_RUNNING, "args": [1]}
        urgent, _ = task_service.create_task(db, **fields, priority=TaskPriority.CRITICAL, user_id=user)
        claims = process(SHARES)
        taken = [claims.next(db, SINGLES, new_id(), WORKER)[0] for _ in range(5)]
        db.commit()
        assert next(claim.id for claim in taken if claim.queue == "high_priority") == urgent.id

    def test_leave_an_express_slot_its_one_queue(self, db: Session, user: UUID) -> None:
        fill(db, user, 20, *QUEUES)
        assert set(starts(db, [process(SHARES, ["high_priority"])], 20)) == {"high_priority"}

    def test_without_the_setting_the_order_is_strict(self, db: Session, user: UUID) -> None:
        fill(db, user, 15, *QUEUES)
        expected = [queue for queue in QUEUES for _ in range(15)]
        assert starts(db, [process()], 45) == expected


def test_a_pause_holds_back_its_own_queue_alone(db: Session, user: UUID) -> None:
    fill(db, user, 5, *QUEUES)
    task_service.pause_queue(db, "default")
    assert Counter(starts(db, [process()], 10)) == {"high_priority": 5, "low_priority": 5}
    assert process().next(db, SINGLES, new_id(), WORKER) == []


def test_a_worker_serves_by_its_setting(start: Start) -> None:
    running = start(QUEUE_SHARES="high_priority:2,default:1,low_priority:1")
    for priority in ("low", "normal", "high"):
        tasks = [{"name": "n", "task_type": "t", "celery_task_name": "tests.echo", "args": [1], "priority": priority}]
        assert running.http.post("/api/v1/tasks/batch", json={"tasks": tasks * 100}).status_code == 201
    running.stack.worker(1)
    left = "SELECT count(*) FROM tasks WHERE status IN ('pending', 'running')"
    wait_for(lambda: running.stack.sql(left)[0][0] == 0, 40, "the tasks to end")
    first = running.stack.sql("SELECT queue FROM tasks ORDER BY started_at LIMIT 120")
    served = Counter(row.queue for row in first)
    assert abs(served["high_priority"] - 60) <= 20, served
    assert min(served["default"], served["low_priority"]) >= 15, served
