"""Finished rows slow nothing down: the plans and the times of the maintenance passes and of each step of an attempt.

The statements are those that the real functions send. A plan is wrong where it reads `tasks` from end to end: by a
sequential scan, or through an index that holds the finished rows and that no condition narrows.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.postgresql import retention
from app.db.session import SessionLocal, engine
from app.live import queries
from app.maintenance import lease, lost_messages, passes
from app.messaging import due
from app.messaging.dispatches import Dispatch
from app.models import Task, WorkerProcess
from app.services.execution import attempts, rescue
from app.services.execution.attempts import NextTry, Ticket
from app.services.execution.successes import Success, succeed_together
from app.services.task_service import task_service
from app.services.tasks.load import Load
from app.services.tasks.quotas import Quotas
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.statements import before_each_statement
from tests.support.tasks import ERROR, WORKER, claim, new_task, new_user

QUEUES = ["high_priority", "default", "low_priority"]
SMALL, BIG = 20_000, 1_000_000
# Partial indexes: only rows that wait, run, or are to be deleted stand in them.
ACTIVE_ONLY = {
    "ix_tasks_due", "ix_tasks_dispatched", "ix_tasks_expiring", "ix_tasks_running", "ix_tasks_delete_requested",
}  # fmt: skip
SCANS = {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}
# How often a measured step is repeated, and how much slower a hundred times the finished rows may make it: what reads
# them all becomes a hundred times slower, what goes by an index two to three times (deeper, and less of it in memory).
REPEATS, RATIO = 30, 8.0

FINISHED = """
    status, started_at, finished_at, attempt, dispatch_at, progress) SELECT uuidv7(- n * interval '1 second'), uuidv7(), {kept},
    CASE n % 10 WHEN 0 THEN 'failed' WHEN 1 THEN 'revoked' ELSE 'succeeded' END,
    now() - n * interval '1 second', now() - n * interval '1 second', 1, NULL, 100
"""
WAITING = """
    status, dispatch_at, dispatched_at, expires_at) SELECT uuidv7(), uuidv7(), {kept}, 'pending',
    now() + CASE WHEN n % 10 = 0 THEN interval '-1 second' ELSE interval '1 hour' END,
    CASE WHEN n % 2 = 1 THEN now() - n * interval '1 second' END,
    CASE n % 20 WHEN 0 THEN now() - interval '1 second' WHEN 1 THEN now() + interval '1 hour' END
"""
KEPT = "user_id, name, task_type, celery_task_name, args, kwargs, priority, queue"


def fill(db: Session, finished: int, waiting: int = 3000) -> None:
    """So many finished rows, and some thousands that wait: due, sent, expired or none of it."""
    like = new_task(db, new_user(db)).id
    for columns, number in ((FINISHED, finished), (WAITING, waiting)):
        source = f"FROM tasks, generate_series(1, {number}) n WHERE id = '{like}'"
        db.execute(text(f"INSERT INTO tasks (id, celery_id, {KEPT}, {columns.format(kept=KEPT)} {source}"))
    # As a worker's row looks once it has said goodbye: what it holds is rescued.
    db.add(WorkerProcess(id=WORKER.id, name=WORKER.name, pid=1, queues=QUEUES, concurrency=1))
    db.commit()
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))
        connection.invalidate()  # with its setting


@contextmanager
def filled(services: Services, finished: int, waiting: int = 3000) -> Iterator[Session]:
    with (
        pytest.MonkeyPatch.context() as patched,
        on_new_database(services, DATABASE_STATEMENT_TIMEOUT_SECONDS="600"),
        SessionLocal() as db,
    ):
        patched.setattr("app.messaging.publisher.publish", lambda dispatches: None)
        fill(db, finished, waiting)
        yield db


# What is looked at


def keeper_pass(db: Session) -> None:
    """All that the leading maintenance loop asks of the database, the broker's part left out."""
    lease.acquire(db, new_id(), get_settings())
    passes.rescue_lost(db, silent_for=timedelta(seconds=30))
    passes.revoke_expired(db)
    passes.delete_requested(db)
    passes.forget_workers(db)
    passes.anything_due(db)
    lost_messages.LostMessages().stuck(db, QUEUES)
    taken = due.take_due(db, 5.0)
    due.mark_dispatched(db, taken)


def resends(db: Session) -> None:
    looks = lost_messages.LostMessages()
    looks.stuck(db, QUEUES)
    for front in looks.stuck(db, QUEUES):
        lost_messages.resend_overtaken(db, front, 10)
    passes.resend_all(db)


def an_attempt(db: Session, end: Callable[[Task, int], Any]) -> Task:
    task = new_task(db, max_attempts=3)
    taken = claim(db, task)
    attempts.report_progress(db, task.id, taken.attempt, 50, None)
    attempts.is_cancelled(db, task.id, taken.attempt)
    end(task, taken.attempt)
    db.commit()
    return task


def attempts_to_every_end(db: Session) -> None:
    child = (Task.worker_id == WORKER.id, Task.worker_pid == WORKER.pid)
    ends: list[Callable[[Task, int], Any]] = [
        lambda task, mine: attempts.succeed(db, task.id, mine, None),
        lambda task, mine: succeed_together(db, [Success(task.id, mine, None)]),
        lambda task, mine: attempts.fail(db, task.id, mine, ERROR),
        lambda task, mine: attempts.retry_later(db, task.id, mine, ERROR, NextTry(0)),
        lambda task, mine: attempts.hand_back(db, task.id, mine, "why"),
        lambda task, mine: attempts.revoke(db, task.id, mine, "ignored"),
        lambda task, _: rescue.lost(db, Task.id == task.id, *child),
        lambda task, _: rescue.overran(db, 1.0, Task.id == task.id, *child),
        lambda task, _: rescue.handed_back(db, "why", Task.id == task.id, *child),
        lambda task, _: attempts.find_claim(db, task.id, new_id()),
        lambda task, _: attempts.claim(db, Ticket(task.id, 1, task.celery_task_name), new_id(), WORKER),
    ]
    for end in ends:
        an_attempt(db, end)


def clients(db: Session) -> None:
    task = new_task(db)
    task_service.update_task(db, task.id, {"priority": "high"})
    task_service.cancel(db, task.id)
    task_service.retry_task(db, task.id)
    claim(db, task_service.get_task(db, task.id))
    task_service.cancel(db, task.id)
    task_service.delete(db, task.id, force=True)
    task_service.update_task_status(db, task.id, "revoked")
    task_service.delete(db, task.id)


def marks(db: Session) -> None:
    due.mark_dispatched(db, [Dispatch.of(new_task(db))])


def purge(db: Session) -> None:
    """Nothing is old enough: the pass that finds nothing is the one that runs each hour."""
    task_service.purge_finished(db, 30)


def trim(db: Session) -> None:
    """Of a user who owns nearly all of the rows: a batch, and the pass that finds nobody beyond the limit."""
    busy = db.execute(text("SELECT min(id::text)::uuid FROM users")).scalar_one()
    retention.delete_oldest(db, busy, 10_000, timedelta(hours=1), 500)
    passes.trim_stored(db, 10**12)


def quota_looks(db: Session) -> None:
    """Of a user who owns nearly all of the rows, and of one who has none."""
    busy = db.execute(text("SELECT min(id::text)::uuid FROM users")).scalar_one()
    for user in (busy, new_user(db)):
        with Quotas().reserved(db, user, Load(1, 10)):
            pass


def live_looks(db: Session) -> None:
    """Of a user who owns nearly all of the rows, and of one who has none."""
    busy = db.execute(text("SELECT min(id::text)::uuid FROM users")).scalar_one()
    users = [busy, new_user(db)]
    task = new_task(db).id
    since = queries.now() - timedelta(minutes=5)
    queries.recent(users, since)
    for user in users:
        queries.changed_since(user, since, 1000)
    queries.versions([task])
    queries.read_rows([task], [task], users, lambda *_: True)


# How it is looked at


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def reads_everything(node: dict[str, Any]) -> bool:
    if node["Node Type"] == "Seq Scan":
        return bool(node["Relation Name"] == "tasks")
    of_tasks = node["Node Type"] in SCANS and "tasks" in node["Index Name"] and "attempts" not in node["Index Name"]
    return of_tasks and "Index Cond" not in node and node["Index Name"] not in ACTIVE_ONLY


def goes_through_what_is_active(node: dict[str, Any]) -> bool:
    return node.get("Index Name") in ACTIVE_ONLY


def wrong_plans(
    db: Session, work: Callable[[Session], None], is_wrong: Callable[[dict[str, Any]], bool] = reads_everything
) -> list[str]:
    sent: list[tuple[str, Any]] = []
    with before_each_statement(lambda *each: sent.append(each) if " tasks" in each[0] and each not in sent else None):
        work(db)
    assert sent
    cursor = db.connection().connection.cursor()
    wrong = []
    for statement, parameters in sent:
        if statement.startswith(("INSERT INTO tasks", "CREATE")):
            continue
        cursor.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        found = [node for node in nodes(cursor.fetchone()[0][0]["Plan"]) if is_wrong(node)]
        wrong += [f"{node['Node Type']} {node.get('Index Name', '')} in {statement}" for node in found]
    db.rollback()
    return wrong


def median(db: Session, work: Callable[[Session], Any]) -> float:
    work(db)
    times = []
    for _ in range(REPEATS):
        before = time.perf_counter()
        work(db)
        times.append(time.perf_counter() - before)
    return statistics.median(times)


WORK = [keeper_pass, resends, attempts_to_every_end, clients, purge, trim, quota_looks, live_looks]
NAMES = [work.__name__ for work in WORK]


@pytest.fixture(scope="module")
def small(services: Services) -> Iterator[Session]:
    with filled(services, SMALL) as db:
        yield db


@pytest.fixture(scope="module")
def quiet(services: Services) -> Iterator[Session]:
    with filled(services, SMALL, waiting=0) as db:
        yield db


@pytest.fixture(scope="module")
def big(services: Services) -> Iterator[Session]:
    with filled(services, BIG) as db:
        yield db


class TestPlans:
    @pytest.mark.parametrize("work", WORK, ids=NAMES)
    def test_nothing_reads_all_of_the_finished_rows(self, small: Session, work: Callable[[Session], None]) -> None:
        assert wrong_plans(small, work) == []

    @pytest.mark.full
    @pytest.mark.timeout(1800)
    @pytest.mark.parametrize("work", WORK, ids=NAMES)
    def test_nor_of_a_million(self, big: Session, work: Callable[[Session], None]) -> None:
        assert wrong_plans(big, work) == []


class TestOneRow:
    """While the statistics know of nothing that waits or runs, as after a quiet night; then a hundred thousand come."""

    @pytest.mark.parametrize("work", [attempts_to_every_end, clients, marks], ids=lambda work: work.__name__)
    def test_is_found_by_its_id(self, quiet: Session, work: Callable[[Session], None]) -> None:
        assert wrong_plans(quiet, work, goes_through_what_is_active) == []


class TestBatches:
    def test_one_is_no_larger_than_its_limit_whatever_the_plan(self, db: Session) -> None:
        """A table that was never analysed: a subquery with LIMIT may be run again for each row."""
        user = new_user(db)
        for _ in range(5):
            new_task(db, user)
        db.execute(text("UPDATE tasks SET dispatch_at = now() - interval '1 hour'"))
        assert [len(due.take_due(db, 5.0, 2)) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.full
class TestTimes:
    @pytest.mark.timeout(3600)
    def test_a_hundred_times_the_finished_rows_slow_nothing_down(self, services: Services) -> None:
        steps = [keeper_pass, attempts_to_every_end, purge]
        seen = {}
        for finished in (BIG // 100, BIG):
            with filled(services, finished) as db:
                seen[finished] = [median(db, step) for step in steps]
        ratios = {
            step.__name__: large / little
            for step, little, large in zip(steps, seen[BIG // 100], seen[BIG], strict=True)
        }
        assert max(ratios.values()) < RATIO, f"{ratios} of {seen}"
