"""Finished rows slow nothing down: the plans and the times of the maintenance passes and of each step of an attempt.

The statements are those that the real functions send. A plan is wrong where it reads `tasks` from end to end: by a
sequential scan, or through an index that holds the finished rows and that no condition narrows.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.postgresql import turns
from app.db.postgresql.claims import claim_next as claim_rows, give_back
from app.db.postgresql.prepared import Answer, Prepared
from app.db.session import SessionLocal, engine
from app.db.sql import attached_rows
from app.db.statements import retention
from app.db.statements.pending_rows import MOST_ROWS, PLACE_BATCH, LinesToServe
from app.live import queries
from app.maintenance import lease
from app.maintenance.loop import PASSES, WorkQuery
from app.maintenance.passes import task_states
from app.maintenance.passes.deletions import forget_pass, trim_stored
from app.maintenance.rounds import Needs, Round
from app.messaging.application import QUEUES
from app.models import Task, WorkerProcess
from app.models.task import TaskStatus, WaitingReason
from app.models.task_filter import TaskFilter
from app.services.execution import attempts, ends
from app.services.execution.attempts import NextTry
from app.services.execution.claims import Claims
from app.services.execution.ends import Success, end_successes
from app.services.task_service import task_service
from app.services.tasks import task_counts, task_queries
from app.services.tasks.quotas import Load, Quotas
from app.services.tasks.task_history import KeptLogs, LogFilter, LogLine, newest_output
from tests.support.retention import purge_finished
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.statements import before_each_statement
from tests.support.tasks import (
    ERROR,
    LONG_RUNNING,
    WORKER,
    claim,
    claim_next,
    lines_of,
    names,
    new_task,
    new_user,
    task_in,
)

pytestmark = pytest.mark.postgresql("its plans")

SMALL, BIG = 50_000, 1_000_000
# Partial indexes: only rows that wait, run, or are to be deleted stand in them.
ACTIVE_ONLY = {
    "ix_tasks_ready", "ix_tasks_unplaced", "ix_tasks_expiring", "ix_tasks_running", "ix_tasks_delete_requested",
    "ix_tasks_held_users", "ix_tasks_unknown",
}  # fmt: skip
SCANS = {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}
# How often a measured step is repeated, and how much slower a hundred times the finished rows may make it: what reads
# them all becomes a hundred times slower, what goes by an index two to three times (deeper, and less of it in memory).
REPEATS, RATIO = 30, 8.0

FINISHED = """
    status, error_fingerprint, started_at, finished_at, attempt, due_at, progress)
    SELECT uuidv7(- n * interval '1 second'), uuidv7(), {kept},
    CASE n % 10 WHEN 0 THEN 'failed' WHEN 1 THEN 'revoked' ELSE 'succeeded' END, CASE n % 10 WHEN 0 THEN md5('x') END,
    now() - n * interval '1 second', now() - n * interval '1 second', 1, NULL, 100
"""
WAITING = """
    status, due_at, turn, expires_at) SELECT uuidv7(), uuidv7(), {kept}, 'pending',
    now() + CASE WHEN n % 10 = 1 THEN interval '1 hour' ELSE interval '-1 second' END,
    CASE WHEN n % 10 <> 1 AND n % 100 <> 0 THEN n END,
    CASE n % 20 WHEN 0 THEN now() - interval '1 second' WHEN 1 THEN now() + interval '1 hour' END
"""
KEPT = "user_id, name, task_type, celery_task_name, args, kwargs, priority, queue"


def add(db: Session, columns: str, number: int) -> None:
    """So many rows like the first one."""
    source = f"FROM (SELECT * FROM tasks ORDER BY id LIMIT 1) like_it, generate_series(1, {number}) n"
    db.execute(text(f"INSERT INTO tasks (id, celery_id, {KEPT}, {columns.format(kept=KEPT)} {source}"))


def fill(db: Session, finished: int, waiting: int = 3000) -> None:
    """So many finished rows, and some thousands that wait: ready, due and without a turn, expired or none of it."""
    new_task(db, new_user(db))
    for columns, number in ((FINISHED, finished), (WAITING, waiting)):
        add(db, columns, number)
    # As a worker's row looks once it has said goodbye: what it holds is rescued.
    db.add(WorkerProcess(id=WORKER.id, name=WORKER.name, pid=1, queues=list(QUEUES), concurrency=1))
    db.commit()
    while task_counts.fold(db):
        pass  # else each pass of maintenance would add up a batch of these rows, and be measured with it
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
        patched.setattr("app.messaging.wakeups.publish", lambda queues: None)
        fill(db, finished, waiting)
        yield db


# What is looked at


def maintenance_pass(db: Session) -> None:
    """All that the leading maintenance loop asks of the database, the broker's part left out."""
    lease.acquire(db, new_id(), get_settings())
    this = Round(get_settings(), timedelta(seconds=30), Event())
    for one in (*PASSES, forget_pass()):  # that of PASSES looks once an hour
        if one.needs is not Needs.BROKER:
            one.run(db, this)
    task_states.ready_queues(db)
    with engine().connect() as connection, SessionLocal(bind=connection) as bound:  # else prepared, and not seen here
        WorkQuery(PASSES).find(bound)


def claims(db: Session) -> None:
    """A first look, one from a floor, and one that finds nothing."""
    own = Claims(lines_of())
    for _ in range(2):
        assert claim_next(db, short=[LONG_RUNNING], claims=own)
    claim_next(db, "high_priority")
    own.find(db, new_id(), WORKER)


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
    ways: list[Callable[[Task, int], Any]] = [
        lambda task, mine: ends.end_attempt(db, task.id, mine, ends.succeeded(None)),
        lambda task, mine: end_successes(db, [Success(task.id, mine, None)]),
        lambda task, mine: ends.end_attempt(db, task.id, mine, ends.failed(ERROR)),
        lambda task, mine: ends.end_attempt(db, task.id, mine, ends.retried(ERROR, NextTry(0))),
        lambda task, mine: ends.end_attempt(db, task.id, mine, ends.handed_back("why")),
        lambda task, mine: ends.end_attempt(db, task.id, mine, ends.stopped("ignored")),
        lambda task, _: ends.end_tasks(db, ends.lost("a test"), Task.id == task.id, *child),
        lambda task, _: ends.end_tasks(db, ends.overran(1.0), Task.id == task.id, *child),
        lambda task, _: ends.end_tasks(db, ends.handed_back("why"), Task.id == task.id, *child),
        lambda task, mine: give_back(db, [(task.id, mine, 1.0)]),
    ]
    for end in ways:
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


def place(db: Session) -> None:
    tasks = [new_task(db, commit=False).id for _ in range(2)]
    db.commit()
    turns.place(db, tasks)


def purge(db: Session) -> None:
    """Nothing is old enough: the pass that finds nothing is the one that runs each hour."""
    purge_finished(db, 30)


def trim(db: Session) -> None:
    """Of a user who owns nearly all of the rows: a batch, and the pass that finds nobody beyond the limit."""
    busy = db.execute(text("SELECT min(id::text)::uuid FROM users")).scalar_one()
    retention.delete_oldest(db, busy, 10_000, timedelta(hours=1), 500)
    trim_stored(db, 10**12)


def quota_looks(db: Session) -> None:
    """Of a user who owns nearly all of the rows, and of one who has none."""
    busy = db.execute(text("SELECT min(id::text)::uuid FROM users")).scalar_one()
    for user in (busy, new_user(db)):
        with Quotas().reserve(db, user, Load(1, 10)):
            pass


def live_looks(db: Session) -> None:
    """Of a user who owns nearly all of the rows, and of one who has none."""
    busy = db.execute(text("SELECT min(id::text)::uuid FROM users")).scalar_one()
    users = [busy, new_user(db)]
    task = new_task(db).id
    since = queries.database_time() - timedelta(minutes=5)
    queries.recent_tasks(users, since)
    for user in users:
        queries.changed_since(user, since, 1000)
    queries.read_versions([task])
    queries.read_rows([task], [task], users, lambda *_: True)


def log_lines(db: Session) -> None:
    """Of a second attempt, within its limit and beyond it; and their readers."""
    task = new_task(db)
    line = LogLine("2026-11-25T10:30:00Z", 20, "a.logger", "x" * 100, "{}")
    kept = KeptLogs(task.id, 2, 2 * line.bytes)
    for _ in range(3):
        kept.write(db, kept.numbered([line]))
    db.commit()
    task_service.list_logs(db, task.id, owner=task.user_id)
    queries.read_logs(task.id, task.user_id, LogFilter(), 0)


def output(db: Session) -> None:
    """What a task has emitted, and its readers."""
    task = task_in(db, TaskStatus.RUNNING)
    chunk = attached_rows.Chunk((1 << 32) + 1, "output", "2026-11-25T10:30:00Z", '"a text"', 142)
    for _ in range(2):
        assert attached_rows.write_output(db, task.id, 1, [chunk], has_ended=False)
        assert attached_rows.stored_output_bytes(db, task.id) == 142
    db.commit()
    for stream in (None, "output"):
        task_service.list_output(db, task.id, owner=task.user_id, stream=stream)
        queries.read_output(task.id, task.user_id, stream, 0)
    newest_output(db, task.id, 10, 1000)


def tasks_of_a_limit(db: Session) -> None:
    """That wait: of a user who owns nearly all of the rows, and of all users."""
    task_service.put_limit(db, "plans", concurrency=1)
    busy = db.execute(text("SELECT min(id::text)::uuid FROM users")).scalar_one()
    for _ in range(20):
        new_task(db, busy, limit="plans")
    for owner in (busy, None):
        wanted = TaskFilter(
            user_id=owner, status=[TaskStatus.PENDING], waiting_for=WaitingReason.LIMIT, limit_name="plans"
        )
        assert len(task_queries.shown_page(db, wanted, 10).items) == 10
        task_counts.count(db, wanted)
        task_counts.read_facets(db, wanted)


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
        if statement.startswith(("INSERT INTO tasks", "CREATE")) or "$1" in statement:
            continue  # what commits prepares is sent by a session besides
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


WORK = [
    maintenance_pass, claims, attempts_to_every_end, clients, purge, trim, quota_looks, live_looks, log_lines, output,
    tasks_of_a_limit,
]  # fmt: skip
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
def crowded(services: Services) -> Iterator[Session]:
    with filled(services, SMALL, waiting=60_000) as db:
        yield db


@pytest.fixture(scope="module")
def surprised(services: Services) -> Iterator[Session]:
    with filled(services, SMALL, waiting=0) as db:
        db.execute(text("ALTER TABLE tasks SET (autovacuum_enabled = false)"))
        add(db, WAITING, 60_000)
        db.commit()
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

    @pytest.mark.parametrize("work", [attempts_to_every_end, clients, place], ids=lambda work: work.__name__)
    def test_is_found_by_its_id(self, quiet: Session, work: Callable[[Session], None]) -> None:
        assert wrong_plans(quiet, work, goes_through_what_is_active) == []


def analysed(db: Session, statement: str, values: Any) -> list[dict[str, Any]]:
    """The nodes of its plan, executed; what it did is undone."""
    cursor = db.connection().connection.cursor()
    cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
    found = list(nodes(cursor.fetchone()[0][0]["Plan"]))
    db.rollback()
    return found


def sent_by(db: Session, work: Callable[[Session], object]) -> tuple[str, Any]:
    """The statement that it sends about tasks; what it did is undone."""
    sent: list[tuple[str, Any]] = []
    with before_each_statement(lambda *each: sent.append(each) if " tasks" in each[0] else None):
        work(db)
    db.rollback()
    (only,) = sent
    return only


def rows_read(found: list[dict[str, Any]], index: str) -> int:
    """Through this index, of all loops; also those that a filter threw away."""
    scans = [node for node in found if node.get("Index Name") == index]
    assert scans, [(node["Node Type"], node.get("Index Name")) for node in found]
    # PostgreSQL tells the average of the loops, rounded.
    return round(
        sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in scans)
    )


def sorted_rows(found: list[dict[str, Any]]) -> float:
    """How many rows the largest sort was given."""
    return max((node["Actual Rows"] * node["Actual Loops"] for node in found if "Sort" in node["Node Type"]), default=0)


class NotSent:
    """In place of a worker's connection: the statement, as it prepares it, and its values."""

    def execute(self, statement: Any, parameters: dict[str, Any]) -> Answer:
        self.prepared = Prepared(statement)
        self.values = self.prepared.values(parameters)
        return Answer([])


class TestRowsRead:
    """Where tens of thousands of tasks are ready in one line, and hundreds are due without a turn."""

    @pytest.fixture(params=["crowd", "crowd that came after the last look of autovacuum"])
    def crowd(self, request: pytest.FixtureRequest) -> Session:
        which: Session = request.getfixturevalue("crowded" if request.param == "crowd" else "surprised")
        return which

    @pytest.mark.parametrize("floor", [float("-inf"), 10_000.0])
    @pytest.mark.parametrize("limit", [1, MOST_ROWS])
    def test_a_claim_reads_those_that_it_takes(self, crowd: Session, floor: float, limit: int) -> None:
        """By the plan for any values, which a worker's prepared statement has from its sixth execution on."""
        child: Any = NotSent()
        queues, priorities = zip(*lines_of(), strict=True)
        lines = LinesToServe([*queues], [*priorities], [(floor, UUID(int=0))] * len(queues))
        claim_rows(child, limit, lines, names(LONG_RUNNING), new_id(), WORKER)
        cursor = crowd.connection().connection.cursor()
        cursor.execute(f"PREPARE {child.prepared.name} AS {child.prepared.text}")
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        found = analysed(crowd, child.prepared.call, child.values)
        crowd.connection().connection.cursor().execute(f"DEALLOCATE {child.prepared.name}")
        assert limit <= rows_read(found, "ix_tasks_ready") <= 2 * limit  # some have expired
        assert sorted_rows(found) <= limit
        (written,) = [node for node in found if node.get("Operation") == "Update" and node["Relation Name"] == "tasks"]
        assert rows_read(list(nodes(written)), "pk_tasks") == limit
        (scan,) = [node for node in found if node.get("Index Name") == "ix_tasks_ready"]
        for column in ("queue", "priority", "turn"):
            assert column in scan["Index Cond"]
        assert {"Limit", "LockRows"} <= {node["Node Type"] for node in found}

    def test_placing_reads_one_batch(self, crowd: Session) -> None:
        found = analysed(crowd, *sent_by(crowd, turns.place_due))
        assert rows_read(found, "ix_tasks_unplaced") == PLACE_BATCH
        assert rows_read(found, "pk_tasks") == PLACE_BATCH
        assert sorted_rows(found) <= PLACE_BATCH

    def test_the_look_for_ready_queues_reads_one_of_each(self, crowd: Session) -> None:
        found = analysed(crowd, *sent_by(crowd, lambda db: turns.ready_queues(db, [*QUEUES, "another"])))
        assert rows_read(found, "ix_tasks_ready") == 1


class TestBatches:
    def test_one_is_no_larger_than_its_limit_whatever_the_plan(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A table that was never analysed: a subquery with LIMIT may be run again for each row."""
        monkeypatch.setattr(task_states, "EXPIRED_BATCH", 2)
        user = new_user(db)
        for _ in range(5):
            new_task(db, user, expires_at="2020-01-01T00:00:00Z")
        assert [task_states.revoke_expired(db) for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.full
class TestTimes:
    @pytest.mark.timeout(3600)
    def test_a_hundred_times_the_finished_rows_slow_nothing_down(self, services: Services) -> None:
        steps = [maintenance_pass, attempts_to_every_end, purge]
        seen = {}
        for finished in (BIG // 100, BIG):
            with filled(services, finished) as db:
                seen[finished] = [median(db, step) for step in steps]
        ratios = {
            step.__name__: large / little
            for step, little, large in zip(steps, seen[BIG // 100], seen[BIG], strict=True)
        }
        assert max(ratios.values()) < RATIO, f"{ratios} of {seen}"
