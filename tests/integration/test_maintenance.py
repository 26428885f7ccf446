"""What is due gets its turn, slots are woken for what is ready, what a dead worker held is rescued. Real Valkey."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import redis
from kombu.entity import Exchange, Queue
from sqlalchemy import exists, func, insert, select, text, update
from sqlalchemy.orm import Session

from app import catalogue
from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.statements import (
    pending_rows,
    retention as retention_statements,
    submissions as quota_statements,
    user_places,
)
from app.maintenance import lease
from app.maintenance.loop import Maintenance
from app.maintenance.passes import deletions, task_states
from app.maintenance.rounds import Round
from app.messaging.application import celery_app
from app.messaging.wakeups import MOST_OUT
from app.models import Task, WorkerProcess
from app.models.task import TaskPriority, TaskStatus
from app.models.task_count import task_count_changes
from app.models.task_stats import ALL_USERS, task_durations
from app.schemas.task import TaskCreate
from app.services.execution import claims, ends
from app.services.execution.attempts import WorkerIdentity
from app.services.execution.claims import FULL_LOOK_SECONDS, Claims
from app.services.operations import queue_service
from app.services.retention import FORGET, Rule
from app.services.task_service import task_service
from app.services.tasks import new_rows, task_changes, task_counts, task_creation
from tests.support.ahead import Ahead
from tests.support.limited import maintain
from tests.support.lock_waits import needs_row_locks
from tests.support.retention import forget
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.spelling import spelled
from tests.support.statements import statements
from tests.support.tasks import LONG_RUNNING, WORKER, claim, give_id, new_task, new_user, task_in

LEASE = timedelta(seconds=30)
# Turns; further than claims look back.
FAR = 100.0
FIRST, SECOND, THIRD = new_id(), new_id(), new_id()  # processes
NAMES = pending_rows.TaskNames([LONG_RUNNING], [LONG_RUNNING])
TASK = TaskCreate(name="a task", task_type="test", celery_task_name=LONG_RUNNING, args=[1])
# kombu's lists of a queue: of usual wake-ups, and of the one that goes ahead of a backlog.
USUAL, AHEAD = "default\x06\x166", "default"


@pytest.fixture(autouse=True)
def woken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The API process died between commit and wake-up: everything is left to maintenance. The queues it had named."""
    queues: list[str] = []
    monkeypatch.setattr("app.messaging.wakeups.publish", queues.extend)
    return queues


@contextmanager
def a_broker() -> Iterator[Any]:
    url = get_settings().celery_broker_url
    assert url is not None
    with redis.Redis.from_url(url.get_secret_value()) as client:
        yield client


@pytest.fixture
def broker(db: Session) -> Iterator[Any]:
    """A client of the broker that this test's settings name."""
    with a_broker() as client:
        yield client


@pytest.fixture
def maintenance(db: Session, caplog: pytest.LogCaptureFixture) -> Iterator[Maintenance]:
    maintenance = Maintenance(get_settings())
    yield maintenance
    maintenance.close()
    assert not [record for record in caplog.get_records("call") if record.exc_info]  # each pass has gone well


def make_due(db: Session, *tasks: Task) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    db.execute(update(Task).where(Task.id.in_([task.id for task in tasks])).values(due_at=past, run_at=past))
    db.commit()


def due_later(db: Session, **options: Any) -> Task:
    """A task that has become due after it was created: it has no turn yet."""
    task = new_task(db, delay_seconds=3600, **options)
    make_due(db, task)
    return task


def has_turn(db: Session, task: Task) -> bool:
    return task_service.get_task(db, task.id).turn is not None


def next_ids(db: Session, taker: Claims | None = None, *, number: int = 1) -> list[UUID]:
    """What a pool process that was woken gets: so many tasks at least, if there are so many."""
    taker = taker or usual_lines()
    ids: list[UUID] = []
    while len(ids) < number:
        found = taker.next(db, NAMES, new_id(), WORKER)
        db.commit()
        if not found:
            break
        ids += [claimed.id for claimed in found]
    return ids


def usual_lines() -> Claims:
    """A pool process that never finds anything in its first line."""
    return Claims([("high_priority", TaskPriority.CRITICAL.value), ("default", TaskPriority.NORMAL.value)])


def many(db: Session, user: UUID, number: int) -> None:
    """So many ready tasks of the user."""
    task_service.create_tasks(db, [TASK] * number, user)


def messages(broker: Any) -> int:
    return sum(broker.llen(key) for key in broker.keys("*") if broker.type(key) == b"list")


def stopped_worker(db: Session) -> UUID:
    worker = WorkerProcess(
        id=new_id(), name="gone@test", pid=1, queues=["default"], concurrency=1, stopped_at=datetime.now(UTC)
    )
    db.add(worker)
    db.commit()
    return worker.id


class TestPlace:
    def test_a_task_that_becomes_due_gets_its_turn_and_no_client_sees_it(
        self, db: Session, maintenance: Maintenance
    ) -> None:
        task = due_later(db)
        version, updated = task_service.get_task(db, task.id).version, task.updated_at
        assert not has_turn(db, task)
        maintenance.run_once(db)
        placed = task_service.get_task(db, task.id)
        assert placed.turn is not None
        assert (placed.version, placed.updated_at) == (version, updated)

    def test_every_one_does_within_one_pass_however_many_there_are(self, db: Session, maintenance: Maintenance) -> None:
        users = [new_user(db) for _ in range(3)]
        number = 2 * pending_rows.PLACE_BATCH + 7
        later = TaskCreate.model_validate(TASK.model_dump(exclude_unset=True) | {"delay_seconds": 3600})
        for nth, user in enumerate(users):
            task_service.create_tasks(db, [later] * len(range(nth, number, 3)), user)
        db.execute(spelled("UPDATE tasks SET run_at = now() - interval '1 s', due_at = now() - interval '1 s'"))
        db.commit()
        maintenance.run_once(db)
        placed = db.execute(select(Task.user_id, Task.turn)).all()
        assert None not in {turn for _, turn in placed}
        assert len(set(placed)) == number

    def test_so_does_a_task_that_came_back(self, db: Session, maintenance: Maintenance) -> None:
        lost, retried = new_task(db), new_task(db)
        for task in (lost, retried):
            claim(db, task)
        task_states.end_lost_attempts(db, silent_for=timedelta(0))
        assert not has_turn(db, lost)
        maintenance.run_once(db)
        assert has_turn(db, lost)
        assert has_turn(db, retried)

    def test_not_before_its_time(self, db: Session, maintenance: Maintenance, broker: Any) -> None:
        task = new_task(db, delay_seconds=60)
        maintenance.run_once(db)
        assert not has_turn(db, task)
        assert messages(broker) == 0

    def test_the_users_turns_go_on_where_they_were(self, db: Session, maintenance: Maintenance) -> None:
        user = new_user(db)
        first, second = (new_task(db, user).id for _ in range(2))
        late = due_later(db, user_id=user).id
        maintenance.run_once(db)
        other = new_task(db).id
        assert next_ids(db, number=4) == [first, other, second, late]

    def test_revokes_what_has_expired(self, db: Session, maintenance: Maintenance) -> None:
        task = new_task(db, expires_at="2020-01-01T00:00:00Z")
        maintenance.run_once(db)
        expired = task_service.get_task(db, task.id)
        assert (expired.status, expired.status_reason) == ("revoked", "expired")

    def test_deletes_what_was_to_be_deleted_once_it_has_ended(self, db: Session, maintenance: Maintenance) -> None:
        user = new_user(db)
        task = task_in(db, TaskStatus.RUNNING, user)
        task_service.delete(db, task.id, force=True)
        maintenance.run_once(db)
        assert task_service.get_task_count(db, user) == 1
        task_service.update_task_status(db, task.id, "revoked")
        maintenance.run_once(db)
        assert task_service.get_task_count(db, user) == 0


class TestWake:
    def test_a_queue_with_ready_rows_gets_a_wakeup_in_each_pass(
        self, db: Session, maintenance: Maintenance, broker: Any
    ) -> None:
        for _ in range(3):
            new_task(db)
        for out in range(1, 4):
            assert maintenance.run_once(db)
            assert (broker.llen(USUAL), messages(broker)) == (out, out)

    def test_not_where_enough_are_out(self, db: Session, maintenance: Maintenance, broker: Any) -> None:
        """Then one goes ahead: the messages may be those of plain tasks."""
        new_task(db)
        for _ in range(MOST_OUT + 4):
            maintenance.run_once(db)
        assert (broker.llen(USUAL), broker.llen(AHEAD)) == (MOST_OUT, 1)

    def test_not_where_no_task_could_start(self, db: Session, maintenance: Maintenance, broker: Any) -> None:
        new_task(db, delay_seconds=3600)
        for status in (TaskStatus.RUNNING, TaskStatus.SUCCEEDED, TaskStatus.REVOKED):
            task_in(db, status)
        maintenance.run_once(db)
        assert messages(broker) == 0
        new_task(db, priority="low")
        maintenance.run_once(db)
        assert (broker.llen("low_priority\x06\x166"), messages(broker)) == (1, 1)

    def test_what_has_become_due_is_woken_for_in_the_same_pass(
        self, db: Session, maintenance: Maintenance, broker: Any
    ) -> None:
        due_later(db)
        maintenance.run_once(db)
        assert broker.llen(USUAL) == 1

    def test_sends_no_arguments_and_names_no_row(self, db: Session, maintenance: Maintenance, broker: Any) -> None:
        task = new_task(db, kwargs={"password": "hunter2"})
        maintenance.run_once(db)
        content = b"".join(
            item for key in broker.keys("*") if broker.type(key) == b"list" for item in broker.lrange(key, 0, -1)
        )
        assert content
        for told in ("hunter2", str(task.id), str(task.celery_id)):
            assert told.encode() not in content

    def test_each_declared_queue_and_each_that_a_task_type_names_is_looked_at(
        self, db: Session, maintenance: Maintenance, broker: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kinds = {**catalogue.catalogue(), "mine": SimpleNamespace(queue="gpu"), "other": SimpleNamespace(queue=None)}
        monkeypatch.setattr(catalogue, "catalogue", lambda: kinds)
        # Celery would add it at the first message, for all tests of this process.
        monkeypatch.setitem(celery_app.amqp.queues, "gpu", Queue("gpu", Exchange("gpu"), routing_key="gpu"))
        queues_looked_at = ["gpu", "default", "high_priority", "low_priority"]
        for queue in queues_looked_at:
            task = new_task(db)
            db.execute(update(Task).where(Task.id == task.id).values(queue=queue))
        maintenance.run_once(db)
        woken = {queue: broker.llen(f"{queue}\x06\x166") for queue in queues_looked_at}
        assert woken == dict.fromkeys(queues_looked_at, 1)


class TestAPassThatFails:
    def test_keeps_no_task_from_starting(
        self,
        db: Session,
        maintenance: Maintenance,
        broker: Any,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(ends, "lost", lambda *_: db.execute(text("SELECT * FROM no_such_table")))
        task = new_task(db)
        claim(db, task)
        db.execute(update(Task).where(Task.id == task.id).values(worker_id=stopped_worker(db)))
        late = due_later(db)
        assert maintenance.run_once(db)
        assert "pass end_lost_attempts failed" in caplog.text
        assert has_turn(db, late)
        assert broker.llen(USUAL) == 1
        caplog.clear()

    def test_as_it_holds_tasks_for_the_quota_of_their_users_gives_none_a_turn(
        self, db: Session, maintenance: Maintenance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(get_settings(), "quota_running_tasks", 1)
        late = due_later(db)
        with monkeypatch.context() as patched:
            patched.setattr(user_places, "hold_due", lambda *_: 1 / 0)
            assert maintenance.run_once(db)
        assert "pass give_turns failed" in caplog.text
        assert not has_turn(db, late)
        caplog.clear()
        maintenance.run_once(db)
        assert has_turn(db, late)


class TestLostWakeups:
    """Whatever becomes of the broker, the next pass wakes again."""

    def test_the_broker_was_emptied(self, db: Session, maintenance: Maintenance, broker: Any) -> None:
        new_task(db)
        maintenance.run_once(db)
        broker.flushdb()
        maintenance.run_once(db)
        assert broker.llen(USUAL) == 1

    def test_the_broker_started_again_and_came_back_empty(
        self, db: Session, maintenance: Maintenance, broker: Any
    ) -> None:
        """Every connection to it has ended."""
        new_task(db)
        maintenance.run_once(db)
        broker.flushdb()
        broker.client_kill_filter(_type="normal", skipme=True)
        maintenance.run_once(db)
        assert broker.llen(USUAL) == 1

    def test_the_broker_could_not_be_reached(
        self, db: Session, maintenance: Maintenance, broker: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        late = due_later(db)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(celery_app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
            assert maintenance.run_once(db)
        assert "broker not reachable" in caplog.text
        assert has_turn(db, late)
        maintenance.run_once(db)
        assert broker.llen(USUAL) == 1

    def test_a_paused_queue_gets_none_and_runs_what_waited_once_it_is_resumed(
        self, db: Session, maintenance: Maintenance, broker: Any, woken: list[str]
    ) -> None:
        ready, late = new_task(db).id, due_later(db).id
        queue_service.pause_queue(db, "default")
        db.commit()
        woken.clear()
        maintenance.run_once(db)
        assert messages(broker) == 0
        assert next_ids(db) == []
        queue_service.resume_queue(db, "default")
        db.commit()
        assert set(woken) == {"default"}
        maintenance.run_once(db)
        assert broker.llen(USUAL) == 1
        assert next_ids(db, number=2) == [ready, late]


@pytest.fixture
def committed(services: Services) -> Iterator[tuple[Session, Maintenance]]:
    """On a database of its own, in which other transactions commit. A statement may wait for seconds, and then fails."""
    with on_new_database(services, DATABASE_STATEMENT_TIMEOUT_SECONDS="5"), SessionLocal() as db:
        maintenance = Maintenance(get_settings())
        yield db, maintenance
        maintenance.close()


@needs_row_locks
class TestLateCommit:
    """A process freezes between its INSERT and the commit: the turn is of the time of the INSERT."""

    MANY = 30 * pending_rows.MOST_ROWS

    @contextmanager
    def a_late_one(self, user: UUID) -> Iterator[tuple[Session, UUID]]:
        """The session of a submit that is not committed yet, and its task."""
        (row,) = new_rows.rows_of([TASK], user)
        with SessionLocal() as late:
            task_creation.accept(late.connection(), [row])  # as a group of submits, which takes turns at once
            yield late, row.id

    def clock_after(self, db: Session, taker: Claims, number: int) -> float:
        """The turn that the claims have reached, once they have taken so many tasks."""
        assert len(next_ids(db, taker, number=number)) >= number
        clock = "SELECT max(turn) FROM claimed_turns WHERE queue = 'default' AND priority = 'normal'"
        return float(db.execute(text(clock)).scalar_one())

    def test_one_with_a_turn_that_claims_have_passed_is_next_after_at_most_a_second(
        self, committed: tuple[Session, Maintenance], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        db, maintenance = committed
        maintenance.run_once(db)
        ahead = Ahead()
        monkeypatch.setattr(claims, "time", ahead)
        taker = usual_lines()
        user, busy = new_user(db), new_user(db)
        with self.a_late_one(user) as (late, task):
            many(db, busy, self.MANY)
            clock = self.clock_after(db, taker, self.MANY - 5 * pending_rows.MOST_ROWS)
            late.commit()
        turn = task_service.get_task(db, task).turn
        assert turn is not None
        assert turn < clock - FAR
        found = []
        for _ in range(3):  # however often it looks meanwhile
            ahead.passes(FULL_LOOK_SECONDS / 2)
            found += next_ids(db, taker)
        assert task in found

    def test_beside_a_free_slot_the_next_pass_finds_it(self, committed: tuple[Session, Maintenance]) -> None:
        db, maintenance = committed
        maintenance.run_once(db)
        taker = usual_lines()
        user, busy = new_user(db), new_user(db)
        with a_broker() as broker, self.a_late_one(user) as (late, task):
            many(db, busy, self.MANY)
            clock = self.clock_after(db, taker, self.MANY)
            maintenance.run_once(db)
            assert messages(broker) == 0
            assert next_ids(db, taker) == []
            late.commit()
            maintenance.run_once(db)
            assert broker.llen(USUAL) == 1
        turn = task_service.get_task(db, task).turn
        assert turn is not None
        assert turn < clock - FAR
        assert next_ids(db, taker) == [task]

    def test_a_callers_own_transaction_holds_up_nobody_and_its_task_takes_its_turn_after_the_commit(
        self, committed: tuple[Session, Maintenance]
    ) -> None:
        db, maintenance = committed
        maintenance.run_once(db)
        taker, user = usual_lines(), new_user(db)
        mine = due_later(db, user_id=user)
        with SessionLocal() as caller:
            (late,) = task_service.create_tasks(caller, [TASK], user, commit=False)
            many(db, user, 2 * pending_rows.MOST_ROWS)
            assert len(next_ids(db, taker, number=2 * pending_rows.MOST_ROWS)) == 2 * pending_rows.MOST_ROWS
            maintenance.run_once(db)
            caller.commit()
        assert next_ids(db, taker, number=2) == [mine.id, late.id]

    def test_until_then_the_pass_places_all_tasks_but_those_of_its_user(
        self, committed: tuple[Session, Maintenance]
    ) -> None:
        """The transaction holds the user's place in the line, and may do so until its connection ends."""
        db, maintenance = committed
        user, other = new_user(db), new_user(db)
        new_task(db, user)
        mine, theirs = due_later(db, user_id=user), due_later(db, user_id=other)
        with self.a_late_one(user) as (late, _):
            assert maintenance.run_once(db)
            assert (has_turn(db, mine), has_turn(db, theirs)) == (False, True)
            db.commit()
            late.commit()
        maintenance.run_once(db)
        assert has_turn(db, mine)

    def test_also_where_it_is_the_first_of_its_user_in_that_line(self, committed: tuple[Session, Maintenance]) -> None:
        db, maintenance = committed
        user, other = new_user(db), new_user(db)
        mine, theirs = due_later(db, user_id=user), due_later(db, user_id=other)
        with self.a_late_one(user) as (late, _):
            assert maintenance.run_once(db)
            assert (has_turn(db, mine), has_turn(db, theirs)) == (False, True)
            db.commit()
            late.commit()
        maintenance.run_once(db)
        assert has_turn(db, mine)


class TestRescue:
    def registered(self, db: Session, **when: Any) -> WorkerIdentity:
        worker = WorkerIdentity(f"worker-{new_id().hex}@test", new_id(), 1)
        db.add(WorkerProcess(id=worker.id, name=worker.name, pid=1, queues=["default"], concurrency=1, **when))
        db.commit()
        return worker

    def test_a_silent_workers_task_runs_again(self, db: Session) -> None:
        worker = self.registered(db, heartbeat_at=datetime.now(UTC) - timedelta(seconds=31))
        task = new_task(db)
        claim(db, task, worker)
        assert task_states.end_lost_attempts(db, silent_for=LEASE) == 0  # it has just claimed: it lives
        db.execute(
            spelled("UPDATE tasks SET started_at = started_at - interval '31 s' WHERE id = :id", {"id": task.id})
        )
        assert task_states.end_lost_attempts(db, silent_for=LEASE) == 1
        assert task_service.get_task(db, task.id).status == "pending"

    def test_not_while_an_outage_has_made_every_worker_silent(self, db: Session) -> None:
        worker = self.registered(db, heartbeat_at=datetime.now(UTC) - timedelta(hours=1))
        claim(db, new_task(db), worker)
        assert task_states.end_lost_attempts(db, silent_for=None) == 0

    def test_a_worker_that_has_said_goodbye_holds_nothing(self, db: Session) -> None:
        worker = self.registered(db, stopped_at=datetime.now(UTC))
        claim(db, new_task(db), worker)
        assert task_states.end_lost_attempts(db, silent_for=None) == 1

    def test_a_beating_workers_task_is_left_alone(self, db: Session) -> None:
        claim(db, new_task(db), self.registered(db))
        assert task_states.end_lost_attempts(db, silent_for=LEASE) == 0

    def test_an_unknown_worker_is_given_one_lease(self, db: Session) -> None:
        task = new_task(db)
        claim(db, task)
        assert task_states.end_lost_attempts(db, silent_for=LEASE) == 0
        db.execute(spelled("UPDATE tasks SET started_at = now() - interval '1 hour' WHERE id = :id", {"id": task.id}))
        assert task_states.end_lost_attempts(db, silent_for=LEASE) == 1

    def test_long_gone_workers_are_forgotten_unless_they_hold_a_task(self, db: Session) -> None:
        ages_ago = datetime.now(UTC) - timedelta(days=2)
        self.registered(db, heartbeat_at=ages_ago)
        holder = self.registered(db, heartbeat_at=ages_ago)
        claim(db, new_task(db), holder)
        assert forget(db, "worker_processes") == 1
        assert db.get(WorkerProcess, holder.id) is not None


class TestRetentionBytes:
    """What a user keeps beyond RETENTION_BYTES is deleted: what ended first, and nothing that has just ended."""

    KIB = 1024

    def ended(self, db: Session, user: UUID, hours_ago: float, size: int = 9 * 1024) -> UUID:
        task, old = task_in(db, TaskStatus.REVOKED, user, kwargs={"param": "x" * size}), new_id()
        # By a copy: an ended task keeps its time.
        give_id(db, task.id, old, finished_at=datetime.now(UTC) - timedelta(hours=hours_ago))
        db.commit()
        return old

    def left(self, db: Session) -> set[UUID]:
        return {*db.scalars(select(Task.id).where(Task.finished_at.is_not(None)))}

    def test_what_ended_first_goes_first_whenever_it_was_created(self, db: Session) -> None:
        user = new_user(db)
        tasks = {hours: self.ended(db, user, hours) for hours in (2, 5, 3, 4)}  # 10 KiB and some bytes each
        assert not deletions.trim_stored(db, 25 * self.KIB)
        assert self.left(db) == {tasks[2], tasks[3]}

    def test_of_others_nothing_goes(self, db: Session) -> None:
        modest, greedy = new_user(db), new_user(db)
        kept = self.ended(db, modest, 100)
        many = [self.ended(db, greedy, hours) for hours in (4, 3, 2)]
        waiting = new_task(db, greedy).id
        deletions.trim_stored(db, 15 * self.KIB)
        assert self.left(db) == {kept, many[-1]}
        assert task_service.get_task(db, waiting).status is TaskStatus.PENDING

    def test_whether_the_changes_are_folded_makes_no_difference(self, db: Session) -> None:
        user = new_user(db)
        tasks = [self.ended(db, user, hours) for hours in (9, 8, 7, 6)]
        for folds in (False, True):
            for _ in range(3):  # the second pass knows what the first has deleted
                deletions.trim_stored(db, 35 * self.KIB)
            assert self.left(db) == {*tasks[1:]}
            if not folds:
                task_counts.fold(db)

    @needs_row_locks
    def test_two_processes_at_once_delete_no_more_than_one(self, committed: tuple[Session, Maintenance]) -> None:
        db = committed[0]
        user = new_user(db)
        tasks = [self.ended(db, user, hours) for hours in (9, 8, 7, 6)]
        task_counts.fold(db)
        with SessionLocal() as other, other.begin():
            assert retention_statements.lock_stored(other, user)  # it has found as much, and deletes the oldest
            deletions.trim_stored(db, 35 * self.KIB)
        assert self.left(db) == {*tasks}

    def test_a_task_that_has_just_ended_stays_and_a_giant_too(self, db: Session) -> None:
        user = new_user(db)
        self.ended(db, user, 2)
        fresh, giant = self.ended(db, user, 0.9), self.ended(db, user, 0.5, size=200 * self.KIB)
        assert not deletions.trim_stored(db, 50 * self.KIB)
        assert self.left(db) == {fresh, giant}

    def test_a_batch_is_bounded_in_tasks_and_in_bytes(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        user = new_user(db)
        tasks = [self.ended(db, user, hours) for hours in (9, 8, 7, 6, 5)]
        monkeypatch.setattr(deletions, "TRIM_BATCH", 2)
        assert deletions.trim_stored(db, 1)
        assert self.left(db) == {*tasks[2:]}
        monkeypatch.setattr(deletions, "TRIM_BATCH", 500)
        monkeypatch.setattr(deletions, "TRIM_BYTES", 5 * self.KIB)
        assert deletions.trim_stored(db, 1)
        assert self.left(db) == {*tasks[3:]}

    def test_the_leader_does_it_where_it_is_set(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        user = new_user(db)
        old = self.ended(db, user, 2)
        maintain(db)
        assert self.left(db) == {old}
        monkeypatch.setattr(get_settings(), "retention_bytes", 5 * self.KIB)
        maintain(db)
        assert self.left(db) == set()

    @pytest.mark.postgresql("it counts the reads of PostgreSQL's TOAST table")
    def test_large_values_are_not_read(self, db: Session) -> None:
        """Neither by the quotas, nor by the triggers, nor by the retention that deletes nothing."""
        user = new_user(db)
        noise = "".join(chr(33 + byte % 90) for byte in random.Random(1).randbytes(200_000))
        for _ in range(3):
            self.ended(db, user, 0.5, size=0)
            db.execute(text("UPDATE tasks SET tags = tags"))
        task = new_task(db, user, kwargs={"param": noise})
        read = "SELECT coalesce(seq_scan, 0) + coalesce(idx_scan, 0) FROM pg_stat_xact_all_tables WHERE relid = "
        toast = "(SELECT reltoastrelid FROM pg_class WHERE relname = 'tasks')"
        before = db.execute(text(read + toast)).scalar_one()
        task_changes.revoke_pending(db, task.id)
        quota_statements.read_quota_use(db, user_id=user, queued=100, rated=True, window=60, oldest=UUID(int=0))
        retention_statements.delete_oldest(db, user, 10**9, timedelta(hours=1), 100)
        assert db.execute(text(read + toast)).scalar_one() == before
        db.execute(text("SELECT md5(kwargs) FROM tasks"))
        assert db.execute(text(read + toast)).scalar_one() > before  # so would a read be seen


LONG_AGO = {"user_id": ALL_USERS, "step_seconds": 60, "at": datetime.now(UTC) - timedelta(days=1)}
OLD_ROWS = [LONG_AGO | {"measure": "run", "bucket": bucket, "number": 1} for bucket in range(7)]


class TestTidying:
    """Of what no window shows any more, beyond one batch."""

    RULES = tuple(replace(rule, batch=2) for rule in FORGET if rule.table == "task_durations")

    @pytest.fixture(autouse=True)
    def old_rows(self, db: Session) -> None:
        db.execute(insert(task_durations), OLD_ROWS)
        db.commit()

    @pytest.fixture
    def this(self) -> Round:
        return Round(get_settings(), None, Event())

    def left(self, db: Session) -> int:
        return db.scalars(select(func.count()).select_from(task_durations)).one()

    def test_one_pass_deletes_batch_after_batch(
        self, db: Session, this: Round, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.maintenance.rounds.BATCHES_SECONDS", 60)
        assert deletions.forget_pass(self.RULES).run(db, this) is None
        assert self.left(db) == 0

    def test_what_takes_longer_is_left_to_the_next_passes_and_what_has_nothing_left_to_those_of_its_time(
        self, db: Session, this: Round, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.maintenance.rounds.BATCHES_SECONDS", 0)
        one, left = deletions.forget_pass(self.RULES), []
        while one.run(db, this) is not None:
            left.append(self.left(db))
        assert left == [5, 3, 1]
        assert self.left(db) == 0
        db.execute(insert(task_durations), OLD_ROWS)
        assert one.run(db, this) is None
        assert self.left(db) == 7

    def test_a_rule_that_fails_keeps_no_other_one(self, db: Session, this: Round) -> None:
        def fail(*_: object) -> int:
            raise ValueError("no")

        one = deletions.forget_pass((Rule("broken", fail), *self.RULES))
        with pytest.raises(ValueError, match="no"):
            one.run(db, this)
        while one.run(db, this) is not None:
            pass
        assert self.left(db) == 0


class TestAnIdleService:
    @pytest.fixture
    def quiet(self, fresh_database: None) -> Iterator[Session]:
        """On a database of its own: the looks have a connection of their own."""
        del fresh_database
        with SessionLocal() as db:
            yield db

    def test_costs_a_round_of_few_statements(self, quiet: Session) -> None:
        new_task(quiet, delay_seconds=3600)  # no reason to look at anything
        maintenance = Maintenance(get_settings())
        while maintenance.run_once(quiet) and quiet.scalar(select(exists().select_from(task_count_changes))):
            pass
        maintenance.run_once(quiet)
        with statements() as sent:
            assert maintenance.run_once(quiet)
        # The lease is read, renewed and read; then one question.
        assert len(sent) <= 5, sent

    def test_costs_a_process_that_stands_by_one_statement(self, quiet: Session) -> None:
        assert lease.acquire(quiet, FIRST, get_settings())
        maintenance = Maintenance(get_settings())
        with statements() as sent:
            assert not maintenance.run_once(quiet)
        assert len(sent) == 1, sent


class TestLease:
    def expire(self, db: Session, seconds: int = 1) -> None:
        statement = (
            "UPDATE maintenance_lease SET expires_at = now() - interval '1 s', renewed_at = now() - :s * interval '1 s'"
        )
        db.execute(spelled(statement, {"s": seconds}))
        db.commit()

    def test_one_leads_and_the_other_stands_by(self, db: Session) -> None:
        assert lease.acquire(db, FIRST, get_settings()) is not None
        assert lease.acquire(db, SECOND, get_settings()) is None
        assert lease.acquire(db, FIRST, get_settings()) is not None

    def test_a_leader_that_stopped_renewing_is_replaced(self, db: Session) -> None:
        lease.acquire(db, FIRST, get_settings())
        self.expire(db)
        assert lease.acquire(db, SECOND, get_settings()) is not None
        assert lease.acquire(db, FIRST, get_settings()) is None

    def test_a_leader_that_stops_lets_go_at_once(self, db: Session) -> None:
        lease.acquire(db, FIRST, get_settings())
        lease.release(db, FIRST)
        assert lease.acquire(db, SECOND, get_settings()) is not None

    @pytest.mark.parametrize("first", [FIRST, THIRD], ids=["after a worker", "after a beat"])
    def test_a_beat_takes_it_from_a_worker_and_from_no_beat(self, db: Session, first: UUID) -> None:
        is_beat = first == THIRD
        lease.acquire(db, first, get_settings(), as_beat=is_beat)
        taken = lease.acquire(db, SECOND, get_settings(), as_beat=True)
        assert (taken is None) == is_beat
        assert lease.acquire(db, FIRST, get_settings()) is None  # nor does a worker take it back
        assert lease.acquire(db, SECOND if taken else first, get_settings(), as_beat=True) is not None

    def test_a_worker_leads_once_no_beat_has_told_of_itself(self, db: Session) -> None:
        lease.acquire(db, FIRST, get_settings(), as_beat=True)
        assert lease.acquire(db, SECOND, get_settings()) is None
        self.expire(db)
        assert lease.acquire(db, SECOND, get_settings()) is not None
        assert lease.acquire(db, FIRST, get_settings(), as_beat=True) is not None  # a frozen one that goes on

    def test_after_a_gap_nothing_is_rescued_for_one_lease(self, db: Session) -> None:
        lease.acquire(db, FIRST, get_settings())
        db.execute(spelled("UPDATE maintenance_lease SET rescue_after = now() - interval '1 s'"))
        held = lease.acquire(db, FIRST, get_settings())
        assert held is not None
        assert held.may_rescue
        self.expire(db, seconds=60)
        held = lease.acquire(db, SECOND, get_settings())
        assert held is not None
        assert not held.may_rescue
