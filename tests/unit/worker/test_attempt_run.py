"""What an attempt does with its log where the database does not take it at once."""

import logging
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import psycopg2
import pytest

from app.core.ids import new_id
from app.core.redacted_text import known_secrets
from app.services.execution.claims import ReadyClaim
from app.services.execution.kept_logs import KeptLogs
from app.worker.child import attempt_run
from app.worker.child.attempt_log import AttemptLog, Bounds
from app.worker.child.attempt_run import AttemptRun
from app.worker.child.log_entries import printed
from app.worker.child.process import ChildProcess, child_process
from app.worker.shared.delivery import Undeliverable
from tests.support.database_errors import said

LOCKED = said(psycopg2.OperationalError, "55P03")
SECRET = "hunter2-and-more"


class Logs:
    """In place of `TaskLogs`: no flusher runs."""

    def of_attempt(self, task_id: UUID, attempt: int) -> AttemptLog:
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
                if not seconds:
                    raise Undeliverable("locked") from error


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    made = Database()
    monkeypatch.setattr(KeptLogs, "write", lambda _, db, lines: made.write(db, lines))
    monkeypatch.setattr(attempt_run, "deliver", made.deliver)
    monkeypatch.setattr(attempt_run.ends, "end_attempt", lambda *_: made.written.append("the end") or True)
    return made


@pytest.fixture
def logs() -> Logs:
    return Logs()


@pytest.fixture
def run(logs: Logs) -> AttemptRun:
    claim = ReadyClaim(
        new_id(), 1, [], {}, 0, 1, False, None, "tests.any", new_id(), "default", "normal", None, None, None, None
    )
    child: Any = ChildProcess(new_id(), child_process().settings, logs=logs)  # type: ignore[arg-type]
    made = AttemptRun(claim, child)
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
        run.current.before_end()
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
    logs.log.write(None)  # type: ignore[arg-type]
    assert database.written == ["a line, ***"]
