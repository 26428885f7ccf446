"""GET /stats: what was created and what ended in each step, how long tasks waited and ran, and for whom."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import Float, bindparam, insert, select, text
from sqlalchemy.orm import Session

from app.core.duration_buckets import LAST, middle_of, start_of
from app.core.ids import new_id
from app.db.postgresql.counts import bucket_of
from app.db.session import SessionLocal
from app.ddl.columns import Base
from app.models.task import Task, TaskStatus
from app.models.task_stats import ALL_USERS, KEPT, KINDS, KINDS_OF_ONE, OTHER, begin_of_step, task_durations, task_stats
from app.services.execution import ends
from app.services.execution.ends import Ending, Success, end_successes
from app.services.operations import stats_service
from app.services.operations.stats_service import LARGEST, WINDOWS, StatsWindow
from app.services.task_service import task_service
from app.services.tasks import task_counts
from tests.support.accounts import API, bearer
from tests.support.retention import forget
from tests.support.services import Services
from tests.support.settings import on_new_database, sql
from tests.support.spelling import spelled
from tests.support.task_client import BODY, TaskClient, module_client
from tests.support.tasks import claim, new_task, new_user, task_in
from tests.support.waiting import wait_for

client = module_client()
NUMBERS = ("submitted", "succeeded", "failed", "revoked")
NOTHING = {"p50": None, "p95": None, "p99": None}


def fold(db: Session) -> None:
    while task_counts.fold(db) or stats_service.add_submissions(db):
        pass


def totals(stats: Any) -> dict[str, list[int]]:
    """The sums of each key, in the order of NUMBERS."""
    series = stats["series"] if isinstance(stats, dict) else [vars(each) for each in stats.series]
    return {each["key"]: [sum(each[name]) for name in NUMBERS] for each in series}


@pytest.fixture
def ask(client: httpx.Client) -> Callable[..., Any]:
    def ask(who: TaskClient, **params: Any) -> Any:
        with SessionLocal() as db:
            fold(db)
        answer = client.get(f"{API}/stats", params=params, headers=who.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask


class TestTheAnswer:
    def test_has_a_number_for_each_step_and_zeros(self, tasks: TaskClient, ask: Callable[..., Any]) -> None:
        before = datetime.now(UTC)
        for status in TaskStatus:
            tasks.task_in(status)
        tasks.create(task_type="data", priority="high")
        for window, (seconds, number) in WINDOWS.items():
            stats = ask(tasks, window=window)
            begin, end = datetime.fromisoformat(stats["from"]), datetime.fromisoformat(stats["to"])
            assert stats["step_seconds"] == seconds
            assert end - begin == timedelta(seconds=seconds * number)
            assert begin.timestamp() % seconds == 0
            assert before < end <= datetime.now(UTC) + timedelta(seconds=seconds)
            assert totals(stats) == {"test": [5, 1, 1, 1], "data": [1, 0, 0, 0]}
            lists = [each[name] for each in stats["series"] for name in NUMBERS]
            over_time = [values for of in stats["over_time"].values() for values in of.values()]
            assert {len(each) for each in (*lists, *over_time)} == {number}
            # All of it within the last steps: the clock may have passed into the next one.
            assert not any(any(each[:-2]) for each in (*lists, *over_time))

    def test_is_by_type_queue_or_priority(self, tasks: TaskClient, ask: Callable[..., Any]) -> None:
        tasks.create(task_type="a", priority="high")
        tasks.create(task_type="b", priority="critical")
        tasks.create(task_type="b")
        assert ask(tasks) == ask(tasks, window="1h", by="type")
        assert totals(ask(tasks)) == {"a": [1, 0, 0, 0], "b": [2, 0, 0, 0]}
        assert [each["key"] for each in ask(tasks)["series"]] == ["b", "a"]  # the largest first
        assert totals(ask(tasks, by="queue")) == {"high_priority": [2, 0, 0, 0], "default": [1, 0, 0, 0]}
        assert set(totals(ask(tasks, by="priority"))) == {"high", "critical", "normal"}

    def test_of_nobody_is_empty(self, tasks: TaskClient, ask: Callable[..., Any]) -> None:
        stats = ask(tasks)
        assert (stats["series"], stats["wait_seconds"], stats["run_seconds"]) == ([], NOTHING, NOTHING)
        assert stats["over_time"]["run_seconds"]["p50"] == [None] * 60

    @pytest.mark.parametrize("params", [{"window": "2h"}, {"by": "name"}, {"user_id": "x"}])
    def test_bad_input_is_refused(self, client: httpx.Client, tasks: TaskClient, params: dict[str, str]) -> None:
        answer = client.get(f"{API}/stats", params=params, headers=tasks.headers)
        assert (answer.status_code, answer.json()["errors"][0]["loc"][:2]) == (422, ["query", *params])

    def test_shows_administrators_all_or_one_and_others_their_own(
        self, client: httpx.Client, tasks: TaskClient, admin: TaskClient, ask: Callable[..., Any]
    ) -> None:
        kind = f"of {tasks.user['id']}"
        tasks.create(task_type=kind)
        for params in ({}, {"user_id": "all"}, {"user_id": tasks.user["id"]}):
            assert totals(ask(admin, **params))[kind] == [1, 0, 0, 0]
        assert kind not in totals(ask(admin, user_id=admin.user["id"]))
        assert totals(ask(tasks, user_id=tasks.user["id"])) == {kind: [1, 0, 0, 0]}
        for other in ("all", admin.user["id"]):
            answer = client.get(f"{API}/stats", params={"user_id": other}, headers=tasks.headers)
            assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")
        key = client.post(f"{API}/auth/api-keys", headers=admin.headers, json={"name": "k", "scopes": ["tasks:read"]})
        plain = client.get(f"{API}/stats", headers=bearer(key.json()["key"])).json()
        assert kind not in totals(plain)


class TestSubmitted:
    def test_counts_each_row_of_every_way_to_create_one(self, tasks: TaskClient, ask: Callable[..., Any]) -> None:
        tasks.post("batch", {"tasks": [BODY] * 3 + [BODY | {"task_type": "other kind"}]})
        for _ in range(2):
            tasks.post(body=BODY, headers={"Idempotency-Key": "once"})
            tasks.post(body=BODY | {"unique_key": "k", "on_conflict": "return"})
            tasks.post(body=BODY | {"unique_key": "l", "on_conflict": "replace"})
        with SessionLocal() as db:
            task_service.create_task(db, "n", "data", BODY["celery_task_name"], [1], user_id=UUID(tasks.user["id"]))
            # Rolled back with what it belongs to.
            new_task(db, UUID(tasks.user["id"]), task_type="data", commit=False)
            db.rollback()
        assert totals(ask(tasks)) == {"data": [7, 0, 0, 0], "other kind": [1, 0, 0, 0]}

    def test_a_retry_and_a_deletion_change_nothing_that_has_happened(
        self, tasks: TaskClient, ask: Callable[..., Any]
    ) -> None:
        failed, revoked = tasks.task_in("failed"), tasks.task_in("revoked")
        tasks.post(f"{failed}/retry")
        tasks.post(f"{failed}/cancel")
        tasks.patch(revoked, {"tags": ["x"]})
        tasks.delete(revoked)
        assert totals(ask(tasks)) == {"test": [2, 0, 1, 2]}


class TestDurations:
    @pytest.mark.postgresql("elsewhere Python finds them")
    def test_the_database_finds_the_same_buckets(self, db: Session) -> None:
        around = [start_of(bucket) * factor for bucket in range(1, LAST + 1) for factor in (1.0001, 1.1, 1.18)]
        seconds = [-1.0, 0.0, 0.0009, *around, 1e9]
        value = bindparam("seconds", type_=Float)
        statement = text(f"SELECT {bucket_of('CAST(:seconds AS float8)')}").bindparams(value)
        found = [db.execute(statement, {"seconds": each}).scalar_one() for each in seconds]
        expected = [0, 0, 0, *(bucket for bucket in range(1, LAST + 1) for _ in range(3)), LAST]
        assert found == expected
        assert db.execute(statement, {"seconds": None}).scalar_one() is None

    def test_wait_is_from_due_to_start_and_run_from_start_to_end(
        self, tasks: TaskClient, ask: Callable[..., Any]
    ) -> None:
        user = UUID(tasks.user["id"])
        with SessionLocal() as db:
            tasks_of_user = [new_task(db, user) for _ in range(100)]
            claimed = [Success(task.id, claim(db, task).attempt, None) for task in tasks_of_user]
            assert {each.attempt for each in claimed} == {1}
            db.commit()  # the time of a transaction of PostgreSQL begins here
            for number, each in enumerate(claimed):
                waited, ran = (1000.0, 9000.0) if number < 3 else (2.0, 40.0)
                created = "created_at = now() - :waited * interval '1 second' - :ran * interval '1 second'"
                started = "started_at = now() - :ran * interval '1 second'"
                statement = f"UPDATE tasks SET {created}, {started} WHERE id = :id"
                db.execute(spelled(statement, {"waited": waited, "ran": ran, "id": each.task_id}))
            # At one time, so that all of them are of one step: the clock may pass into the next one between two ends.
            assert len(end_successes(db, claimed)) == len(claimed)
            db.commit()
        stats = ask(tasks)
        for name, usual, rare in (("wait_seconds", 2, 1000), ("run_seconds", 40, 9000)):
            assert stats[name] == {
                "p50": pytest.approx(usual, rel=0.1),
                "p95": pytest.approx(usual, rel=0.1),
                "p99": pytest.approx(rare, rel=0.1),
            }
            assert [each for each in stats["over_time"][name]["p99"] if each] == [pytest.approx(rare, rel=0.1)]

    @pytest.mark.parametrize(
        "ending", [lambda: ends.lost("a test"), lambda: ends.handed_back("stopped")], ids=["lost", "handed_back"]
    )
    def test_an_attempt_that_came_to_nothing_is_no_wait(
        self, tasks: TaskClient, ask: Callable[..., Any], ending: Callable[[], Ending]
    ) -> None:
        with SessionLocal() as db:
            task = new_task(db, UUID(tasks.user["id"]))
            claim(db, task)
            assert ends.end_tasks(db, ending(), Task.id == task.id) == 1
            claim(db, task)
            created = "UPDATE tasks SET created_at = created_at - interval '1000 s' WHERE id = :id"
            ended = "UPDATE task_attempts SET finished_at = finished_at - interval '10 s' WHERE task_id = :id"
            for statement in (created, ended):
                db.execute(spelled(statement, {"id": task.id}))
            task_service.update_task_status(db, task.id, "succeeded")
        assert ask(tasks)["wait_seconds"]["p99"] == pytest.approx(10, rel=0.1)

    def test_what_never_ran_or_was_due_at_an_unknown_time_is_left_out(self, db: Session) -> None:
        user = new_user(db)
        task_in(db, TaskStatus.REVOKED, user)  # never started
        again = task_in(db, TaskStatus.FAILED, user)
        fold(db)
        measured = select(task_durations.c.measure, task_durations.c.number).where(
            task_durations.c.user_id == user, task_durations.c.step_seconds == 60
        )
        assert sorted(map(tuple, db.execute(measured))) == [("run", 1), ("wait", 1)]
        task_service.retry_task(db, again.id)
        claim(db, again)
        task_service.update_task_status(db, again.id, "succeeded")
        fold(db)
        runs = sum(number for measure, number in db.execute(measured) if measure == "run")
        waits = sum(number for measure, number in db.execute(measured) if measure == "wait")
        assert (runs, waits) == (2, 1)


@pytest.fixture
def within_an_hour() -> None:
    """Until the hour of the submissions has at least a minute left: its row is one for each kind."""
    wait_for(lambda: datetime.now(UTC).minute < 59, 70, "the next hour")


@pytest.mark.usefixtures("within_an_hour")
class TestTheDayBefore:
    @pytest.mark.parametrize(("window", "hours"), [("1h", (23, 25)), ("24h", (23, 49))])
    def test_has_the_same_hours_of_yesterday(self, db: Session, window: str, hours: tuple[int, int]) -> None:
        user, (newest, oldest) = new_user(db), hours
        hour = begin_of_step(datetime.now(UTC), 3600)
        rows = [
            {"user_id": user, "step_seconds": 3600, "at": hour - timedelta(hours=ago), "measure": "run",
             "bucket": bucket, "number": 1}
            for ago, bucket in ((newest, 1), (newest + 1, 20), (oldest, 40))
        ]  # fmt: skip
        db.execute(insert(task_durations), rows)
        found = stats_service.durations_a_day_before(db, user, window=window)
        assert found["wait_seconds"] == NOTHING
        assert found["run_seconds"]["p99"] == pytest.approx(middle_of(40 if window == "1h" else 20), rel=0.01)

    def test_of_another_window_is_refused(self, db: Session) -> None:
        with pytest.raises(ValueError, match="2h"):
            stats_service.durations_a_day_before(db, window="2h")


class TestOneKey:
    def test_is_what_the_series_of_all_keys_have_of_it(self, db: Session) -> None:
        user = new_user(db)
        for status, priority in (
            ("succeeded", "normal"),
            ("failed", "normal"),
            ("pending", "normal"),
            ("failed", "low"),
        ):
            task_in(db, TaskStatus(status), user, priority=priority)
        fold(db)
        for window in StatsWindow:
            of_all = {each.key: each for each in task_service.get_stats(db, user, window=window, by="queue").series}
            found = stats_service.get_stats_of(db, "default", user, window=window, by="queue")
            assert found.series == of_all["default"]
            assert (sum(found.series.submitted), sum(found.series.failed)) == (3, 1)
            assert (found.to - found.from_).total_seconds() == found.step_seconds * len(found.series.failed)
        assert sum(stats_service.get_stats_of(db, "nowhere", user, by="queue").series.submitted) == 0
        assert sum(stats_service.get_stats_of(db, "low_priority", by="queue").series.failed) == 1


class TestBounds:
    def test_a_user_with_many_types_fills_no_more_rows_than_others(self, db: Session) -> None:
        user = new_user(db)
        for first in range(0, KINDS + 30, 65):
            for number in range(first, first + 65):
                new_task(db, user, task_type=f"type {number}", priority="low" if number % 2 else "normal")
            fold(db)
        new_task(db, user, task_type="type 0")  # known already
        fold(db)
        stats = task_service.get_stats(db, user)
        assert len(stats.series) == LARGEST + 1
        assert (stats.series[-1].key, sum(stats.series[-1].submitted)) == ("other", KINDS - LARGEST + 30)
        assert sum(sum(each.submitted) for each in stats.series) == KINDS + 31
        assert totals(task_service.get_stats(db, user, by="priority"))["low"][0] == (KINDS + 30) // 2
        for owner, most in ((user, KINDS), (ALL_USERS, KINDS_OF_ONE)):
            rows = select(task_stats.c.task_type).where(
                task_stats.c.user_id == owner, task_stats.c.step_seconds == 3600
            )
            kinds = list(db.scalars(rows))
            assert len(kinds) == most + kinds.count(OTHER)
            assert kinds.count(OTHER) == 2

    def test_a_user_with_many_types_leaves_room_for_those_of_others(self, db: Session) -> None:
        many, few, more = (new_user(db) for _ in range(3))
        for first in (0, 40, 80):
            for number in range(first, first + 40):
                new_task(db, many, task_type=f"type {number}")
            fold(db)
        for number in (1, 2, 119):  # the last one of them is not among those of all users
            new_task(db, few, task_type=f"type {number}")
        new_task(db, few, task_type="their own")
        fold(db)
        for number in range(KINDS):  # two such users fill the numbers of all users, and no more than that
            new_task(db, more, task_type=f"another {number}")
        fold(db)
        columns = task_stats.c
        of_all = (columns.user_id == ALL_USERS, columns.step_seconds == 3600)
        found = {row.task_type: row.submitted for row in db.execute(select(task_stats).where(*of_all))}
        assert (found["type 1"], found["type 119"], found["their own"]) == (2, 1, 1)
        assert (len(found), sum(found.values())) == (KINDS, 120 + 4 + KINDS)

    def test_the_fifty_largest_are_shown_and_the_rest_is_other(self, db: Session) -> None:
        user = new_user(db)
        for number in range(LARGEST + 5):
            new_task(db, user, task_type=f"type {number:02}")
        for _ in range(2):
            new_task(db, user, task_type="type 54")
        fold(db)
        stats = task_service.get_stats(db, user)
        shown = totals(stats)
        assert [each.key for each in stats.series][:2] == ["type 54", "type 00"]
        assert (stats.series[-1].key, len(shown), shown["other"]) == ("other", LARGEST + 1, [5, 0, 0, 0])

    def test_what_no_window_shows_is_deleted(self, db: Session) -> None:
        task_in(db, TaskStatus.SUCCEEDED)
        fold(db)
        assert forget(db, "task_stats", "task_durations") == 0
        for age, left in ((timedelta(hours=3), {900, 3600}), (timedelta(days=1), {3600}), (timedelta(days=7), set())):
            for table in (task_stats, task_durations):
                db.execute(table.update().values(at=table.c.at - age))
            assert forget(db, "task_stats", "task_durations") > 0
            for table in (task_stats, task_durations):
                assert set(db.scalars(select(table.c.step_seconds))) == left

    def test_rows_that_came_in_older_than_that_are_not_added(self, db: Session) -> None:
        task = task_in(db, TaskStatus.SUCCEEDED)
        fold(db)
        kept = db.execute(select(task_stats)).all()
        table = Base.metadata.tables["tasks"]
        row = db.execute(select(table).where(table.c.id == task.id)).mappings().one()
        assert task.finished_at is not None
        for age in (*KEPT.values(), timedelta(days=400)):
            ended = task.finished_at - age - timedelta(hours=1)
            db.execute(insert(table), {**row, "id": new_id(), "celery_id": new_id(), "finished_at": ended})
        fold(db)
        added = {tuple(row)[:3] for row in db.execute(select(task_stats)).all()} - {tuple(row)[:3] for row in kept}
        assert {row[1] for row in added} == {900, 3600}


@pytest.mark.full
@pytest.mark.postgresql("its SQL makes the rows")
class TestManyRows:
    @pytest.fixture
    def filled(self, services: Services) -> Iterator[Session]:
        with on_new_database(services, DATABASE_STATEMENT_TIMEOUT_SECONDS="600"), SessionLocal() as db:
            yield db

    @pytest.mark.timeout(900)
    def test_rows_are_added_up_and_nothing_is_lost(self, filled: Session) -> None:
        """Milliseconds: docs/adr/0047."""
        user = new_user(filled)
        sql(FILL, user=user)
        fold(filled)
        rows = "SELECT count(*) FROM tasks WHERE status = :status AND finished_at >= :from"
        for owner in (None, user):
            stats = task_service.get_stats(filled, owner, window=StatsWindow.WEEK)
            for name in ("succeeded", "failed"):
                shown = sum(sum(getattr(each, name)) for each in stats.series)
                assert shown == filled.execute(text(rows), {"status": name, "from": stats.from_}).scalar_one()
        sums = "SELECT count(*), min(count), max(count) FROM error_groups"
        assert tuple(filled.execute(text(sums)).one()) == (1000, 100, 100)
        group = task_service.list_error_groups(filled, limit=1).items[0]
        assert task_service.get_task_count(filled, error=group.fingerprint) == group.count == 100


# As many successes as failures, which are in a thousand groups, over a week.
FILL = """
INSERT INTO tasks (id, celery_id, user_id, name, task_type, celery_task_name, args, kwargs, priority, queue, attempt,
    status, error_type, error_message, error_fingerprint, created_at, started_at, finished_at, due_at)
SELECT uuidv7(at - clock_timestamp()), uuidv7(), :user, 'a task', 'type ' || n % 70, 'a.task', '[1]', '{}', 'normal',
    'default', 1, CASE n % 2 WHEN 0 THEN 'failed' ELSE 'succeeded' END, CASE n % 2 WHEN 0 THEN 'ValueError' END,
    CASE n % 2 WHEN 0 THEN 'no ' || n % 2000 END, CASE n % 2 WHEN 0 THEN md5((n % 2000)::text) END, at, at, at, NULL
FROM generate_series(1, 200000) AS n, LATERAL (SELECT now() - n * interval '3 seconds' AS at) AS moment
"""
