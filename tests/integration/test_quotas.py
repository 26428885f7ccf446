"""What one user may have queued and send: exact in one process, bounded in two, and each user's own."""

import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ClassVar
from uuid import UUID

import httpx
import pytest
from sqlalchemy.orm import Session

from app.core.config import Settings, get_settings
from app.db.session import SessionLocal
from app.ddl.terms import ROW_BYTES
from app.errors import QuotaExceeded, TooManyBytesQueued, TooManyBytesStored, TooManyTasksQueued, UnknownTask
from app.models.task import TaskStatus
from app.schemas.task import TaskCreate
from app.services.execution import ends
from app.services.task_service import task_service
from app.services.tasks import quotas
from app.services.tasks.new_rows import rows_of
from app.services.tasks.quotas import Load, Quotas
from tests.support.accounts import bearer
from tests.support.ahead import Ahead
from tests.support.spelling import spelled
from tests.support.stack import Stack
from tests.support.statements import before_each_statement
from tests.support.task_client import BODY, TASKS, TaskClient, module_client
from tests.support.tasks import claim, new_user, task_in
from tests.support.waiting import wait_for

client = module_client()
Limits = Callable[..., None]
Passes = Callable[[float], None]
WANTED = TaskCreate.model_validate(BODY)
PENDING = "SELECT count(*) FROM tasks WHERE user_id = :user AND status IN ('pending', 'running')"


@pytest.fixture
def limits(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> Limits:
    """`limits(queued_tasks=10)`: this quota alone."""
    settings = get_settings()

    def limit(**named: int) -> None:
        for name in ("queued_tasks", "queued_bytes", "tasks_per_minute", "stored_bytes"):
            monkeypatch.setattr(settings, f"quota_{name}", named.get(name, 0))

    limit()
    return limit


@pytest.fixture
def user(client: httpx.Client) -> UUID:
    with SessionLocal() as db:
        return new_user(db)


def submit(user: UUID, number: int = 1) -> bool:
    """Whether so many tasks were accepted together, by what the API calls."""
    with SessionLocal() as db:
        try:
            return len(task_service.create_tasks(db, [WANTED] * number, user, within_quota=True)) == number
        except QuotaExceeded:
            return False


def queued(user: UUID) -> int:
    with SessionLocal() as db:
        return int(db.execute(spelled(PENDING, {"user": user})).scalar_one())


@contextmanager
def looks(act: Callable[[], object]) -> Iterator[None]:
    """`act` is called whenever the database is about to be asked what a user has queued."""
    with before_each_statement(lambda statement, _: act() if "octet_length" in statement else None):
        yield


@pytest.fixture
def looks_at_will(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database may be asked at every task, however long that takes."""
    for name, value in (("MIN_INTERVAL_SECONDS", 0.0), ("QUERY_TIME_SHARE", 1e9), ("SLOW_QUERY_SECONDS", 1e9)):
        monkeypatch.setattr(quotas, name, value)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    """`passes(5)`: five seconds later, by this process's clock. However slow a query was, the next one may come then."""
    clock = Ahead()
    monkeypatch.setattr(quotas, "time", clock)
    monkeypatch.setattr(quotas, "QUERY_TIME_SHARE", 1e9)
    return clock.passes


def refused(answer: httpx.Response, code: str) -> int:
    """A 429 of this quota; its Retry-After."""
    assert (answer.status_code, answer.json()["code"]) == (429, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return int(answer.headers["retry-after"])


class TestQueuedTasks:
    def test_exactly_so_many_then_429(self, tasks: TaskClient, limits: Limits) -> None:
        limits(queued_tasks=5)
        for _ in range(5):
            tasks.create()
        for _ in range(3):
            assert 1 <= refused(tasks.post(body=BODY), "queued_tasks_quota") <= 60
        assert len(tasks.get().json()) == 5

    def test_running_ones_count_and_ended_ones_do_not(self, user: UUID, limits: Limits) -> None:
        limits(queued_tasks=2)
        with SessionLocal() as db:
            for status in TaskStatus:
                if status not in {TaskStatus.PENDING, TaskStatus.RUNNING}:
                    task_in(db, status, user)
            task_in(db, TaskStatus.RUNNING, user)
        assert [submit(user) for _ in range(3)] == [True, False, False]

    def test_retry_after_is_when_there_is_room_again(self, tasks: TaskClient, limits: Limits, passes: Passes) -> None:
        limits(queued_tasks=2)
        first, _ = tasks.create(), tasks.create()
        seconds = refused(tasks.post(body=BODY), "queued_tasks_quota")
        assert tasks.post(f"{first['id']}/cancel").status_code == 200
        passes(seconds)
        tasks.create()
        refused(tasks.post(body=BODY), "queued_tasks_quota")

    def test_each_user_has_their_own_and_administrators_too(
        self, tasks: TaskClient, admin: TaskClient, limits: Limits
    ) -> None:
        limits(queued_tasks=1)
        for person in (tasks, admin):
            person.create()
            refused(person.post(body=BODY), "queued_tasks_quota")
        assert tasks.get().status_code == 200

    def test_many_at_once_are_exactly_so_many(
        self, user: UUID, limits: Limits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A look in between counts those twice, for a while, that are being committed.
        monkeypatch.setattr(quotas, "MIN_INTERVAL_SECONDS", 1000.0)
        limits(queued_tasks=20)
        with ThreadPoolExecutor(8) as pool:
            accepted = sum(pool.map(lambda _: submit(user), range(60)))
        assert (accepted, queued(user)) == (20, 20)

    @pytest.mark.usefixtures("looks_at_will")
    def test_many_at_once_with_looks_in_between(self, user: UUID, limits: Limits) -> None:
        """A look that is under way while others commit forgets none of them."""
        limits(queued_tasks=60)
        with ThreadPoolExecutor(8) as pool:
            accepted = sum(pool.map(lambda _: submit(user), range(160)))
        assert accepted == queued(user)
        assert accepted <= 60
        assert [submit(user) for _ in range(61 - accepted)] == [True] * (60 - accepted) + [False]

    def test_none_is_accepted_before_the_first_look(self, user: UUID, limits: Limits) -> None:
        limits(queued_tasks=10)
        with SessionLocal() as db:
            task_service.create_tasks(db, [WANTED] * 10, user)
        asking = threading.Semaphore(0)

        def ask(_: int) -> bool:
            asking.release()
            return submit(user)

        def until_four_ask() -> None:
            assert all(asking.acquire(timeout=30) for _ in range(4))

        with looks(until_four_ask), ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(ask, range(8))) == 0

    def test_a_batch_is_all_or_nothing(self, user: UUID, limits: Limits) -> None:
        limits(queued_tasks=10)
        assert [submit(user, 7), submit(user, 4), submit(user, 3), submit(user)] == [True, False, True, False]
        assert queued(user) == 10

    def test_what_never_fits_names_no_time(self, user: UUID, limits: Limits) -> None:
        limits(queued_tasks=3)
        with SessionLocal() as db, pytest.raises(TooManyTasksQueued) as refusal:
            task_service.create_tasks(db, [WANTED] * 4, user, within_quota=True)
        assert refusal.value.retry_after is None

    def test_what_was_not_inserted_takes_no_room(self, user: UUID, limits: Limits) -> None:
        limits(queued_tasks=2)
        unknown = WANTED.model_copy(update={"celery_task_name": "no.such.task"})
        for _ in range(5):
            with SessionLocal() as db, pytest.raises(UnknownTask):
                task_service.create_tasks(db, [unknown], user, within_quota=True)
        assert [submit(user) for _ in range(3)] == [True, True, False]

    def test_a_retry_is_queued_again(self, tasks: TaskClient, limits: Limits) -> None:
        limits(queued_tasks=2)
        failed, done = tasks.task_in("failed"), tasks.task_in("succeeded")
        tasks.create()
        assert tasks.post(f"{failed}/retry").status_code == 202
        other = tasks.task_in("revoked")
        refused(tasks.post(f"{other}/retry"), "queued_tasks_quota")
        assert tasks.get(other).json()["status"] == "revoked"
        assert tasks.post(f"{done}/retry").status_code == 409

    def test_zero_is_no_limit(self, user: UUID, limits: Limits) -> None:
        limits()
        assert all(submit(user, 5) for _ in range(5))

    def test_the_python_api_is_the_operators(self, user: UUID, limits: Limits) -> None:
        limits(queued_tasks=1)
        with SessionLocal() as db:
            assert len(task_service.create_tasks(db, [WANTED] * 5, user)) == 5


class TestQueuedBytes:
    def test_arguments_count_as_they_are_stored(self, user: UUID, limits: Limits) -> None:
        size = rows_of([WANTED], user)[0].load.bytes
        limits(queued_bytes=3 * size + 1)
        assert [submit(user) for _ in range(5)] == [True, True, True, False, False]

    def test_over_http(self, tasks: TaskClient, limits: Limits) -> None:
        limits(queued_bytes=10_000)
        large = {"kwargs": {"param": "x" * 6000}}
        tasks.create(**large)
        refused(tasks.post(body=BODY | large), "queued_bytes_quota")
        tasks.create()

    def test_a_process_that_starts_counts_what_is_there(self, user: UUID, limits: Limits) -> None:
        limits(queued_bytes=10_000)
        with SessionLocal() as db:
            claim(db, task_in(db, TaskStatus.PENDING, user, kwargs={"param": "x" * 5000}))
            task_in(db, TaskStatus.PENDING, user, kwargs={"param": "x" * 4000})
            with pytest.raises(TooManyBytesQueued), Quotas().reserve(db, user, Load(1, 2000)):
                raise AssertionError("there is no room")
            with Quotas().reserve(db, user, Load(1, 500)):
                pass


class TestStoredBytes:
    """What is kept after the end counts as well: a task that is created and cancelled in a loop stops at the quota."""

    LARGE: ClassVar = {"kwargs": {"param": "x" * 9000}}

    def test_cancelled_tasks_count_until_they_are_deleted(
        self, tasks: TaskClient, limits: Limits, passes: Passes
    ) -> None:
        limits(stored_bytes=50_000)
        kept = []
        while (answer := tasks.post(body=BODY | self.LARGE)).status_code == 201 and len(kept) < 9:
            kept.append(answer.json()["id"])
            assert tasks.post(f"{kept[-1]}/cancel").status_code == 200
        assert len(kept) == 4
        passes(quotas.MIN_INTERVAL_SECONDS)  # the figures are those of the last look
        answer = tasks.post(body=BODY | self.LARGE)
        assert (answer.status_code, answer.json()["code"]) == (429, "stored_bytes_quota")
        assert "retry-after" not in answer.headers  # no wait frees anything
        figures = [int(number) for number in re.findall(r"\d+", answer.json()["detail"])]
        assert 4 * (ROW_BYTES + 9000) < figures[0] < 50_000
        assert figures[1] == 50_000
        assert figures[2] == figures[0]  # nothing is queued: all of it can be deleted
        assert tasks.delete(kept[0]).status_code == 204
        passes(quotas.MIN_INTERVAL_SECONDS)
        tasks.create(**self.LARGE)

    def test_what_waits_or_runs_counts_and_cannot_be_deleted(self, user: UUID, limits: Limits) -> None:
        limits(stored_bytes=30_000)
        with SessionLocal() as db:
            task_in(db, TaskStatus.SUCCEEDED, user, kwargs={"param": "x" * 6000})
            claim(db, task_in(db, TaskStatus.PENDING, user, kwargs={"param": "x" * 9000}))
            task_in(db, TaskStatus.PENDING, user, metadata={"m": "x" * 9000})
            with pytest.raises(TooManyBytesStored) as refusal, Quotas().reserve(db, user, Load(1, 0, 5000)):
                raise AssertionError("there is no room")
            with Quotas().reserve(db, user, Load(1, 0, 500)):
                pass
        kept, _, freeable = (int(number) for number in re.findall(r"\d+", str(refusal.value)))
        assert 27_000 < kept < 28_000
        assert 7000 < freeable < 7200

    def test_a_batch_and_a_retry_are_refused_too(self, tasks: TaskClient, limits: Limits, passes: Passes) -> None:
        failed = tasks.task_in("failed")
        limits(stored_bytes=20_000)
        passes(quotas.STORED_SECONDS)
        batch = {"tasks": [BODY | {"metadata": {"m": "x" * 6000}}] * 3}
        assert tasks.post("batch", body=batch).json()["code"] == "stored_bytes_quota"
        assert tasks.post(body=BODY | self.LARGE).status_code == 201
        assert tasks.post(body=BODY | {"kwargs": {"param": "x" * 6000}}).status_code == 201
        with SessionLocal() as db:
            task_in(db, TaskStatus.SUCCEEDED, tasks.get(failed).json()["user_id"], kwargs={"param": "x" * 6000})
        passes(quotas.STORED_SECONDS)
        assert tasks.post(f"{failed}/retry").json()["code"] == "stored_bytes_quota"
        assert tasks.get(failed).json()["status"] == "failed"

    def test_a_result_counts_once_it_is_written_and_is_never_refused(
        self, user: UUID, limits: Limits, passes: Passes
    ) -> None:
        limits(stored_bytes=100_000)
        assert submit(user, 2)
        with SessionLocal() as db:
            for task in task_service.get_tasks(db, user):
                ends.end_attempt(db, task.id, claim(db, task).attempt, ends.succeeded("x" * 60_000))
                db.commit()
        assert submit(user)  # not known yet
        passes(quotas.STORED_SECONDS)
        assert not submit(user)

    def test_who_waits_for_retention_is_told_when_to_come_again(
        self, tasks: TaskClient, limits: Limits, passes: Passes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        limits(stored_bytes=20_000)
        monkeypatch.setattr(get_settings(), "retention_bytes", 5000)
        assert tasks.post(f"{tasks.create(**self.LARGE)['id']}/cancel").status_code == 200
        passes(quotas.MIN_INTERVAL_SECONDS)
        answer = tasks.post(body=BODY | {"kwargs": {"param": "x" * 15_000}})
        assert refused(answer, "stored_bytes_quota") == quotas.STORED_RETRY_SECONDS

    def test_a_submit_has_no_statement_more(self, user: UUID, limits: Limits, passes: Passes) -> None:
        """The sum is read again after some seconds, and only the sum."""
        limits(stored_bytes=10**9)
        seen: list[bool] = []
        with looks(lambda: seen.append(True)):
            assert all(submit(user) for _ in range(20))
            assert len(seen) == 1
            passes(quotas.STORED_SECONDS)
            assert all(submit(user) for _ in range(20))
        assert len(seen) == 2


class TestTasksPerMinute:
    def test_ending_or_deleting_them_makes_no_room(self, tasks: TaskClient, limits: Limits) -> None:
        limits(tasks_per_minute=3)
        for _ in range(3):
            assert tasks.post(f"{tasks.create()['id']}/cancel").status_code == 200
        assert 50 <= refused(tasks.post(body=BODY), "tasks_per_minute_quota") <= 61

    @pytest.mark.usefixtures("looks_at_will")
    def test_a_retry_is_one_more_however_often_the_database_is_asked(self, tasks: TaskClient, limits: Limits) -> None:
        """The row was created once: a client that cancels and retries it in a loop sends many tasks."""
        limits(tasks_per_minute=4)
        task_id = tasks.create()["id"]
        answers = []
        for _ in range(5):
            assert tasks.post(f"{task_id}/cancel").status_code == 200
            answers.append(tasks.post(f"{task_id}/retry"))
            if answers[-1].status_code != 202:
                break
        assert [answer.status_code for answer in answers] == [202, 202, 202, 429]
        assert 50 <= refused(answers[-1], "tasks_per_minute_quota") <= 61

    @pytest.mark.usefixtures("looks_at_will")
    def test_one_that_is_deleted_was_sent_all_the_same(self, tasks: TaskClient, limits: Limits) -> None:
        limits(tasks_per_minute=3)
        for _ in range(3):
            assert tasks.delete(tasks.create()["id"], force="true").status_code == 204
        refused(tasks.post(body=BODY), "tasks_per_minute_quota")

    def test_retry_after_is_when_the_oldest_is_a_minute_old(self, user: UUID, limits: Limits, passes: Passes) -> None:
        limits(tasks_per_minute=3)
        with SessionLocal() as db:
            task_service.create_tasks(db, [WANTED] * 3, user)  # as another process may have accepted them

        def later(seconds: float) -> None:
            passes(seconds)
            older = "UPDATE tasks SET created_at = created_at - make_interval(secs => :s) WHERE user_id = :user"
            with SessionLocal.begin() as db:
                db.execute(spelled(older, {"s": seconds, "user": user}))

        later(57)
        with SessionLocal() as db, pytest.raises(QuotaExceeded) as refusal:
            task_service.create_tasks(db, [WANTED], user, within_quota=True)
        assert refusal.value.retry_after is not None
        assert 1 <= refusal.value.retry_after <= 3
        later(refusal.value.retry_after)
        assert submit(user)


class TestIdempotencyKeys:
    def test_a_repetition_takes_no_room_and_is_answered_when_the_queue_is_full(
        self, tasks: TaskClient, limits: Limits
    ) -> None:
        limits(queued_tasks=2)
        answers = [tasks.post(body=BODY, headers={"Idempotency-Key": "a"}) for _ in range(5)]
        tasks.create()
        refused(tasks.post(body=BODY), "queued_tasks_quota")
        answers.append(tasks.post(body=BODY, headers={"Idempotency-Key": "a"}))
        assert {(each.status_code, each.json()["id"]) for each in answers} == {(201, answers[0].json()["id"])}
        assert answers[-1].headers["idempotency-replayed"] == "true"
        other = tasks.post(body=BODY | {"name": "b"}, headers={"Idempotency-Key": "a"})
        assert other.json()["code"] == "idempotency_key_reused"

    def test_a_refused_one_keeps_its_key(self, tasks: TaskClient, limits: Limits, passes: Passes) -> None:
        limits(queued_tasks=1)
        first = tasks.create()
        refused(tasks.post(body=BODY, headers={"Idempotency-Key": "b"}), "queued_tasks_quota")
        tasks.post(f"{first['id']}/cancel")
        passes(quotas.MIN_INTERVAL_SECONDS)
        accepted = tasks.post(body=BODY, headers={"Idempotency-Key": "b"})
        assert (accepted.status_code, accepted.headers.get("idempotency-replayed")) == (201, None)


class TestCost:
    def test_a_submit_has_no_statement_more(self, user: UUID) -> None:
        """With the quotas as they are by default: one look at the first task."""
        assert get_settings().quota_queued_tasks == Settings.model_fields["quota_queued_tasks"].default > 0
        seen: list[bool] = []
        with looks(lambda: seen.append(True)):
            assert all(submit(user) for _ in range(50))
        assert len(seen) == 1

    @pytest.mark.usefixtures("looks_at_will")
    def test_a_slow_look_is_not_waited_for_and_counts_when_it_is_done(
        self, user: UUID, limits: Limits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(quotas, "SLOW_QUERY_SECONDS", 0.0)
        limits(queued_tasks=20)
        assert submit(user)
        with SessionLocal() as db:  # unknown to this process
            task_service.create_tasks(db, [WANTED] * 15, user)
        gate, asides = threading.Event(), []

        def slowly() -> None:
            if threading.current_thread() is not threading.main_thread():
                asides.append(threading.current_thread())
                assert gate.wait(30)

        with looks(slowly):
            assert [submit(user), submit(user)] == [True, True]
            gate.set()
            wait_for(lambda: asides, 20, "a look aside")[0].join(20)
        # What was accepted while it went on may count twice until the next one.
        wait_for(lambda: submit(user) and queued(user) == 20, 20, "all of the room to be used")
        assert [submit(user) for _ in range(5)] == [False] * 5
        assert queued(user) == 20


class TestTwoProcesses:
    """Two `Quotas` share nothing but the database, as two processes do."""

    @staticmethod
    def fill(quotas: Quotas, db: Session, user: UUID, most: int) -> int:
        accepted = 0
        for _ in range(most):
            try:
                with quotas.reserve(db, user, Load(1, 10)):
                    task_service.create_tasks(db, [WANTED], user)
            except QuotaExceeded:
                break
            accepted += 1
        return accepted

    @pytest.mark.usefixtures("looks_at_will")
    def test_one_that_has_not_looked_for_long_overruns_by_a_sixteenth(self, user: UUID, limits: Limits) -> None:
        limits(queued_tasks=64)
        one, other = Quotas(), Quotas()
        with SessionLocal() as db:
            assert self.fill(other, db, user, 1) == 1
            assert self.fill(one, db, user, 200) == 63
            assert self.fill(other, db, user, 200) <= 64 // 16
            assert self.fill(one, db, user, 1) == self.fill(other, db, user, 1) == 0

    def test_both_stop_within_their_interval(self, user: UUID, limits: Limits, passes: Passes) -> None:
        limits(queued_tasks=40)
        one, other = Quotas(), Quotas()
        with SessionLocal() as db:
            assert self.fill(one, db, user, 10) == self.fill(other, db, user, 10) == 10
            passes(quotas.MIN_INTERVAL_SECONDS)
            assert self.fill(one, db, user, 100) == 20
            assert self.fill(other, db, user, 100) == 0


def test_two_real_processes_refuse_together(stack: Stack) -> None:
    """However the kernel shares the connections out: at most what each accepts before it has looked again."""
    stack.server(env={"QUOTA_QUEUED_TASKS": "30"}, options=["--workers", "2"])
    headers = bearer(stack.make_user()[1])

    def post() -> int:
        with httpx.Client(base_url=stack.url, timeout=30, headers=headers) as http:
            return http.post(TASKS, json=BODY).status_code

    statuses = [post() for _ in range(90)]
    assert 30 <= statuses.count(201) <= 60
    assert set(statuses) == {201, 429}
    wait_for(lambda: {post() for _ in range(10)} == {429}, 20, "both to refuse")
