"""What is due is sent, what the broker lost is sent again, what a dead worker held is rescued. Real Valkey."""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
import redis
from sqlalchemy import text, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.postgresql import quotas as quota_statements
from app.db.postgresql import retention
from app.maintenance import lease, loop, passes
from app.maintenance.loop import Maintenance
from app.messaging import due
from app.messaging.application import celery_app
from app.messaging.dispatches import Dispatch
from app.messaging.sending import BrokerLink
from app.models import Task, WorkerProcess
from app.models.task import TaskStatus
from app.services.execution.attempts import WorkerIdentity
from app.services.task_service import task_service
from app.services.tasks import task_changes, task_counts
from tests.support.ahead import Ahead
from tests.support.tasks import claim, new_task, new_user, task_in

GRACE = 5.0
LEASE = timedelta(seconds=30)
FIRST, SECOND = new_id(), new_id()  # processes
Look = Callable[..., None]


@pytest.fixture(autouse=True)
def unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API process died between commit and publish: everything is left to maintenance."""
    monkeypatch.setattr("app.messaging.publisher.publish", lambda dispatches: None)


@pytest.fixture
def broker(db: Session) -> Iterator[Any]:
    """A client of the broker that this test's settings name."""
    url = get_settings().celery_broker_url
    assert url is not None
    with redis.Redis.from_url(url.get_secret_value()) as client:
        yield client


@pytest.fixture
def maintenance(db: Session) -> Iterator[Maintenance]:
    maintenance = Maintenance(get_settings())
    yield maintenance
    maintenance.close()


def make_due(db: Session, task: Task) -> None:
    db.execute(update(Task).where(Task.id == task.id).values(dispatch_at=datetime.now(UTC) - timedelta(seconds=1)))
    db.commit()


def due_task(db: Session, **options: Any) -> Task:
    task = new_task(db, **options)
    make_due(db, task)
    return task


def sent_long_ago(db: Session, *tasks: Task) -> None:
    for task in tasks:
        aged = "UPDATE tasks SET dispatched_at = dispatched_at - interval '1 minute' WHERE id = :id"
        db.execute(text(aged), {"id": task.id})
    db.commit()


@pytest.fixture
def look(maintenance: Maintenance, db: Session, monkeypatch: pytest.MonkeyPatch) -> Look:
    """`look(times)`: passes that ask what the broker has lost; the first only remembers what is at the front."""
    clock = Ahead()
    monkeypatch.setattr(loop, "time", clock)

    def run(times: int = 2) -> None:
        for _ in range(times):
            clock.passes(loop.LOST_SECONDS)
            maintenance.run_once(db)

    return run


def messages(broker: Any) -> int:
    return sum(broker.llen(key) for key in broker.keys("*") if broker.type(key) == b"list")


class TestDue:
    def test_a_row_is_taken_once_a_window(self, db: Session) -> None:
        task = new_task(db)
        assert due.take_due(db, GRACE) == []
        make_due(db, task)
        assert [taken.id for taken in due.take_due(db, GRACE)] == [task.id]
        assert due.take_due(db, GRACE) == []

    def test_what_was_sent_is_pushed_far_out_and_no_client_sees_it(self, db: Session) -> None:
        task = new_task(db)
        version, window = task.version, Dispatch.of(task)
        due.mark_dispatched(db, [window])
        marked = task_service.get_task(db, task.id)
        assert marked.dispatched_at is not None
        assert marked.dispatch_at > window.dispatch_at
        assert marked.version == version

    def test_a_mark_for_an_older_window_does_nothing(self, db: Session) -> None:
        task = new_task(db)
        window = Dispatch.of(task)
        later = datetime.now(UTC) + timedelta(hours=3)
        task_service.update_task(db, task.id, {"run_at": later})
        due.mark_dispatched(db, [window])
        moved = task_service.get_task(db, task.id)
        assert (moved.dispatch_at, moved.dispatched_at) == (later, None)

    def test_a_mark_after_the_claim_does_nothing(self, db: Session) -> None:
        task = new_task(db)
        window = Dispatch.of(task)
        claim(db, task)
        due.mark_dispatched(db, [window])
        assert task_service.get_task(db, task.id).dispatch_at is None


class TestPass:
    def test_sends_what_is_due_and_marks_it(self, db: Session, maintenance: Maintenance, broker: Any) -> None:
        task = due_task(db)
        assert maintenance.run_once(db)
        assert messages(broker) == 1
        assert task_service.get_task(db, task.id).dispatched_at is not None

    def test_sends_no_arguments(self, db: Session, maintenance: Maintenance, broker: Any) -> None:
        due_task(db, kwargs={"password": "hunter2"})
        maintenance.run_once(db)
        content = b"".join(
            item for key in broker.keys("*") if broker.type(key) == b"list" for item in broker.lrange(key, 0, -1)
        )
        assert b"hunter2" not in content

    def test_leaves_the_rest_of_the_time_alone(self, db: Session, maintenance: Maintenance, broker: Any) -> None:
        new_task(db, delay_seconds=60)
        maintenance.run_once(db)
        assert messages(broker) == 0

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


class TestResend:
    def test_a_broker_that_came_back_empty_gets_everything_again(
        self, db: Session, maintenance: Maintenance, broker: Any, look: Look
    ) -> None:
        for _ in range(3):
            due_task(db)
        maintenance.run_once(db)
        assert messages(broker) == 3
        broker.flushdb()
        look(1)
        assert messages(broker) == 3

    def test_a_message_that_an_empty_queue_has_lost(
        self, db: Session, maintenance: Maintenance, broker: Any, look: Look
    ) -> None:
        task = due_task(db)
        maintenance.run_once(db)
        broker.delete("default\x06\x166")
        assert messages(broker) == 0
        look()
        assert messages(broker) == 0  # out for a moment only: a worker may be about to claim it
        sent_long_ago(db, task)
        look()
        assert messages(broker) == 1

    def test_messages_that_later_ones_have_overtaken(
        self, db: Session, maintenance: Maintenance, broker: Any, look: Look
    ) -> None:
        tasks = []
        for _ in range(6):
            tasks.append(due_task(db))
            maintenance.run_once(db)
        for _ in range(2):  # popped from the end that workers pop from, and never claimed
            broker.rpop("default\x06\x166")
        lost = self._records(broker, tasks)
        assert lost == {tasks[0].id, tasks[1].id}
        sent_long_ago(db, *tasks)
        look(1)
        assert messages(broker) == 4  # the front may be about to move
        look(3)
        assert (messages(broker), self._records(broker, tasks)) == (6, set())

    def test_a_lost_message_of_one_priority_is_not_made_up_for_by_another(
        self, db: Session, maintenance: Maintenance, broker: Any, look: Look
    ) -> None:
        critical, high = due_task(db, priority="critical"), due_task(db, priority="high")
        maintenance.run_once(db)
        broker.delete("high_priority")
        sent_long_ago(db, critical, high)
        look()
        assert (broker.llen("high_priority"), broker.llen("high_priority\x06\x163")) == (1, 1)

    @pytest.mark.parametrize("queue", ["gpu", "default", "high_priority", "low_priority"])
    def test_each_declared_queue_and_each_that_a_task_type_names_is_looked_at(
        self,
        db: Session,
        maintenance: Maintenance,
        broker: Any,
        look: Look,
        monkeypatch: pytest.MonkeyPatch,
        queue: str,
    ) -> None:
        kinds = {"mine": SimpleNamespace(queue="gpu"), "other": SimpleNamespace(queue=None)}
        monkeypatch.setattr(loop, "catalogue", lambda: kinds)
        maintenance.run_once(db)  # it knows the broker now
        task = new_task(db)
        db.execute(update(Task).where(Task.id == task.id).values(queue=queue))
        due.mark_dispatched(db, [Dispatch.of(task)])  # by another process, and the message was lost
        sent_long_ago(db, task)
        look()
        assert broker.llen(f"{queue}\x06\x166") == 1

    @staticmethod
    def _records(broker: Any, tasks: list[Task]) -> set[UUID]:
        """The tasks that the default queue holds no message for."""
        found = {UUID(json.loads(item)["headers"]["task_record"]) for item in broker.lrange("default\x06\x166", 0, -1)}
        return {task.id for task in tasks} - found

    def test_nothing_is_sent_again_while_the_queue_still_holds_messages(
        self, db: Session, maintenance: Maintenance, broker: Any, look: Look
    ) -> None:
        tasks = [due_task(db) for _ in range(3)]
        maintenance.run_once(db)
        sent_long_ago(db, *tasks)
        look(3)
        assert messages(broker) == 3

    def test_without_a_broker_rows_stay_due(
        self, db: Session, maintenance: Maintenance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        due_task(db)
        monkeypatch.setattr(celery_app.conf, "broker_write_url", "redis://127.0.0.1:1/0")
        assert maintenance.run_once(db)
        assert passes.anything_due(db)
        with pytest.raises(Exception, match="refused"):
            BrokerLink().producer()


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
        assert passes.rescue_lost(db, silent_for=LEASE) == 0  # it has just claimed: it lives
        db.execute(text("UPDATE tasks SET started_at = started_at - interval '31 s' WHERE id = :id"), {"id": task.id})
        assert passes.rescue_lost(db, silent_for=LEASE) == 1
        assert task_service.get_task(db, task.id).status == "pending"

    def test_not_while_an_outage_has_made_every_worker_silent(self, db: Session) -> None:
        worker = self.registered(db, heartbeat_at=datetime.now(UTC) - timedelta(hours=1))
        claim(db, new_task(db), worker)
        assert passes.rescue_lost(db, silent_for=None) == 0

    def test_a_worker_that_has_said_goodbye_holds_nothing(self, db: Session) -> None:
        worker = self.registered(db, stopped_at=datetime.now(UTC))
        claim(db, new_task(db), worker)
        assert passes.rescue_lost(db, silent_for=None) == 1

    def test_a_beating_workers_task_is_left_alone(self, db: Session) -> None:
        claim(db, new_task(db), self.registered(db))
        assert passes.rescue_lost(db, silent_for=LEASE) == 0

    def test_an_unknown_worker_is_given_one_lease(self, db: Session) -> None:
        task = new_task(db)
        claim(db, task)
        assert passes.rescue_lost(db, silent_for=LEASE) == 0
        db.execute(text("UPDATE tasks SET started_at = now() - interval '1 hour' WHERE id = :id"), {"id": task.id})
        assert passes.rescue_lost(db, silent_for=LEASE) == 1

    def test_long_gone_workers_are_forgotten_unless_they_hold_a_task(self, db: Session) -> None:
        ages_ago = datetime.now(UTC) - timedelta(days=2)
        self.registered(db, heartbeat_at=ages_ago)
        holder = self.registered(db, heartbeat_at=ages_ago)
        claim(db, new_task(db), holder)
        assert passes.forget_workers(db) == 1
        assert db.get(WorkerProcess, holder.id) is not None


class TestRetentionBytes:
    """What a user keeps beyond RETENTION_BYTES is deleted: what ended first, and nothing that has just ended."""

    KIB = 1024

    def ended(self, db: Session, user: UUID, hours_ago: float, size: int = 9 * 1024) -> UUID:
        task = task_in(db, TaskStatus.REVOKED, user, kwargs={"param": "x" * size})
        # No trigger: an ended task keeps its time.
        db.execute(text("ALTER TABLE tasks DISABLE TRIGGER USER"))
        aged = "UPDATE tasks SET finished_at = now() - make_interval(hours => 0, secs => :seconds) WHERE id = :id"
        db.execute(text(aged), {"id": task.id, "seconds": hours_ago * 3600})
        db.execute(text("ALTER TABLE tasks ENABLE TRIGGER USER"))
        db.commit()
        return task.id

    def left(self, db: Session) -> set[UUID]:
        return {*db.scalars(text("SELECT id FROM tasks WHERE finished_at IS NOT NULL"))}

    def test_what_ended_first_goes_first_whenever_it_was_created(self, db: Session) -> None:
        user = new_user(db)
        tasks = {hours: self.ended(db, user, hours) for hours in (2, 5, 3, 4)}  # 10 KiB and some bytes each
        assert not passes.trim_stored(db, 25 * self.KIB)
        assert self.left(db) == {tasks[2], tasks[3]}

    def test_of_others_nothing_goes(self, db: Session) -> None:
        modest, greedy = new_user(db), new_user(db)
        kept = self.ended(db, modest, 100)
        many = [self.ended(db, greedy, hours) for hours in (4, 3, 2)]
        waiting = new_task(db, greedy).id
        passes.trim_stored(db, 15 * self.KIB)
        assert self.left(db) == {kept, many[-1]}
        assert task_service.get_task(db, waiting).status is TaskStatus.PENDING

    def test_whether_the_changes_are_folded_makes_no_difference(self, db: Session) -> None:
        user = new_user(db)
        tasks = [self.ended(db, user, hours) for hours in (9, 8, 7, 6)]
        for folds in (False, True):
            for _ in range(3):  # the second pass knows what the first has deleted
                passes.trim_stored(db, 35 * self.KIB)
            assert self.left(db) == {*tasks[1:]}
            if not folds:
                task_counts.fold(db)

    def test_a_task_that_has_just_ended_stays_and_a_giant_too(self, db: Session) -> None:
        user = new_user(db)
        self.ended(db, user, 2)
        fresh, giant = self.ended(db, user, 0.9), self.ended(db, user, 0.5, size=200 * self.KIB)
        assert not passes.trim_stored(db, 50 * self.KIB)
        assert self.left(db) == {fresh, giant}

    def test_a_batch_is_bounded_in_tasks_and_in_bytes(self, db: Session, monkeypatch: pytest.MonkeyPatch) -> None:
        user = new_user(db)
        tasks = [self.ended(db, user, hours) for hours in (9, 8, 7, 6, 5)]
        monkeypatch.setattr(passes, "BATCH", 2)
        assert passes.trim_stored(db, 1)
        assert self.left(db) == {*tasks[2:]}
        monkeypatch.setattr(passes, "BATCH", 500)
        monkeypatch.setattr(passes, "TRIM_BYTES", 5 * self.KIB)
        assert passes.trim_stored(db, 1)
        assert self.left(db) == {*tasks[3:]}

    def test_the_leader_does_it_where_it_is_set(
        self, db: Session, maintenance: Maintenance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = new_user(db)
        old = self.ended(db, user, 2)
        maintenance.run_once(db)
        assert self.left(db) == {old}
        monkeypatch.setattr(get_settings(), "retention_bytes", 5 * self.KIB)
        maintenance.run_once(db)
        assert self.left(db) == set()

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
        quota_statements.look(db, user_id=user, queued=100, rated=True, window=60, oldest=UUID(int=0))
        retention.delete_oldest(db, user, 10**9, timedelta(hours=1), 100)
        assert db.execute(text(read + toast)).scalar_one() == before
        db.execute(text("SELECT md5(kwargs) FROM tasks"))
        assert db.execute(text(read + toast)).scalar_one() > before  # so would a read be seen


class TestLease:
    def expire(self, db: Session, seconds: int = 1) -> None:
        statement = (
            "UPDATE maintenance_lease SET expires_at = now() - interval '1 s', renewed_at = now() - :s * interval '1 s'"
        )
        db.execute(text(statement), {"s": seconds})
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

    def test_after_a_gap_nothing_is_rescued_for_one_lease(self, db: Session) -> None:
        lease.acquire(db, FIRST, get_settings())
        db.execute(text("UPDATE maintenance_lease SET rescue_after = now() - interval '1 s'"))
        held = lease.acquire(db, FIRST, get_settings())
        assert held is not None
        assert held.may_rescue
        self.expire(db, seconds=60)
        held = lease.acquire(db, SECOND, get_settings())
        assert held is not None
        assert not held.may_rescue
