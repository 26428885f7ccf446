"""Successes that a child hands to its parent: written together, each for itself, and held until they are."""

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from queue import Queue
from typing import Any
from uuid import UUID

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import select

from app.core.config import get_settings
from app.core.ids import new_id
from app.db import together
from app.db.session import SessionLocal
from app.db.sql import prepared
from app.models.task import Task, TaskStatus
from app.services.execution import ends
from app.services.execution.ends import Success
from app.services.task_service import task_service
from app.worker.child.process import ChildProcess
from app.worker.parent import completions as module
from app.worker.parent.completions import Completions
from app.worker.shared.delivery import DELIVERY_LEASES
from app.worker.shared.hand_over import HandOver
from app.worker.shared.slot_table import SlotTable
from tests.support.ahead import Ahead
from tests.support.databases import ENGINE
from tests.support.lock_waits import needs_row_locks
from tests.support.services import Services
from tests.support.settings import sql
from tests.support.statements import Cursor, noted_connections
from tests.support.tasks import WORKER, claim, new_task, next_run
from tests.support.waiting import wait_for

pytestmark = pytest.mark.usefixtures("fresh_database")

# The database refuses this result.
UNLUCKY = (
    "CREATE TRIGGER unlucky BEFORE UPDATE ON tasks WHEN NEW.result = '13' BEGIN SELECT RAISE(ABORT, 'unlucky'); END"
    if ENGINE == "sqlite"
    else "ALTER TABLE tasks ADD CONSTRAINT unlucky CHECK (result <> '13')"
)


@pytest.fixture
def source() -> HandOver:
    return HandOver()


@pytest.fixture
def table() -> SlotTable:
    return SlotTable(0)


@pytest.fixture
def completions(fresh_database: None, source: HandOver, table: SlotTable) -> Iterator[Completions]:
    del fresh_database
    source.open()
    made = Completions(source, get_settings().worker_lease_seconds * DELIVERY_LEASES, table)
    yield made
    made.stop(20)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many successes each statement has written, or tried to."""
    sizes: list[int] = []
    together = ends.end_successes
    monkeypatch.setattr(ends, "end_successes", lambda db, batch: sizes.append(len(batch)) or together(db, batch))
    return sizes


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    """The thread's."""
    moved = Ahead()
    monkeypatch.setattr(module, "time", moved)
    return moved


def success(result: str | None = None) -> Success:
    """Of a task that runs."""
    with SessionLocal() as db:
        task = new_task(db)
        return Success(task.id, claim(db, task).attempt, result)


def row(task_id: UUID) -> Task:
    with SessionLocal() as db:
        return task_service.get_task(db, task_id)


def write(completions: Completions) -> None:
    """All that was handed over, as at the worker's end."""
    completions.start()
    completions.stop(20)


class TestTogether:
    def test_each_gets_its_own_result(self, completions: Completions, source: HandOver) -> None:
        results = {success(result): result for result in ('{"sum":1e22}', '"数据 \\u0000"', "-0.0", "null", None)}
        for one in results:
            assert source.send(one)
        assert completions.held() == {(one.task_id, 1) for one in results}
        write(completions)
        assert completions.held() == set()
        for one, result in results.items():
            kept = sql("SELECT status, progress, result FROM tasks WHERE id = :id", id=one.task_id)
            assert kept == [("succeeded", 100, result)]

    def test_they_are_one_statement(self, completions: Completions, source: HandOver, batches: list[int]) -> None:
        for _ in range(5):
            source.send(success())
        write(completions)
        assert batches == [5]

    @pytest.mark.postgresql("its prepared statements keep a plan")
    def test_by_their_keys_though_the_plan_was_made_for_an_empty_table(self) -> None:
        with noted_connections() as drivers, prepared.prepared_connection() as connection:
            for _ in range(8):
                ends.end_successes(connection, [Success(new_id(), 1, None)])
            explained = Cursor.sent[-1].replace("EXECUTE", "EXPLAIN EXECUTE")
            with drivers[-1].cursor() as cursor:
                cursor.execute(explained, ["[]"])
                plan = "\n".join(line for (line,) in cursor.fetchall())
                cursor.execute("SHOW enable_seqscan")
                assert cursor.fetchone() == ("on",)  # off for that one statement alone
        assert "Index Scan using pk_tasks" in plan
        assert "Seq Scan" not in plan

    def test_of_two_attempts_of_a_task_the_one_that_holds_it_is_written(self) -> None:
        lost = success('"lost"')
        with SessionLocal() as db:
            assert ends.end_tasks(db, ends.lost("a test"), Task.id == lost.task_id) == 1
            held = Success(lost.task_id, claim(db, row(lost.task_id)).attempt, '"held"')
            for together in ([held, lost], [lost, held]):
                assert ends.end_successes(db, together) == {held.task_id}
                assert db.scalars(select(Task.result).where(Task.id == held.task_id)).one() == "held"
                db.rollback()

    def test_an_attempt_that_lost_its_task_writes_nothing(
        self, completions: Completions, source: HandOver, caplog: pytest.LogCaptureFixture
    ) -> None:
        lost, kept = success("1"), success("2")
        with SessionLocal() as db:
            task_service.update_task_status(db, lost.task_id, "failed")
        stale = Success(kept.task_id, 0, "3")
        for one in (lost, stale, kept):
            source.send(one)
        with caplog.at_level(logging.WARNING):
            write(completions)
        assert [row(one.task_id).status for one in (lost, kept)] == [TaskStatus.FAILED, TaskStatus.SUCCEEDED]
        assert row(kept.task_id).result == 2
        assert f"attempt 1 of task {lost.task_id} no longer held it" in caplog.text
        assert completions.held() == set()


class TestNeighbours:
    @needs_row_locks
    def test_a_locked_row_does_not_delay_the_others(
        self,
        completions: Completions,
        source: HandOver,
        table: SlotTable,
        batches: list[int],
        clock: Ahead,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level("INFO", together.__name__)
        monkeypatch.setattr(module, "PAUSE_SECONDS", 1000.0)
        monkeypatch.setattr(module, "MOST_DUE", 0)
        stuck, *others = (success() for _ in range(5))
        with SessionLocal() as holder:
            holder.execute(select(Task.id).where(Task.id == stuck.task_id).with_for_update())
            for one in (stuck, others[0]):
                source.send(one)
            completions.start()
            wait_for(lambda: completions.held() == {(stuck.task_id, 1)}, 20, "the other one to be written")
            assert batches == [2, 1, 1]
            assert {each.levelname for each in caplog.records if "in parts" in each.message} == {"INFO"}
            for one in others[1:]:
                source.send(one)
            wait_for(lambda: completions.held() == {(stuck.task_id, 1)}, 20, "the others to be written")
            assert sum(batches[3:]) == 3  # for a while, the one that waits is no part of a batch
            wait_for(lambda: not table.is_behind, 20, "the children to be told to go on")
            holder.rollback()
        clock.passes(1000)
        completions.stop(20)
        assert {row(one.task_id).status for one in (stuck, *others)} == {TaskStatus.SUCCEEDED}

    def test_a_result_that_the_database_refuses_fails_its_task_alone(
        self, completions: Completions, source: HandOver
    ) -> None:
        sql(UNLUCKY)
        refused, taken = success("13"), success("14")
        source.send(refused)
        source.send(taken)
        write(completions)
        assert row(taken.task_id).status is TaskStatus.SUCCEEDED
        failed = row(refused.task_id)
        assert (failed.status, failed.result) == (TaskStatus.FAILED, None)
        assert "unlucky" in (failed.error_message or "")
        assert completions.held() == set()


@pytest.mark.postgresql("no other refuses the connections to one database; the faults restart each engine")
class TestAnOutage:
    def test_what_waits_is_written_after_it_and_what_has_waited_for_ten_leases_is_given_up(
        self,
        services: Services,
        completions: Completions,
        source: HandOver,
        clock: Ahead,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        old, young = success(), success("1")
        source.send(old)
        assert completions.held() == {(old.task_id, 1)}
        clock.passes(get_settings().worker_lease_seconds * DELIVERY_LEASES)
        source.send(young)
        with services.refusing(sql("SELECT current_database()")[0][0]):
            completions.start()
            wait_for(lambda: completions.held() == {(young.task_id, 1)}, 20, "the older one to be given up")
        completions.stop(20)
        assert f"the end of task {old.task_id} could not be written" in caplog.text
        assert [row(one.task_id).status for one in (old, young)] == [TaskStatus.RUNNING, TaskStatus.SUCCEEDED]


class TestTheThread:
    def test_writes_what_comes_and_at_its_end_what_is_left(
        self, completions: Completions, source: HandOver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_BATCH", 2)
        completions.start()
        first = success("1")
        source.send(first)
        wait_for(lambda: row(first.task_id).status is TaskStatus.SUCCEEDED, 20, "the first to be written")
        more = [success() for _ in range(10)]
        for one in more:
            source.send(one)
        completions.stop(20)
        assert {row(one.task_id).status for one in more} == {TaskStatus.SUCCEEDED}

    def test_has_the_children_wait_while_it_is_behind(
        self, completions: Completions, source: HandOver, table: SlotTable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[tuple[int, bool]] = []
        together = ends.end_successes

        def write_and_look(db: Any, batch: Sequence[Success]) -> set[UUID]:
            seen.append((len(batch), table.is_behind))
            return together(db, batch)

        monkeypatch.setattr(ends, "end_successes", write_and_look)
        monkeypatch.setattr(module, "MAX_BATCH", 2)
        monkeypatch.setattr(module, "MOST_DUE", 3)
        for one in [success() for _ in range(6)]:
            source.send(one)
        write(completions)
        assert seen == [(2, True), (2, True), (2, False)]

    def test_outlives_an_unexpected_error(
        self,
        completions: Completions,
        source: HandOver,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        together, calls = ends.end_successes, iter([ZeroDivisionError("a bug")] * 2)

        def at_first_a_bug(*args: Any) -> set[UUID]:
            for error in calls:
                raise error
            return together(*args)

        monkeypatch.setattr(ends, "end_successes", at_first_a_bug)
        completions.start()
        one = success()
        source.send(one)
        wait_for(lambda: row(one.task_id).status is TaskStatus.SUCCEEDED, 20, "another try")
        assert f"the end of task {one.task_id} could not be written" in caplog.text


class TestHandingOver:
    def test_a_forked_child_is_heard(self, completions: Completions, source: HandOver) -> None:
        one = success()
        pid = os.fork()
        if pid == 0:
            source.become_child()
            os._exit(0 if source.send(one) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert completions.held() == {(one.task_id, 1)}
        write(completions)
        assert row(one.task_id).status is TaskStatus.SUCCEEDED

    @pytest.mark.parametrize("at", ["delivering", "send"])
    def test_a_soft_time_limit_that_comes_after_the_body_has_the_child_write_it_itself(
        self, monkeypatch: pytest.MonkeyPatch, at: str
    ) -> None:
        with SessionLocal() as db:
            task = new_task(db)
        child = ChildProcess(WORKER.id, get_settings())
        run = next_run(child)
        assert run is not None
        signals_to_come = [SoftTimeLimitExceeded()]

        def interrupted(*_: Any) -> None:
            while signals_to_come:
                raise signals_to_come.pop()

        if at == "send":
            monkeypatch.setattr(child.hand_over, "send", interrupted)
        else:
            monkeypatch.setattr(child.slot, "delivering", interrupted)
        run.succeed({"sum": 1}, later=True)
        assert signals_to_come == []
        assert (row(task.id).status, row(task.id).result) == (TaskStatus.SUCCEEDED, {"sum": 1})


class TestTheEnd:
    def test_a_thread_that_hangs_keeps_no_worker_from_ending(
        self, completions: Completions, source: HandOver, monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        hangs: Queue[threading.Thread] = Queue()
        goes_on = threading.Event()

        def silent(*_: Any) -> set[UUID]:
            hangs.put(threading.current_thread())
            goes_on.wait(20)
            return set()

        monkeypatch.setattr(ends, "end_successes", silent)
        completions.start()
        source.send(Success(new_id(), 1, None))
        thread = hangs.get(timeout=20)
        completions.stop(0.1)
        goes_on.set()
        thread.join(20)
        assert "1 results were not written" in caplog.text
        assert not thread.is_alive()
