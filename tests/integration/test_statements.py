"""What modules of `app.db` promise on every engine, asked directly; the other files of `STATEMENTS` have the rest.

On PostgreSQL the tests of HTTP see these statements once more. On the other engines they would repeat all of HTTP.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import first_id_at, new_id
from app.db.statements import bulk, claim_holds, live, startable, submissions, task_numbers
from app.db.statements.bulk import lock_running, lock_tasks
from app.db.statements.live import NEWEST
from app.db.statements.submissions import QuotaUse
from app.db.statements.tables import TASKS
from app.ddl.terms import task_bytes
from app.errors import UniqueKeyTaken
from app.models import Task
from app.models.audit import AuditRecord
from app.models.bulk import BATCH, BulkBatch, BulkDeed, DeedState, unpack_ids
from app.models.queue import HoldKind
from app.models.task import IdempotencyKey, OnConflict, TaskStatus
from app.models.task_filter import TaskFilter
from app.schemas.task import TaskCreate
from app.services.audit import AuditFilter, audit_service
from app.services.execution.claims import Claims
from app.services.retention import FORGET
from app.services.task_service import task_service
from app.services.tasks import task_counts, task_queries
from app.services.tasks.unique_keys import holders, is_taken
from tests.support.databases import ENGINE
from tests.support.lock_waits import after_the_commit, needs_row_locks
from tests.support.spelling import spelled
from tests.support.statements import before_each_statement
from tests.support.tasks import LONG_RUNNING, WORKER, claim, lines_of, names, new_task, new_user, task_in

DAY = timedelta(days=1)
DIGEST = b"d" * 32
EVERY_STATUS = [*TaskStatus]
WANTED = TaskCreate(name="a task", task_type="test", celery_task_name=LONG_RUNNING, args=[1])


def sql_of(db: Session, statement: str, **values: Any) -> Any:
    return db.execute(spelled(statement, values)).scalar_one()


def aged(db: Session, table: str, column: str, days: float) -> None:
    """As if what is in the table had come so many days earlier."""
    db.execute(
        spelled(f"UPDATE {table} SET {column} = now() - make_interval(secs => :seconds)", {"seconds": days * 86400})
    )


class TestIdempotencyKeys:
    @staticmethod
    def take(db: Session, user: UUID, key: str = "key", ids: tuple[str, ...] = ("x",), digest: bytes = DIGEST) -> bool:
        created: dict[str, Any] = {"task_id": None, "task_ids": [*ids]}
        return bool(submissions.take_idempotency_key(db, user, key, digest, created, lifetime=DAY))

    @staticmethod
    def recorded(db: Session) -> list[tuple[bytes, list[str]]]:
        rows = db.execute(select(IdempotencyKey.fingerprint, IdempotencyKey.task_ids)).all()
        return [(bytes(fingerprint), ids) for fingerprint, ids in rows]

    def test_are_taken_once_for_each_user_and_each_spelling(self, db: Session) -> None:
        anna, ben = new_user(db), new_user(db)
        assert [self.take(db, *who) for who in ((anna,), (ben,), (anna, "Key"), (anna, "kéy"))] == [True] * 4
        assert not self.take(db, anna)

    def test_are_free_again_after_their_lifetime_and_not_before(self, db: Session) -> None:
        anna = new_user(db)
        self.take(db, anna)
        aged(db, "idempotency_keys", "created_at", 0.99)
        assert not self.take(db, anna, ids=("y", "z"), digest=b"n" * 32)
        assert self.recorded(db) == [(DIGEST, ["x"])]
        aged(db, "idempotency_keys", "created_at", 1.01)
        assert self.take(db, anna, ids=("y", "z"), digest=b"n" * 32)
        assert not self.take(db, anna)
        assert self.recorded(db) == [(b"n" * 32, ["y", "z"])]

    def test_go_with_their_user(self, db: Session) -> None:
        anna = new_user(db)
        self.take(db, anna)
        db.execute(spelled("DELETE FROM users WHERE id = :id", {"id": anna}))
        assert db.scalar(select(func.count()).select_from(IdempotencyKey)) == 0

    def test_are_deleted_in_batches_once_they_have_expired(self, db: Session) -> None:
        anna = new_user(db)
        for number in range(5):
            self.take(db, anna, f"old {number}")
        aged(db, "idempotency_keys", "created_at", 2)
        self.take(db, anna, "fresh")
        rule = next(rule for rule in FORGET if rule.table == "idempotency_keys")
        assert [rule.delete(db, get_settings(), 2) for _ in range(4)] == [2, 2, 1, 0]
        assert list(db.scalars(select(IdempotencyKey.key))) == ["fresh"]

    @needs_row_locks
    def test_that_another_transaction_has_not_committed_are_refused_without_a_wait(
        self, one: Session, other: Session
    ) -> None:
        anna, ben = new_user(one), new_user(one)
        assert self.take(one, anna)
        assert not self.take(other, anna)
        assert self.take(other, ben)
        assert self.take(other, anna, "another")
        other.rollback()
        one.rollback()
        assert self.take(other, anna)

    @needs_row_locks
    def test_that_two_transactions_look_up_at_once_are_taken_by_one_of_them(self, one: Session, other: Session) -> None:
        anna = new_user(one)
        answers: list[bool] = []

        def meanwhile(statement: str, _: object) -> None:
            if statement.startswith("INSERT INTO idempotency_keys") and not answers:
                answers.append(False)
                answers[0] = self.take(other, anna)
                other.commit()

        with before_each_statement(meanwhile):
            mine = self.take(one, anna)
        assert sorted([mine, *answers]) == [False, True]


class TestQuotas:
    @staticmethod
    def look(db: Session, user: UUID, *, queued: int = 1000, rated: bool = True) -> QuotaUse:
        oldest = first_id_at(time.time() - 120)
        return submissions.read_quota_use(db, user_id=user, queued=queued, rated=rated, window=60, oldest=oldest)

    def test_a_user_without_tasks_has_nothing(self, db: Session) -> None:
        assert self.look(db, new_user(db)) == (0, 0, 0, 0, 0.0, 0)

    def test_count_what_waits_or_runs_and_its_bytes(self, db: Session) -> None:
        anna = new_user(db)
        for status in EVERY_STATUS:
            task_in(db, status, anna, kwargs={"of": "数据"})
        new_task(db)  # another user's
        found = self.look(db, anna)
        assert found.tasks == 2
        assert found.bytes == 2 * len(r'[1]{"of":"\u6570\u636e"}')
        rows = "SELECT sum(:bytes) FROM tasks WHERE user_id = :user AND finished_at IS".replace(
            ":bytes", task_bytes("tasks")
        )
        active, ended = (int(sql_of(db, f"{rows} {kind}", user=anna)) for kind in ("NULL", "NOT NULL"))
        assert (found.stored, found.ended) == (active, ended)
        while task_counts.fold(db):
            pass
        assert self.look(db, anna).ended == ended

    def test_stop_counting_where_a_quota_is_full(self, db: Session) -> None:
        anna = new_user(db)
        for _ in range(5):
            new_task(db, anna)
        assert self.look(db, anna, queued=3).tasks == 3

    def test_count_the_tasks_of_the_last_minute_where_they_are_asked_for(self, db: Session) -> None:
        anna = new_user(db)
        for _ in range(3):
            new_task(db, anna)
        assert self.look(db, anna, rated=False)[3:5] == (0, 0.0)
        found = self.look(db, anna)
        assert found.recent == 3
        assert 50 < found.recent_seconds <= 60
        db.execute(spelled("UPDATE tasks SET created_at = created_at - interval '61 seconds'"))
        assert self.look(db, anna)[3:5] == (0, 0.0)


class TestUniqueKeys:
    @staticmethod
    def violation(db: Session, action: Callable[[], object]) -> IntegrityError:
        with pytest.raises(IntegrityError) as caught, db.begin_nested():
            action()
        return caught.value

    @staticmethod
    def place(db: Session, task_id: UUID) -> tuple[Any, ...]:
        return tuple(db.execute(select(TASKS.c.turn, TASKS.c.due_at).where(TASKS.c.id == task_id)).one())

    def test_a_violation_is_told_from_others(self, db: Session) -> None:
        anna = new_user(db)
        # MySQL tells the value first, which the user has chosen.
        key = "uq_tasks_active_key' tasks.user_id, tasks.active_key"
        task = new_task(db, anna, unique_key=key)
        row = db.execute(select(TASKS).where(TASKS.c.id == task.id)).mappings().one()
        taken = self.violation(db, lambda: db.execute(insert(TASKS).values({**row, "id": new_id()})))
        keyless = {**row, "unique_key": None, "active_key": None}
        same_id = self.violation(db, lambda: db.execute(insert(TASKS).values(keyless)))
        assert [is_taken(error) for error in (taken, same_id)] == [True, False]

    def test_are_held_by_the_unfinished_tasks_of_each_user_in_their_spelling(self, db: Session) -> None:
        anna = new_user(db)
        held = {key: new_task(db, anna, unique_key=key).id for key in ("a", "A", "á", "a ")}
        new_task(db, unique_key="b")
        task_in(db, TaskStatus.SUCCEEDED, anna, unique_key="ended")
        running = task_in(db, TaskStatus.RUNNING, anna, unique_key="running").id
        assert holders(db, anna, [*held, "b", "ended", "running"]) == held | {"running": running}

    def test_a_conflict_is_refused_returned_or_replaced(self, db: Session) -> None:
        anna = new_user(db)
        first = new_task(db, anna, unique_key="key", args=[1], tags=["old"])
        with pytest.raises(UniqueKeyTaken):
            new_task(db, anna, unique_key="key")
        assert new_task(db, anna, unique_key="key", on_conflict=OnConflict.RETURN, args=[2]).id == first.id
        assert task_service.get_task(db, first.id).args == [1]
        new_task(db, anna)
        place = self.place(db, first.id)
        assert place[0] is not None
        new_task(db, anna, unique_key="key", on_conflict=OnConflict.REPLACE, args=[3])
        assert self.place(db, first.id) == place
        before = new_task(db, anna, priority="high")
        replaced = new_task(db, anna, unique_key="key", on_conflict=OnConflict.REPLACE, args=[2], priority="high")
        assert self.place(db, first.id)[0] > self.place(db, before.id)[0]
        assert (replaced.id, replaced.args, replaced.priority, replaced.tags) == (first.id, [2], "high", [])

    @pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.REVOKED])
    def test_a_retry_takes_its_key_again_unless_another_has_it(self, db: Session, status: TaskStatus) -> None:
        anna = new_user(db)
        old = task_in(db, status, anna, unique_key="key")
        second = new_task(db, anna, unique_key="key")
        with pytest.raises(UniqueKeyTaken):
            task_service.retry_task(db, old.id)
        task_service.cancel_task(db, second.id)
        task_service.retry_task(db, old.id)
        assert holders(db, anna, ["key"]) == {"key": old.id}


class TestLiveEvents:
    def test_find_what_changed_since_in_the_order_of_the_changes(self, db: Session) -> None:
        anna = new_user(db)
        tasks = {status: task_in(db, status, anna) for status in EVERY_STATUS}
        others = new_task(db)
        since, since_id = datetime.now(UTC) - timedelta(minutes=1), first_id_at(time.time() - 60)
        found = live.recent(db.connection(), [anna], since, since_id)
        assert {(each.id, each.user_id, each.version) for each in tasks.values()} == {*found}
        assert {row[0] for row in live.recent(db.connection(), [anna, others.user_id], since, since_id)} == {
            others.id, *(each.id for each in tasks.values()),
        }  # fmt: skip
        first = min(each.id for each in tasks.values())
        db.execute(spelled("UPDATE tasks SET updated_at = clock_timestamp() WHERE id = :id", {"id": first}))
        changed = live.changed_since(db.connection(), anna, since, 100)
        assert changed == [*(each.id for each in tasks.values() if each.id != first), first]
        assert live.changed_since(db.connection(), anna, since, 2) == changed[:2]
        in_future = datetime.now(UTC) + timedelta(minutes=1)
        assert live.changed_since(db.connection(), anna, in_future, 100) == []

    def test_find_an_ended_task_that_was_edited_among_the_newest(self, db: Session) -> None:
        anna, table = new_user(db), Task.__table__
        old = task_in(db, TaskStatus.SUCCEEDED, anna)
        row = db.execute(select(table).where(table.c.id == old.id)).mappings().one()
        db.execute(insert(table), [{**row, "id": new_id(), "celery_id": new_id()} for _ in range(NEWEST)])
        newest = task_in(db, TaskStatus.SUCCEEDED, anna)
        since = datetime.now(UTC) + timedelta(seconds=1)
        db.execute(update(Task).where(Task.id == newest.id).values(updated_at=since + timedelta(seconds=1)))
        assert live.changed_since(db.connection(), anna, since, 100) == [newest.id]


class TestBulkDeeds:
    @staticmethod
    def new(db: Session, user: UUID) -> UUID:
        deed = BulkDeed(user_id=user, deed="cancel")
        db.add(deed)
        db.flush()
        return deed.id

    def test_collect_all_that_match_oldest_first_in_batches(self, db: Session) -> None:
        anna = new_user(db)
        wanted = task_service.create_tasks(db, [WANTED] * (BATCH + 1), anna)
        task_in(db, TaskStatus.RUNNING, anna)
        new_task(db)
        deed = self.new(db, anna)
        conditions = [Task.user_id == anna, Task.status == TaskStatus.PENDING.value]
        assert bulk.collect(db, deed, conditions) == BATCH + 1
        batches = db.execute(select(BulkBatch.number, BulkBatch.task_ids).order_by(BulkBatch.number)).all()
        ids = sorted(task.id for task in wanted)
        assert [(number, unpack_ids(packed)) for number, packed in batches] == [(0, ids[:BATCH]), (1, ids[BATCH:])]
        assert bulk.collect(db, self.new(db, anna), [Task.user_id == new_user(db)]) == 0

    def test_lock_what_nobody_else_has_locked(self, one: Session, other: Session) -> None:
        anna = new_user(one)
        deed = self.new(one, anna)
        mine, theirs = new_task(one, anna, kwargs={"of": "数"}), new_task(one)
        one.commit()
        ids = [mine.id, theirs.id, new_id()]
        assert lock_running(one, deed) is not None
        assert {each.id for each in lock_tasks(one, ids, None)} == {mine.id, theirs.id}
        (own,) = lock_tasks(one, ids, anna)
        assert (own.id, own.user_id, own.status, own.arguments_bytes) == (
            mine.id,
            anna,
            "pending",
            len(r'[1]{"of":"\u6570"}'),
        )
        if ENGINE != "sqlite":  # whose one writer is `one`
            assert lock_running(other, deed) is None
            assert lock_tasks(other, ids, None) == []
        one.rollback()
        one.get_one(BulkDeed, deed).state = DeedState.ABORTED.value
        one.get_one(BulkDeed, deed).finished_at = datetime.now(UTC)
        one.flush()
        assert lock_running(one, deed) is None


class TestClaimHolds:
    def test_a_second_one_keeps_the_time_and_takes_the_new_reason(self, db: Session) -> None:
        anna, ben = new_user(db), new_user(db)
        since = claim_holds.hold(db, HoldKind.QUEUE, "default", "first", anna)
        claim_holds.hold(db, HoldKind.WORKER, str(new_id()), None, None)
        assert claim_holds.hold(db, HoldKind.QUEUE, "default", "second", ben) == since
        assert [tuple(row) for row in claim_holds.held(db, HoldKind.QUEUE)] == [("default", since, "second", ben)]

    @needs_row_locks
    def test_a_pause_waits_for_the_claim_that_has_not_seen_it(self, one: Session, other: Session) -> None:
        self.claim_and_commit(one)
        task = new_task(one)
        one.commit()
        assert [found.id for found in self.claim_in(one)] == [task.id]

        def pause() -> None:
            claim_holds.hold(other, HoldKind.QUEUE, "default", None, None)
            other.commit()

        after_the_commit(one, pause)

    @needs_row_locks
    def test_a_claim_waits_for_the_pause_that_is_being_made_and_obeys_it(self, one: Session, other: Session) -> None:
        self.claim_and_commit(one)
        new_task(one)
        one.commit()
        claim_holds.hold(one, HoldKind.QUEUE, "default", None, None)
        assert after_the_commit(one, lambda: self.claim_in(other)) == []

    def claim_and_commit(self, db: Session) -> None:
        """Off PostgreSQL the first claim in a database's life makes the row that claims and holds lock."""
        new_task(db)
        db.commit()
        assert self.claim_in(db)
        db.commit()

    @staticmethod
    def claim_in(db: Session) -> Any:
        return Claims(lines_of("default")).next(db, names(), new_id(), WORKER)


class TestSubmissions:
    def test_a_batch_counts_each_of_its_tasks(self, db: Session) -> None:
        anna = new_user(db)
        task_service.create_tasks(db, [WANTED] * 3 + [WANTED.model_copy(update={"task_type": "other"})], anna)
        new_task(db, anna)
        rows = "SELECT task_type, sum(number) FROM task_submissions WHERE user_id = :id GROUP BY 1"
        found = {kind: int(number) for kind, number in db.execute(spelled(rows, {"id": anna}))}
        assert found == {"test": 4, "other": 1}


class TestQueueDepths:
    def test_count_what_waits_is_due_runs_and_has_started(self, db: Session) -> None:
        for status in EVERY_STATUS:
            task_in(db, status)
        new_task(db, run_at=datetime.now(UTC) + DAY)
        started = task_in(db, TaskStatus.RUNNING, priority="critical")
        db.execute(
            spelled(
                "UPDATE tasks SET due_at = now() - interval '90 seconds' WHERE status = 'pending' AND run_at IS NULL"
            )
        )
        ((queue, _, held, pending, due, age),) = startable.by_queue(db)
        assert (queue, held, pending, due) == ("default", None, 2, 1)
        assert age is not None
        assert round(float(age)) in range(88, 200)
        assert sorted(task_numbers.read_running_by_queue(db)) == [
            ("default", WORKER.id, 1), (started.queue, WORKER.id, 1),
        ]  # fmt: skip
        starts = dict(task_numbers.read_starts_by_queue(db))
        assert starts[started.queue] == 1
        assert starts["default"] >= 3  # that runs, and what has ended

    def test_tell_whether_a_queue_has_unfinished_tasks(self, db: Session) -> None:
        assert not task_numbers.has_unfinished_in_queue(db, "default")
        task_in(db, TaskStatus.SUCCEEDED)
        assert not task_numbers.has_unfinished_in_queue(db, "default")
        task = new_task(db)
        assert task_numbers.has_unfinished_in_queue(db, "default")
        claim(db, task)
        assert task_numbers.has_unfinished_in_queue(db, "default")
        assert not task_numbers.has_unfinished_in_queue(db, "high_priority")


class TestLists:
    def test_of_tasks_end_at_a_mebibyte_in_the_order_that_was_asked_for(self, db: Session) -> None:
        anna = new_user(db)
        long = [new_task(db, anna, kwargs={"of": "x" * 200_000}).id for _ in range(7)]
        found = task_queries.shown_page(db, TaskFilter(user_id=anna), 10)
        assert ([each["id"] for each in found.items], found.last) == (long[:1:-1], long[2].hex)
        rest = task_queries.shown_page(db, TaskFilter(user_id=anna, status=[TaskStatus.PENDING]), 10, cursor=found.last)
        assert ([each["id"] for each in rest.items], rest.last) == ([long[1], long[0]], None)
        assert [each["id"] for each in task_queries.shown_tasks(db, [long[3], new_id(), long[1]])] == [long[3], long[1]]

    def test_by_time_go_on_where_the_cursor_says(self, db: Session) -> None:
        at = datetime.now(UTC)
        same = [(at - timedelta(seconds=number // 2), new_id()) for number in range(5)]  # two at a time
        rows = [
            {"id": each, "at": when, "event": "logout", "origin": "http", "object_kind": "user", "object_id": "q"}
            for when, each in same
        ]
        db.execute(insert(AuditRecord.__table__), rows)
        found, cursor = [], None
        for most in (2, 2, 1):
            page = audit_service.list_page(db, AuditFilter(object_id="q"), 2, cursor)
            assert len(page.items) == most
            found += [(record.at, record.id) for record in page.items]
            cursor = page.last
        assert page.last is None
        assert found == sorted(same, reverse=True)
