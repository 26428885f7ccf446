"""The outbox: each event of a task that is followed comes to its consumers, at least once and in the task's order."""

import os
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy import delete, event, func, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.core.metrics import OutboxLag
from app.db.session import SessionLocal, dispose_engine, engine
from app.ddl.clock import NOW
from app.maintenance.passes import task_states
from app.maintenance.passes.backlogs import outbox_pass_of
from app.maintenance.rounds import Needs, Round
from app.models.outbox import OutboxRow
from app.models.task import Task
from app.models.worker import Period
from app.services import consumers, outbox
from app.services.execution import ends
from app.services.execution.attempts import NextTry
from app.services.outbox import MOST_FAILURES, Consumer, TaskEvent, Turn, add_followers, deliver_batch
from app.services.task_service import task_service
from app.services.tasks.new_rows import parse, rows_of
from app.services.tasks.task_creation import create_from_rows
from tests.support.database_errors import said
from tests.support.lock_waits import needs_row_locks
from tests.support.tasks import ERROR, LONG_RUNNING, claim, new_task, new_user


class Heard:
    """A consumer of a test: what it was told, and how often it is to fail on which task by itself."""

    def __init__(self, number: int = 0, name: str = "test") -> None:
        self.rows: list[tuple[UUID, str, int]] = []
        self.failures = Counter[UUID]()
        self.error: BaseException = ValueError("no, and the password=hunter2hunter2")
        self.consumer = Consumer(name, number, self._handle)

    def _handle(self, db: Session, rows: Sequence[TaskEvent]) -> None:
        db.add_all(Period(name=f"{self.consumer.name} {row.id}") for row in rows)
        db.flush()
        if any(self.failures[row.task_id] for row in rows):
            self.failures[rows[0].task_id] -= len(rows) == 1
            raise self.error
        self.rows += [(row.task_id, row.event, row.generation) for row in rows]

    def of(self, task: Task) -> list[str]:
        return [name for task_id, name, _ in self.rows if task_id == task.id]


@pytest.fixture
def heard() -> Heard:
    return Heard()


def followed(db: Session, *by: Heard, user: UUID | None = None, **options: Any) -> Task:
    task = new_task(db, user, **options)
    for each in by:
        assert add_followers(db, each.consumer.bit, Task.id == task.id) == 1
    db.commit()
    return task


def attempt_ends(db: Session, task: Task, ending: ends.Ending) -> None:
    assert ends.end_attempt(db, task.id, claim(db, task).attempt, ending)


def set_ends(db: Session, task: Task, ending: ends.Ending) -> None:
    claim(db, task)
    assert ends.end_tasks(db, ending, Task.id == task.id) == 1


def set_from_outside(db: Session, task: Task) -> None:
    claim(db, task)
    task_service.update_task_status(db, task.id, "failed", error="because")


def expire(db: Session, task: Task) -> None:
    db.execute(update(Task).where(Task.id == task.id).values(expires_at=NOW))
    db.commit()
    assert task_states.revoke_expired(db) == 1


def fail(db: Session, task: Task) -> None:
    attempt_ends(db, task, ends.failed(ERROR))
    db.commit()


def rows(db: Session) -> int:
    db.expire_all()
    return db.scalar(select(func.count()).select_from(OutboxRow)) or 0


def deliver(db: Session, *by: Heard) -> int:
    """As one round of maintenance does."""
    number = 0
    for each in by:
        while found := deliver_batch(db, each.consumer):
            number += found
    return number


def due_again(db: Session) -> None:
    """As if the back-off were over."""
    db.execute(update(OutboxRow).values(next_try_at=NOW))
    db.commit()


# Of a task that has ended in each of these ways.
WAYS: dict[str, tuple[Callable[[Session, Task], object], str]] = {
    "success": (lambda db, task: attempt_ends(db, task, ends.succeeded(1)), "succeeded"),
    "successes together": (
        lambda db, task: ends.end_successes(db, [ends.Success(task.id, claim(db, task).attempt, None)]),
        "succeeded",
    ),
    "failure": (lambda db, task: attempt_ends(db, task, ends.failed(ERROR)), "failed"),
    "stopped": (lambda db, task: attempt_ends(db, task, ends.stopped("ignored")), "revoked"),
    "loss": (lambda db, task: set_ends(db, task, ends.lost("a test")), "failed"),
    "time limit": (lambda db, task: set_ends(db, task, ends.overran(1.0)), "failed"),
    "cancel": (lambda db, task: task_service.cancel(db, task.id), "revoked"),
    "expiry": (expire, "revoked"),
    "from outside": (set_from_outside, "failed"),
}


class TestWhatIsTold:
    def test_nothing_of_a_task_that_nothing_follows(self, db: Session) -> None:
        task = new_task(db)
        fail(db, task)
        task_service.retry_task(db, task.id)
        task_service.cancel(db, task.id)
        task_service.delete(db, task.id)
        assert rows(db) == 0

    @pytest.mark.parametrize("way", WAYS)
    def test_each_end_with_its_status(self, db: Session, heard: Heard, way: str) -> None:
        end, status = WAYS[way]
        task = followed(db, heard)
        db.execute(update(Task).where(Task.id == task.id).values(rerun_lost=False))
        db.commit()
        end(db, task)
        db.commit()
        assert deliver(db, heard) == 1
        assert heard.rows == [(task.id, status, 1)]
        assert rows(db) == 0

    def test_no_attempt_that_is_not_the_last_one(self, db: Session, heard: Heard) -> None:
        task = followed(db, heard, max_attempts=2)
        attempt_ends(db, task, ends.retried(ERROR, NextTry(0)))
        attempt_ends(db, task, ends.handed_back("the worker stops"))
        task_service.update_task(db, task.id, {"name": "another"})
        assert rows(db) == 0

    def test_retries_and_the_deletion_with_the_generation(self, db: Session, heard: Heard) -> None:
        task = followed(db, heard)
        fail(db, task)
        task_service.retry_task(db, task.id)
        attempt_ends(db, task, ends.succeeded(None))
        task_service.delete(db, task.id)
        deliver(db, heard)
        assert heard.rows == [
            (task.id, "failed", 1),
            (task.id, "retried", 2),
            (task.id, "succeeded", 2),
            (task.id, "deleted", 2),
        ]

    def test_the_deletion_of_a_task_that_waits(self, db: Session, heard: Heard) -> None:
        task = followed(db, heard)
        task_service.delete(db, task.id, force=True)
        deliver(db, heard)
        assert heard.of(task) == ["deleted"]

    def test_what_any_statement_does(self, db: Session, heard: Heard) -> None:
        task = followed(db, heard)
        fail(db, task)
        db.execute(delete(Task).where(Task.id == task.id))
        db.commit()
        deliver(db, heard)
        assert heard.of(task) == ["failed", "deleted"]

    def test_each_consumer_that_follows_it(self, db: Session, heard: Heard) -> None:
        last, other = Heard(7, "last"), Heard(3, "other")
        task = followed(db, heard, last)
        fail(db, task)
        assert rows(db) == 2
        deliver(db, heard, last, other)
        assert (heard.of(task), last.of(task), other.of(task)) == (["failed"], ["failed"], [])

    def test_of_a_task_that_its_creator_marks_among_others_and_that_is_replaced(
        self, db: Session, heard: Heard
    ) -> None:
        fields = {"name": "x", "task_type": "test", "celery_task_name": LONG_RUNNING, "args": [1]}
        marked, plain = (parse({**fields, "unique_key": key, "on_conflict": "replace"}) for key in ("marked", "plain"))
        user = new_user(db)
        rows = [*rows_of([marked], user, followers=heard.consumer.bit), *rows_of([plain], user)]
        (first, _), (second, _) = create_from_rows(db, rows, commit=True, within_quota=False)
        task_service.create_tasks(db, [marked.model_copy(update={"name": "y"})], user)
        for task in (first, second):
            fail(db, task)
        assert deliver(db, heard) == 1
        assert heard.rows == [(first.id, "failed", 1)]

    @pytest.mark.parametrize("on_conflict", ["return", "replace"])
    def test_of_a_task_that_was_there_when_its_creator_marked_it(
        self, db: Session, heard: Heard, on_conflict: str
    ) -> None:
        other, user = Heard(1, "other"), new_user(db)
        fields = {"name": "x", "task_type": "test", "celery_task_name": LONG_RUNNING, "args": [1]}
        wanted = parse({**fields, "unique_key": "key", "on_conflict": on_conflict})
        for bits in ({"followers": other.consumer.bit}, {"followers": heard.consumer.bit}, {}):
            [(task, _)] = create_from_rows(db, rows_of([wanted], user, **bits), commit=True, within_quota=False)
        fail(db, task)
        deliver(db, heard, other)
        assert (heard.of(task), other.of(task)) == (["failed"], ["failed"])

    def test_once_however_often_it_is_asked_for(self, db: Session, heard: Heard) -> None:
        task = followed(db, heard)
        assert add_followers(db, heard.consumer.bit, Task.id == task.id) == 0
        fail(db, task)
        assert deliver(db, heard) == 1

    def test_nothing_where_the_end_is_taken_back(self, db: Session, heard: Heard) -> None:
        task = followed(db, heard)
        attempt = claim(db, task).attempt
        ends.end_attempt(db, task.id, attempt, ends.failed(ERROR))
        db.rollback()
        assert deliver(db, heard) == 0


def test_a_consumer_has_one_of_the_bits() -> None:
    assert [Consumer("x", number, lambda *_: None).bit for number in (0, 7)] == [1, 128]
    for number in (-1, 8):
        with pytest.raises(ValueError, match="between 0 and 7"):
            Consumer("x", number, lambda *_: None)


class TestOrder:
    @needs_row_locks
    def test_a_lower_number_that_is_committed_last_is_not_missed(
        self, one: Session, other: Session, heard: Heard
    ) -> None:
        slow, fast = followed(other, heard), followed(other, heard)
        attempts = [claim(other, task).attempt for task in (slow, fast)]
        ends.end_attempt(one, slow.id, attempts[0], ends.succeeded(None))
        ends.end_attempt(other, fast.id, attempts[1], ends.succeeded(None))
        other.commit()
        assert deliver(other, heard) == 1
        one.commit()
        assert deliver(other, heard) == 1
        assert heard.rows == [(fast.id, "succeeded", 1), (slow.id, "succeeded", 1)]

    @needs_row_locks
    def test_what_another_process_has_in_hand_is_left_to_it_with_all_of_its_task(
        self, one: Session, other: Session, heard: Heard
    ) -> None:
        """Two processes lead for a moment."""
        twice, once = followed(other, heard), followed(other, heard)
        fail(other, twice)
        task_service.retry_task(other, twice.id)
        fail(other, once)
        first = select(OutboxRow.id).where(OutboxRow.task_id == twice.id).order_by(OutboxRow.id).limit(1)
        one.execute(first.with_for_update())
        deliver(other, heard)
        assert heard.rows == [(once.id, "failed", 1)]
        one.rollback()
        deliver(other, heard)
        assert heard.of(twice) == ["failed", "retried"]


class TestFailures:
    def test_wait_for_a_back_off_and_the_next_events_of_the_task_for_them(self, db: Session, heard: Heard) -> None:
        bad, good = followed(db, heard), followed(db, heard)
        heard.failures[bad.id] = 1
        for task in (bad, good):
            fail(db, task)
        task_service.retry_task(db, bad.id)
        deliver(db, heard)
        assert heard.rows == [(good.id, "failed", 1)]
        assert deliver(db, heard) == 0
        due_again(db)
        deliver(db, heard)
        assert heard.of(bad) == ["failed", "retried"]

    def test_take_back_what_the_consumer_has_written(self, db: Session, heard: Heard) -> None:
        task = followed(db, heard)
        heard.failures[task.id] = 2
        fail(db, task)
        for _ in range(3):
            deliver(db, heard)
            due_again(db)
        assert len(db.scalars(select(Period.name).where(Period.name.startswith("test "))).all()) == 1

    def test_the_fifth_sets_the_row_aside_and_the_others_go_on(
        self, db: Session, heard: Heard, caplog: pytest.LogCaptureFixture
    ) -> None:
        task = followed(db, heard)
        heard.failures[task.id] = MOST_FAILURES
        fail(db, task)
        task_service.retry_task(db, task.id)
        for number in range(1, MOST_FAILURES + 1):
            assert deliver(db, heard) == (1 if number < MOST_FAILURES else 2)
            due_again(db)
        assert heard.of(task) == ["retried"]
        [row] = db.scalars(select(OutboxRow))
        assert (row.failures, row.error) == (MOST_FAILURES, "no, and the password=***")
        assert row.set_aside_at is not None
        said = [record for record in caplog.records if "set aside" in record.message]
        assert [record.levelname for record in said] == ["ERROR"]
        assert f"outbox: failed of task {task.id} for test is set aside after 5 failures: row {row.id}" in caplog.text
        assert "tried again in 8 s" in caplog.text
        due_again(db)
        assert deliver(db, heard) == 0

    def test_of_a_connection_that_ends_each_time_are_those_of_the_row(self, db: Session, heard: Heard) -> None:
        """It is of another database, or comes each time: the rows behind it must not wait for ever."""
        good, bad, behind = (followed(db, heard) for _ in range(3))
        heard.failures[bad.id] = MOST_FAILURES
        heard.error = OperationalError("", None, sqlite3.OperationalError())
        for task in (good, bad, behind):
            fail(db, task)
        deliver(db, heard)
        assert [heard.of(each) for each in (good, behind)] == [["failed"]] * 2
        for _ in range(MOST_FAILURES - 1):
            due_again(db)
            deliver(db, heard)
        assert [(row.task_id, row.failures) for row in db.scalars(select(OutboxRow))] == [(bad.id, MOST_FAILURES)]
        assert len(db.scalars(select(Period.name).where(Period.name.startswith("test "))).all()) == 2

    def test_of_the_outbox_itself_are_raised(self, db: Session, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
        """Maintenance says then that the database is away."""
        fail(db, followed(db, heard))
        monkeypatch.setattr(outbox, "transaction", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            deliver(db, heard)

    def test_of_the_commit_are_those_of_the_row_that_caused_it(
        self, db: Session, heard: Heard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As by a constraint that is deferred. Without this the consumer would get no row any more."""
        good, bad, behind = (followed(db, heard) for _ in range(3))
        for task in (good, bad, behind):
            fail(db, task)
        handed_over: list[UUID] = []
        told = heard.consumer.handle

        def handle(db: Session, rows: Sequence[TaskEvent]) -> None:
            told(db, rows)
            handed_over.extend(row.task_id for row in rows)

        def refuse(db: Session) -> None:
            if db.get_nested_transaction() is not None:
                return  # a savepoint is released
            found, handed_over[:] = [*handed_over], []
            if bad.id in found:
                raise IntegrityError("COMMIT", None, sqlite3.IntegrityError("deferred"))

        consumer = replace(heard.consumer, handle=handle)
        event.listen(db, "before_commit", refuse)
        for _ in range(MOST_FAILURES + 1):
            while deliver_batch(db, consumer):
                pass
            due_again(db)
        event.remove(db, "before_commit", refuse)
        assert heard.of(behind)[-1] == "failed"
        [row] = db.scalars(select(OutboxRow))
        assert (row.task_id, row.failures) == (bad.id, MOST_FAILURES)
        assert row.set_aside_at is not None

    def test_that_are_no_exceptions_are_those_of_the_row(self, db: Session, heard: Heard) -> None:
        """`SystemExit` would end the thread, and the outbox would stand still."""
        bad, good = followed(db, heard), followed(db, heard)
        heard.failures[bad.id], heard.error = 1, SystemExit(1)
        for task in (bad, good):
            fail(db, task)
        deliver(db, heard)
        assert heard.rows == [(good.id, "failed", 1)]
        assert [(row.task_id, row.failures) for row in db.scalars(select(OutboxRow))] == [(bad.id, 1)]


def outbox_rows(db: Session, user: UUID, number: int, **values: Any) -> None:
    """So many events of this user, of different tasks."""
    row = {"consumer": 0, "user_id": user, "event": "failed", "generation": 1}
    db.execute(insert(OutboxRow).values(values), [{**row, "task_id": new_id()} for _ in range(number)])
    db.commit()


class TestUsers:
    USERS = (UUID(int=1), UUID(int=2), UUID(int=3))

    @pytest.fixture
    def told(self) -> list[UUID]:
        """The users of what was handed over, in this order."""
        return []

    @pytest.fixture
    def consumer(self, told: list[UUID]) -> Consumer:
        return Consumer("test", 0, lambda _, rows: told.extend(row.user_id for row in rows))

    def test_do_not_wait_for_the_many_rows_of_another_one(
        self, db: Session, told: list[UUID], consumer: Consumer
    ) -> None:  # fmt: skip
        busy, other, _ = self.USERS
        outbox_rows(db, busy, 60)
        outbox_rows(db, other, 1)
        deliver_batch(db, consumer)
        assert set(told) == {busy, other}

    def test_take_turns_from_one_batch_to_the_next(
        self, db: Session, told: list[UUID], consumer: Consumer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox, "USERS_AT_ONCE", 2)
        for each in self.USERS:
            outbox_rows(db, each, 2)
        turn, one = Turn(), replace(consumer, batch=2)
        batches = []
        while deliver_batch(db, one, turn=turn):
            batches.append(sorted(each.int for each in told))
            told.clear()
        assert batches == [[1, 2], [3, 3], [1, 2]]

    def test_all_of_whose_rows_wait_hide_no_other_one(
        self, db: Session, told: list[UUID], consumer: Consumer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(outbox, "USERS_AT_ONCE", 1)
        first, second, third = self.USERS
        for each in (first, third):
            outbox_rows(db, each, 1, next_try_at=NOW + timedelta(hours=1))
        outbox_rows(db, second, 1)
        assert deliver_batch(db, consumer, turn=Turn(third)) == 1
        assert deliver_batch(db, consumer) == 0
        assert told == [second]


def test_rows_that_a_time_limit_stops_together_are_handed_over_each_by_itself(db: Session) -> None:
    """One row may be the cause each time, and would keep all others from the consumer. Each try waits as long."""
    outbox_rows(db, UUID(int=1), 3)
    bad = db.scalars(select(OutboxRow.id).order_by(OutboxRow.id)).all()[1]
    told, tries = list[int](), list[int]()

    def handle(db: Session, events: Sequence[TaskEvent]) -> None:
        tries.append(len(events))
        db.add_all(Period(name=f"test {each.id}") for each in events)
        db.flush()
        if bad in [each.id for each in events]:
            raise said(psycopg2.OperationalError, "57014")
        told.extend(each.id for each in events)

    assert deliver_batch(db, Consumer("test", 0, handle)) == 3
    assert tries == [3, 1, 1, 1]
    assert [(row.id, row.failures) for row in db.scalars(select(OutboxRow))] == [(bad, 1)]
    assert db.scalar(select(func.count()).where(Period.name.startswith("test "))) == len(told) == 2


def test_a_pass_of_its_own_serves_each_consumer_until_nothing_is_left(db: Session, heard: Heard) -> None:
    other, user = Heard(1, "other"), new_user(db)
    tasks = [followed(db, heard, other, user=user) for _ in range(3)]
    for task in tasks:
        fail(db, task)
        task_service.retry_task(db, task.id)
    for each in (heard, other):
        one = outbox_pass_of(each.consumer)
        assert one.needs is Needs.THREAD
        while one.run(db, Round(get_settings(), None, threading.Event())) is not None:
            """More is left, or a batch took its time."""
        assert [each.of(task) for task in tasks] == [["failed", "retried"]] * 3


def test_metrics_tell_the_lag_of_each_consumer(other: Session, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [lag for lag in consumers.read_lags() if lag.waiting or lag.set_aside] == []
    idle = Heard(1, "idle")
    monkeypatch.setattr(consumers, "CONSUMERS", (heard.consumer, idle.consumer))
    for task in [followed(other, heard) for _ in range(3)]:
        fail(other, task)
    first = other.scalars(select(OutboxRow.id).order_by(OutboxRow.id)).first()
    other.execute(update(OutboxRow).where(OutboxRow.id == first).values(set_aside_at=NOW))
    other.commit()
    fail(other, followed(other, Heard(5)))
    lag, none, unknown = sorted(consumers.read_lags(), key=lambda lag: ["test", "idle", "number 5"].index(lag.consumer))
    assert none == OutboxLag("idle", 0, 0.0, 0)
    assert (unknown.waiting, unknown.set_aside) == (1, 0)
    assert (lag.consumer, lag.waiting, lag.set_aside) == ("test", 2, 1)
    assert 0 <= lag.oldest_seconds < 600


class Written:
    """A consumer that writes to a file, which no rollback takes back, and a row, which one does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.consumer = Consumer("written", 2, self._handle)

    def _handle(self, db: Session, rows: Sequence[TaskEvent]) -> None:
        for row in rows:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{row.task_id} {row.event} {row.generation}\n")
            db.add(Period(name=f"written {row.id}"))
            db.flush()

    def lines(self) -> list[str]:
        return self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []


def die_at(step: int, deliver: Callable[[Session], object]) -> bool:
    """Deliver in a process that SIGKILL ends before its statement or commit of this number. False if it came to its end."""
    pid = os.fork()
    if pid == 0:
        try:
            dispose_engine()
            left = [step]

            def reached(*_: object) -> None:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            event.listen(engine(), "before_cursor_execute", reached)
            event.listen(engine(), "commit", reached)
            with SessionLocal() as db:
                event.listen(db, "after_commit", reached)
                deliver(db)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.waitstatus_to_exitcode(status) != 0


def test_a_process_that_is_killed_between_any_two_steps_loses_nothing_and_keeps_the_order(
    fresh_database: None, tmp_path: Path
) -> None:
    del fresh_database
    step, died = 0, True
    while died:
        written = Written(tmp_path / f"{step}")
        with SessionLocal() as db:
            user = new_user(db)
            tasks = [new_task(db, user) for _ in range(2)]
            add_followers(db, written.consumer.bit, Task.user_id == user)
            db.commit()
            for task in tasks:
                fail(db, task)
                task_service.retry_task(db, task.id)
        dispose_engine()
        died = die_at(step, lambda db, by=written.consumer: [deliver_batch(db, by) for _ in range(3)])
        with SessionLocal() as db:
            while deliver_batch(db, written.consumer):
                pass
            assert rows(db) == 0
            done = db.scalars(select(Period.name).where(Period.name.startswith("written "))).all()
            assert len(done) == 4
            db.execute(delete(Period))
            db.commit()
        for task in tasks:
            told = [line for line in written.lines() if line.startswith(str(task.id))]
            assert list(dict.fromkeys(told)) == [f"{task.id} failed 1", f"{task.id} retried 2"]
            # Whole again from some row on: what was told twice was told in order both times.
            assert told[-2:] == [f"{task.id} failed 1", f"{task.id} retried 2"] or len(told) == 3
        step += 1
    assert step > 10
