"""Kept numbers of ended tasks: what a scan would count, in every snapshot, while others end, retry, delete and fold."""

import itertools
import random
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import first_id_at
from app.db.session import SessionLocal, engine
from app.db.sql import task_pages as page_statements
from app.db.statements import task_numbers
from app.ddl.terms import ATTEMPT_BYTES, ROW_BYTES, task_bytes
from app.errors import TaskNotFound
from app.maintenance.loop import Maintenance
from app.models import User
from app.models.task import Task, TaskStatus
from app.models.task_count import task_totals
from app.models.task_filter import TaskFilter
from app.services.execution import attempts, ends
from app.services.execution.attempts import AttemptError, NextTry
from app.services.task_service import task_service
from app.services.tasks import task_counts, task_queries
from tests.support.amounts import amount
from tests.support.databases import ENGINE
from tests.support.retention import forget, purge_finished
from tests.support.services import ROOT
from tests.support.spelling import spelled
from tests.support.tasks import claim, give_id, new_task, new_user, task_in

SCAN = text("SELECT status, count(*) FROM tasks WHERE task_type = 'test' GROUP BY status")
# The users of whom other bytes are kept, as the sums tell, than the rows tell.
WRONG_BYTES = text(f"""
SELECT user_id FROM (
    SELECT user_id, bytes FROM stored_bytes UNION ALL SELECT user_id, bytes FROM task_count_changes
    UNION ALL SELECT user_id, -({task_bytes("tasks")}) FROM tasks WHERE finished_at IS NOT NULL
) AS sums GROUP BY user_id HAVING sum(bytes) <> 0
""")
ENDS = (TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.REVOKED)
VERSION_7 = 0x7 << 76 | 0b10 << 62
OF_A_WRONG_CLOCK = UUID("00000000-0000-7000-8000-000000000000")
FILTERS = [TaskFilter(), TaskFilter(task_type="test")]


def agrees(db: Session) -> bool:
    """Numbers and bytes, all in one snapshot."""
    if db.execute(WRONG_BYTES).all():
        return False
    scanned = {str(status): number for status, number in db.execute(SCAN)}
    return all(
        {name: number for name, number in task_counts.count(db, wanted).items() if number and name != "total"}
        == scanned
        for wanted in FILTERS
    )


class TestOneAfterAnother:
    def steps(self, db: Session) -> Iterator[None]:
        user = new_user(db)
        tasks = {status: task_in(db, status, user) for status in TaskStatus}
        yield
        task_service.retry_task(db, tasks[TaskStatus.FAILED].id)
        yield
        task_service.update_task(db, tasks[TaskStatus.SUCCEEDED].id, {"name": "another", "tags": ["x"]})
        yield
        task_service.update_task(db, tasks[TaskStatus.SUCCEEDED].id, {"metadata": {"x": "é" * 50_000}})
        yield
        task_service.update_task(db, tasks[TaskStatus.SUCCEEDED].id, {"name": "more", "metadata": {}})
        yield
        db.execute(text("UPDATE tasks SET queue = 'elsewhere' WHERE status = 'succeeded'"))
        db.commit()
        yield
        task_service.delete(db, tasks[TaskStatus.SUCCEEDED].id)
        yield
        task_service.delete(db, tasks[TaskStatus.PENDING].id, force=True)
        yield
        other = new_user(db)
        for end in ENDS:
            task_in(db, end, other)
        yield
        db.execute(delete(User).where(User.id == other))
        db.commit()
        yield
        purge_finished(db, 0)

    @pytest.mark.parametrize("folds", [False, True], ids=["unfolded", "folded"])
    def test_the_numbers_are_those_of_a_scan(self, db: Session, folds: bool) -> None:
        for _ in self.steps(db):
            if folds:
                task_counts.fold(db)
            assert agrees(db)
        assert agrees(db)

    def test_submit_claim_and_progress_write_no_change(self, db: Session) -> None:
        task_in(db, TaskStatus.RUNNING)
        new_task(db)
        assert task_counts.fold(db) == 0

    def test_sums_of_nothing_are_dropped(self, db: Session) -> None:
        task_service.delete(db, task_in(db, TaskStatus.SUCCEEDED).id)
        task_counts.fold(db)
        kept = task_in(db, TaskStatus.SUCCEEDED)
        task_counts.fold(db)
        forget(db, "task_counts", "task_totals", "stored_bytes")
        assert db.execute(select(task_totals.c.number, task_totals.c.user_id)).all() == [(1, kept.user_id)]
        assert agrees(db)

    @pytest.mark.postgresql("elsewhere no trigger sees a TRUNCATE")
    def test_a_truncated_table_has_none(self, db: Session) -> None:
        task_in(db, TaskStatus.SUCCEEDED)
        task_counts.fold(db)
        task_in(db, TaskStatus.SUCCEEDED)
        db.execute(text("TRUNCATE tasks CASCADE"))
        assert agrees(db)


class TestBytes:
    """The rows' own numbers are right: an ended task counts all that is kept of it."""

    def stored(self, db: Session, user: UUID) -> int:
        everything = "SELECT user_id, bytes FROM stored_bytes UNION ALL SELECT user_id, bytes FROM task_count_changes"
        found = db.execute(spelled(f"SELECT sum(bytes) FROM ({everything}) AS s WHERE user_id = :user", {"user": user}))
        return int(found.scalar_one() or 0)

    def test_of_a_task_are_its_values_and_its_attempts(self, db: Session) -> None:
        user = new_user(db)
        task = new_task(
            db, user, args=[1.5], kwargs={"param": "k" * 5000}, metadata={"m": "m" * 200}, tags=["tag"], name="né",
            max_attempts=2,
        )  # fmt: skip
        assert self.stored(db, user) == 0
        first = claim(db, task)
        attempts.report_progress(db, task.id, first.attempt, 10, {"at": "p" * 300})
        error = AttemptError("ValueError", "m" * 40, "t" * 3000)
        ends.end_attempt(db, task.id, first.attempt, ends.retried(error, NextTry(0)))
        second = claim(db, task_service.get_task(db, task.id))
        ends.end_attempt(db, task.id, second.attempt, ends.succeeded("r" * 7000))
        db.commit()
        values = [
            *("[1.5]", '{"param":"' + "k" * 5000 + '"}', '{"m":"' + "m" * 200 + '"}', "tag"),
            *("né", "m" * 40, "t" * 3000, '"' + "r" * 7000 + '"'),
        ]
        assert self.stored(db, user) == ROW_BYTES + ATTEMPT_BYTES + sum(len(value.encode()) for value in values)
        task_service.update_task(db, task.id, {"metadata": {}})
        assert self.stored(db, user) == ROW_BYTES + ATTEMPT_BYTES + sum(
            len(value.encode()) for value in values if not value.startswith('{"m"')
        )
        task_service.delete(db, task.id)
        assert self.stored(db, user) == 0

    @pytest.mark.postgresql("the query writes sizes by a function of PostgreSQL's")
    def test_the_query_of_the_document_shows_who_keeps_how_much(self, db: Session) -> None:
        document = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        (query,) = re.findall(r"^```sql\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
        small, large = new_user(db), new_user(db)
        for user, size in ((small, 10), (large, 30_000)):
            task_in(db, TaskStatus.REVOKED, user, kwargs={"param": "x" * size})
            task_counts.fold(db)
        task_in(db, TaskStatus.REVOKED, small)  # not folded
        found = db.execute(text(query)).all()
        assert [(name, size.split()[1]) for name, size in found] == [
            (f"user-{large.hex}", "kB"),
            (f"user-{small.hex}", "bytes"),
        ]

    def test_every_way_to_end_an_attempt_counts_its_row(self, db: Session) -> None:
        user = new_user(db)
        ways: list[Callable[[UUID, int], object]] = [
            lambda task, attempt: ends.end_attempt(
                db, task, attempt, ends.failed(AttemptError("E", "message", "traceback"))
            ),
            lambda task, attempt: ends.end_attempt(db, task, attempt, ends.stopped("ignored")),
            lambda task, _: task_service.update_task_status(db, task, "failed", error="because"),
            lambda task, _: task_service.update_task_status(db, task, "revoked"),
            lambda task, _: ends.end_tasks(db, ends.lost("a test"), Task.id == task),
            lambda task, attempt: ends.end_attempt(db, task, attempt, ends.handed_back("shutting down")),
        ]
        for end in ways:
            task = new_task(db, user)
            end(task.id, claim(db, task).attempt)
            db.commit()
        kept = text("""
            SELECT attached_bytes, octet_length(name) + (
                SELECT sum(256 + octet_length(coalesce(error_message, '')) + octet_length(coalesce(traceback, '')))
                FROM task_attempts WHERE task_id = id
            ) FROM tasks
        """)
        found = db.execute(kept).all()
        assert len(found) == len(ways)
        assert [row for row in found if row[0] != row[1]] == []

    def test_a_task_from_before_they_were_counted_never_counts_less_than_nothing(self, db: Session) -> None:
        task = task_in(db, TaskStatus.SUCCEEDED, metadata={"m": "m" * 1000})
        db.execute(text("UPDATE tasks SET attached_bytes = 0"))
        db.commit()
        task_service.update_task(db, task.id, {"metadata": {}})
        assert db.execute(text("SELECT attached_bytes FROM tasks")).scalars().all() == [0]
        assert agrees(db)


def end_one(db: Session, chance: random.Random, users: list[UUID]) -> None:
    with suppress(TaskNotFound):  # purged meanwhile
        size = {"kwargs": {"param": "x" * chance.randrange(6000)}, "metadata": {"x": "x" * chance.randrange(3000)}}
        task = task_in(db, chance.choice(ENDS), chance.choice(users), **size)
        if chance.random() < 0.3:
            task_service.update_task(db, task.id, {"metadata": {"x": "y" * chance.randrange(9000)}})
        if chance.random() < 0.5 and task.status is not TaskStatus.SUCCEEDED:
            task_service.retry_task(db, task.id)
        elif chance.random() < 0.5:
            task_service.delete(db, task.id)


MOVES = amount(day=12, night=60)


@contextmanager
def crowd(users: list[UUID]) -> Iterator[Callable[[], bool]]:
    """Threads that end, retry, delete, purge and fold; whether the first ones still have to do their share."""
    over = threading.Event()

    def repeat(step: Callable[[Session, random.Random], object], seed: int, times: int = sys.maxsize) -> None:
        chance = random.Random(seed)
        with SessionLocal() as db:
            for _ in range(times):
                if over.is_set():
                    return
                step(db, chance)

    with ThreadPoolExecutor(6) as pool:
        enders = [pool.submit(repeat, lambda db, chance: end_one(db, chance, users), seed, MOVES) for seed in range(3)]
        others = [pool.submit(repeat, lambda db, _: task_counts.fold(db), 9) for _ in range(2)]
        purge = pool.submit(repeat, lambda db, chance: purge_finished(db, chance.random() * 1e-5), 9)
        try:
            yield lambda: not all(each.done() for each in enders)
        finally:
            over.set()
    for each in (*enders, *others, purge):
        each.result()


class TestAtOnce:
    @pytest.mark.timeout(120)
    @pytest.mark.usefixtures("fresh_database")
    def test_in_every_snapshot_the_numbers_are_those_of_a_scan(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.messaging.wakeups.publish", lambda dispatches: None)
        with SessionLocal() as db:
            users = [new_user(db) for _ in range(3)]
        seen: list[bool] = []
        snapshot = {} if ENGINE == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        one_snapshot = engine().connect().execution_options(**snapshot)
        with one_snapshot as connection, Session(connection) as reader, crowd(users) as goes_on:
            while goes_on():
                if ENGINE == "sqlite":
                    reader.connection().exec_driver_sql("BEGIN")
                seen.append(agrees(reader))
                reader.rollback()
        assert len(seen) > 10
        assert all(seen)
        with SessionLocal() as db:
            assert agrees(db)


class TestTimes:
    """Counts by time of creation come from ids; what lies near an edge, or was made by a wrong clock, from rows."""

    @pytest.fixture
    def moments(self, db: Session) -> list[datetime]:
        """Of one user's tasks: some together, some minutes and days apart, as ids of theirs tell it to the minute."""
        user = new_user(db)
        ids = [task_in(db, status, user).id for status in (*TaskStatus, *TaskStatus)]
        start = datetime(2026, 1, 2, tzinfo=UTC)
        for place, task_id in enumerate(ids):
            at = start + timedelta(seconds=place // 3 * 100 + (86_400 if place > 7 else 0), microseconds=place)
            told = first_id_at((at + timedelta(seconds=(-55, 0, 55)[place % 3])).timestamp())
            give_id(db, task_id, UUID(int=told.int | VERSION_7 | place), created_at=at)
        db.commit()
        return [*db.scalars(select(Task.created_at).order_by(Task.created_at))]

    def filters(self, user: UUID, edges: Sequence[datetime], far: Sequence[datetime]) -> Iterator[TaskFilter]:
        at_and_around = [at + step * task_numbers.INSTANT for at in edges for step in (-1, 0, 1)]
        for after, before in itertools.product((None, *at_and_around, *far), repeat=2):
            if after or before:
                yield TaskFilter(user, created_after=after, created_before=before)
        for at in at_and_around:
            for status in (ENDS, [TaskStatus.PENDING], [TaskStatus.FAILED, TaskStatus.RUNNING]):
                yield TaskFilter(user, status, created_after=at)
                yield TaskFilter(user, status, created_before=at)

    def disagreeing(self, db: Session, edges: Sequence[datetime], far: Sequence[datetime] = ()) -> list[TaskFilter]:
        found = db.execute(select(Task.created_at, Task.status, Task.user_id)).all()
        assert len(found) == 2 * len(TaskStatus)
        user = found[0].user_id

        def fits(row: Any, wanted: TaskFilter) -> bool:
            after = wanted.created_after is None or row.created_at > wanted.created_after
            before = wanted.created_before is None or row.created_at < wanted.created_before
            return after and before and (not wanted.status or row.status in wanted.status)

        return [
            wanted
            for wanted in self.filters(user, edges, far)
            if task_counts.count(db, wanted)["total"] != sum(fits(row, wanted) for row in found)
        ]

    @pytest.mark.parametrize("most", [True, False], ids=["by what is outside", "by what is inside"])
    def test_are_those_of_the_rows(
        self, db: Session, moments: list[datetime], monkeypatch: pytest.MonkeyPatch, most: bool
    ) -> None:
        monkeypatch.setattr(task_numbers, "holds_most_of_time", lambda *_: most)
        assert self.disagreeing(db, moments[::2]) == []

    def test_are_those_of_the_rows_whichever_looks_shorter(self, db: Session, moments: list[datetime]) -> None:
        far = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
        assert self.disagreeing(db, moments[::4], far) == []

    def test_also_with_an_id_of_a_wrong_clock(self, db: Session, moments: list[datetime]) -> None:
        give_id(db, db.scalars(select(Task.id).where(Task.created_at == moments[5])).one(), OF_A_WRONG_CLOCK)
        assert self.disagreeing(db, moments[4:7]) == []

    def test_of_nobody_are_none(self, db: Session) -> None:
        wanted = TaskFilter(new_user(db), created_after=datetime(2026, 1, 2, tzinfo=UTC))
        assert task_counts.count(db, wanted)["total"] == 0


class TestPages:
    def test_one_looks_so_far_and_says_where_it_stopped(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(task_queries, "PAGE_LOOK", 5)
        user = new_user(db)
        made = [task_in(db, ENDS[n % 3], user, name="rare" if n % 7 == 0 else "often").id for n in range(20)]
        wanted = TaskFilter(user_id=user, name="are")
        expected = [made[n] for n in (14, 7, 0)]
        seen, edge, pages = [], None, 0
        while pages == 0 or edge is not None:
            tasks, edge = task_service.list_page(db, wanted, 2, before=edge)
            seen += [task.id for task in tasks]
            pages += 1
        assert seen == expected
        assert pages > 2
        assert [task.id for task in task_service.get_tasks(db, user, name="are")] == expected
        assert [task.id for task in task_service.get_tasks(db, user, name="are", skip=1)] == expected[1:]

    @pytest.mark.parametrize(
        "most",
        [
            pytest.param(32, id="by kind", marks=pytest.mark.postgresql("a stream of ids for each kind")),
            pytest.param(0, id="too many kinds"),
        ],
    )
    def test_a_rare_kind_is_found(self, db: Session, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        monkeypatch.setattr(page_statements, "MAX_KINDS", most, raising=ENGINE == "postgresql")
        monkeypatch.setattr(task_queries, "PAGE_LOOK", 9 if most else 10_000)
        user = new_user(db)
        rare = task_in(db, TaskStatus.FAILED, user, task_type="rare")
        for n in range(20):
            task_in(db, ENDS[n % 3], user)
        waiting = new_task(db, user, task_type="rare")
        tasks, edge = task_service.list_page(db, TaskFilter(user_id=user, task_type="rare"), 50)
        assert [task.id for task in tasks] == [waiting.id, rare.id]
        assert edge is None
        assert task_service.list_page(db, TaskFilter(user_id=user, task_type="none"), 50) == ([], None)

    @pytest.mark.postgresql("a stream of ids for each kind")
    def test_one_that_ends_meanwhile_as_the_first_of_its_kind_is_there(
        self, db: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        task = task_in(db, TaskStatus.RUNNING)
        looked = page_statements.number_of_kinds

        def ended_after(*arguments: Any) -> int | None:
            number = looked(*arguments)
            ends.end_attempt(db, task.id, 1, ends.succeeded(None))
            db.commit()
            return number

        monkeypatch.setattr(page_statements, "number_of_kinds", ended_after)
        tasks, edge = task_service.list_page(db, TaskFilter(user_id=task.user_id, task_type="test"), 50)
        assert ([found.status for found in tasks], edge) == ([TaskStatus.SUCCEEDED], None)

    @pytest.mark.parametrize(
        "filters", [{}, {"status": ENDS}, {"task_type": "test"}, {"name": "a"}], ids=lambda filters: str(*filters)
    )
    def test_what_is_passed_over_is_what_would_have_come(self, db: Session, filters: dict[str, Any]) -> None:
        user = new_user(db)
        for n in range(12):
            task_in(db, ENDS[n % 3], user)
        wanted = TaskFilter(user_id=user, **filters)
        ids = [task.id for task in task_service.list_page(db, wanted, 50)[0]]
        assert len(ids) == 12
        for skip, limit in itertools.product((1, 5, 11, 12), (1, 5, 12)):
            tasks, edge = task_service.list_page(db, wanted, limit, skip=skip)
            assert [task.id for task in tasks] == ids[skip : skip + limit]
            assert edge == (tasks[-1].id if skip + limit < len(ids) else None)

    def test_a_page_of_nothing_is_empty(self, db: Session) -> None:
        task = new_task(db)
        assert task_service.get_tasks(db, task.user_id, limit=0) == []

    def test_an_id_of_a_wrong_clock_hides_no_task(self, db: Session) -> None:
        user = new_user(db)
        task = task_in(db, TaskStatus.SUCCEEDED, user)
        wanted = TaskFilter(user_id=user, created_after=task.created_at.replace(year=2020))
        give_id(db, task.id, OF_A_WRONG_CLOCK)
        assert len(task_service.list_page(db, wanted, 50)[0]) == task_counts.count(db, wanted)["total"] == 1


def test_maintenance_folds(db: Session) -> None:
    task_in(db, TaskStatus.SUCCEEDED)
    maintenance = Maintenance(get_settings())
    assert maintenance.run_once(db)
    maintenance.close()
    assert db.execute(text("SELECT count(*) FROM task_count_changes")).scalar_one() == 0
    assert agrees(db)
