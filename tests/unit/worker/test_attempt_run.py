"""What an attempt does with its log and its output where the database does not take them at once."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from celery.exceptions import SoftTimeLimitExceeded

from app.core.ids import new_id
from app.core.redacted_text import known_secrets
from app.core.task_bodies import coroutine_runner
from app.db.sql import attached_rows
from app.db.statements.task_moves import Cause
from app.errors import OutputTooLarge, TaskCancelled
from app.services.execution import ends
from app.services.execution.claims import ReadyClaim
from app.services.tasks.task_history import KeptLogs
from app.worker.child import attempt_run
from app.worker.child.attempt_log import AttemptLog, Bounds
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.log_entries import printed
from app.worker.child.process import ChildProcess, Flusher, Slot, child_process
from app.worker.shared.delivery import Undeliverable
from app.worker.shared.slot_table import SlotTable, Stop
from tests.support.database_errors import said

REFUSED = said(psycopg2.DataError, "22001")
LOCKED = said(psycopg2.OperationalError, "55P03")
SECRET = "hunter2-and-more"


class Logs:
    """In place of `TaskLogs`: no flusher runs."""

    def of_attempt(self, task_id: UUID, attempt: int, _wake: Any) -> AttemptLog:
        self.log = AttemptLog(task_id, attempt, Bounds(logging.INFO, 64 * 1024), lambda _: None)
        return self.log


class Database:
    """Keeps lines, but for the first `failures` tries, and while nothing reaches it."""

    def __init__(self) -> None:
        self.failures = 0
        self.is_away = False
        self.written: list[str] = []

    def write(self, _db: Any, lines: Any) -> bool:
        if self.failures:
            self.failures -= 1
            raise LOCKED
        self.written += [line.message for _, line in lines]
        return True

    def deliver(self, statement: Callable[[Any], Any], seconds: float, **_: Any) -> Any:
        if self.is_away:
            raise Undeliverable("away")
        while True:
            try:
                return statement(None)
            except type(LOCKED) as error:
                if error is REFUSED:
                    raise
                if not seconds:
                    raise Undeliverable("locked") from error


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    made = Database()
    monkeypatch.setattr(KeptLogs, "write", lambda _, db, lines: made.write(db, lines))
    monkeypatch.setattr(attempt_run, "deliver", made.deliver)
    monkeypatch.setattr(ends, "end_attempt", lambda *_: made.written.append("the end") or True)
    return made


@pytest.fixture
def logs() -> Logs:
    return Logs()


def claimed(attempt: int = 1) -> ReadyClaim:
    return ReadyClaim(
        new_id(), attempt, [], {}, 0, 1, False, None, "tests.any", new_id(), "default", "normal", None, None, None, None
    )


@pytest.fixture
def run(logs: Logs) -> AttemptRun:
    child: Any = ChildProcess(new_id(), child_process().settings, logs=logs)
    made = AttemptRun(claimed(), child)
    logs.log.add(printed(0.0, logging.INFO, "stdout", f"a line, {SECRET}"))
    return made


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    known_secrets.hide("a test", [SECRET])
    yield
    known_secrets.forget("a test")


class TestALockedRow:
    def test_is_waited_for_with_the_end(self, database: Database, run: AttemptRun) -> None:
        database.failures = 2
        run.succeed(None, later=True)
        assert database.written == ["a line, ***", "the end"]

    def test_of_a_body_that_ends_its_own_attempt_keeps_the_lines(self, database: Database, run: AttemptRun) -> None:
        database.failures = 1
        run.current.begin_end()
        run.current.settled = True
        run.succeed(None)
        assert database.written == ["a line, ***"]


@pytest.mark.parametrize("is_away", [False, True], ids=["locked", "away"])
@pytest.mark.parametrize("end", [AttemptRun.leave, lambda run: run.succeed(None)], ids=["lost", "settled"])
def test_without_an_end_to_wait_for_lines_are_left_to_the_flusher_without_secrets(
    database: Database, logs: Logs, run: AttemptRun, end: Callable[[AttemptRun], None], *, is_away: bool
) -> None:
    run.current.settled = True
    database.failures, database.is_away = 1, is_away
    end(run)
    known_secrets.forget("a test")  # with the request
    assert database.written == []
    database.failures = 0
    logs.log.write(None)
    assert database.written == ["a line, ***"]


class TestASoftTimeLimit:
    """Whose process is ended at the grace time where it has not reached its body."""

    @pytest.fixture
    def begun(self, table: SlotTable, monkeypatch: pytest.MonkeyPatch) -> AttemptRun:
        """Whose soft time limit has passed: the next signal, or the start of its body, tells it."""
        made = AttemptRun(claimed(), ChildProcess(new_id(), child_process().settings, slot=Slot(table, 0, os.getpid())))
        made._child.slot.running(made.task_id, 1)
        return made

    def test_has_reached_a_plain_body(self, begun: AttemptRun, table: SlotTable) -> None:
        with begun.body():
            table.order(table.read(0), Stop.SOFT_TIME_LIMIT)
            with pytest.raises(SoftTimeLimitExceeded):
                begun._child.slot.on_signal()
        assert table.has_met_soft_limit(table.read(0))

    def test_has_reached_no_coroutine_while_another_task_of_its_loop_runs(
        self, begun: AttemptRun, table: SlotTable
    ) -> None:
        met: list[bool] = []

        async def child() -> None:
            table.order(table.read(0), Stop.SOFT_TIME_LIMIT)
            begun._child.slot.on_signal()
            met.append(table.has_met_soft_limit(table.read(0)))
            await asyncio.sleep(5)

        async def body() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())

        with pytest.raises(SoftTimeLimitExceeded), begun.body():
            coroutine_runner().run(body())
        met.append(table.has_met_soft_limit(table.read(0)))
        assert met == [False, True]


class TestOutput:
    @pytest.fixture
    def ended(self, run: AttemptRun, database: Database, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        """What is written of the output, and the causes of ends, in order. `run` has emitted a text."""
        found: list[Any] = []

        def write(_db: Any, _task_id: UUID, _attempt: int, chunks: Any, **_: Any) -> tuple[None]:
            if database.failures:
                database.failures -= 1
                raise LOCKED
            found.extend(each.chunk for each in chunks)
            return (None,)

        def end(_db: Any, _task_id: UUID, _attempt: int, ending: Any, _begun_after: float) -> bool:
            found.append(str(ending.cause))
            return True

        monkeypatch.setattr(Flusher, "wake", lambda *_: None)
        monkeypatch.setattr(attached_rows, "write_output", write)
        monkeypatch.setattr(ends, "end_attempt", end)
        monkeypatch.setattr(KeptLogs, "write", lambda *_: True)
        run.emit("a", "output")
        return found

    @pytest.mark.parametrize(
        ("end", "cause"),
        [
            (lambda run: run.succeed(None, later=True), Cause.SUCCEEDED),
            (lambda run: run.fail(ValueError("no")), Cause.FAILED),
            (lambda run: run.revoke("cancelled"), Cause.STOPPED),
            (AttemptRun.hand_back, Cause.HANDED_BACK),
        ],
    )
    @pytest.mark.parametrize("failures", [0, 2])
    def test_is_written_before_each_end_and_waits_for_a_locked_row_with_it(
        self, run: AttemptRun, database: Database, ended: list[Any], end: Any, cause: Cause, failures: int
    ) -> None:
        database.failures = failures
        end(run)
        assert ended == ['"a"', str(cause)]

    def test_of_a_body_that_has_ended_its_own_attempt_is_waited_for(
        self, run: AttemptRun, database: Database, ended: list[Any]
    ) -> None:
        database.failures = 3
        run.current.begin_end()
        run.current.settled = True
        run.succeed(None)
        assert ended == ['"a"']

    @pytest.mark.parametrize("later", [False, True])
    def test_that_the_database_refuses_makes_a_success_a_failure(
        self, run: AttemptRun, ended: list[Any], monkeypatch: pytest.MonkeyPatch, *, later: bool
    ) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise REFUSED

        monkeypatch.setattr(attached_rows, "write_output", refuse)
        run.succeed(None, later=later)
        assert ended == [str(Cause.FAILED)]

    def test_a_later_attempt_asks_what_the_task_has(
        self, database: Database, logs: Logs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[UUID] = []
        monkeypatch.setattr(
            attached_rows, "stored_output_bytes", lambda _, task_id: asked.append(task_id) or 2**40
        )  # fmt: skip
        child: Any = ChildProcess(new_id(), child_process().settings, logs=logs)
        run = AttemptRun(claimed(attempt=2), child)
        for _ in range(2):
            with pytest.raises(OutputTooLarge):
                run.emit("a", "output")
        assert asked == [run.task_id]
        run.stopped = TaskCancelled
        with pytest.raises(TaskCancelled):
            run.emit("a", "output")
