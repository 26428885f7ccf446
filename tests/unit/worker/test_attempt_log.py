"""Lines wait, are written together, survive an outage, and never fail the attempt."""

import logging
import threading
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg2
import pytest
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from app.core.redacted_text import known_secrets
from app.messaging import hints
from app.services.tasks.task_history import KeptLogs, LogLine
from app.worker.child import attempt_log, process
from app.worker.child.attempt_log import LONGEST_KEY, AttemptLog, Bounds
from app.worker.child.log_entries import printed
from app.worker.child.process import Flusher
from app.worker.shared.delivery import Undeliverable
from tests.support.database_errors import said
from tests.support.waiting import wait_for

BYTES = 64 * 1024
AWAY = OperationalError("write", None, psycopg2.OperationalError("server closed the connection"))
REFUSED = DBAPIError("write", None, psycopg2.ProgrammingError("refused"))
# The row is locked, the statement took too long, a deadlock.
STATES = ["55P03", "57014", "40P01"]
PASSING = [said(psycopg2.OperationalError, state) for state in STATES]
DELETED = IntegrityError("write", None, psycopg2.IntegrityError("no such task"))


class Table:
    """In place of the database: keeps the lines, or raises and waits as told."""

    def __init__(self) -> None:
        self.written: list[tuple[int, str]] = []
        self.batches = 0
        self.error: Exception | None = None
        self.is_there = True
        self.gate = threading.Event()
        self.gate.set()

    def write(self, _kept: KeptLogs, _db: Any, lines: Sequence[tuple[int, LogLine]]) -> bool:
        assert self.gate.wait(30)
        if self.error is not None:
            raise self.error
        self.batches += 1
        self.written += [(number, line.message) for number, line in lines]
        return self.is_there

    @property
    def messages(self) -> list[str]:
        return [message for _, message in self.written]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    made = Table()

    def write(kept: KeptLogs, db: Any, lines: Sequence[tuple[int, LogLine]]) -> bool:
        return made.write(kept, db, lines)

    monkeypatch.setattr(KeptLogs, "write", write)

    def deliver(statement: Any, seconds: float) -> None:
        assert seconds == 0
        if made.error is AWAY:
            raise Undeliverable("away")
        statement(None)

    monkeypatch.setattr(process, "deliver", deliver)
    return made


def new_log(attempt: int = 1, wake: Any = lambda _: None) -> AttemptLog:
    return AttemptLog(UUID(int=1), attempt, Bounds(logging.INFO, BYTES), wake)


def add(log: AttemptLog, *texts: str) -> None:
    for text in texts:
        log.add(printed(0.0, logging.INFO, "stdout", text))


DB: Any = None


class TestWriting:
    def test_numbers_lines_by_the_attempt(self, table: Table) -> None:
        log = new_log(attempt=3)
        add(log, "a", "b")
        log.write(DB)
        add(log, "c")
        log.write(DB)
        assert table.written == [((3 << 32) + 1, "a"), ((3 << 32) + 2, "b"), ((3 << 32) + 3, "c")]
        assert table.batches == 2

    def test_wakes_the_flusher_once_for_lines_that_wait_together(self, table: Table) -> None:
        woken: list[AttemptLog] = []
        log = new_log(wake=woken.append)
        add(log, "a", "b")
        assert woken == [log]
        log.write(DB)
        add(log, "c")
        assert woken == [log, log]

    def test_keeps_what_could_not_be_written_with_its_numbers(self, table: Table) -> None:
        log = new_log()
        add(log, "a")
        table.error = AWAY
        for _ in range(2):
            with pytest.raises(OperationalError):
                log.write(DB)
            add(log, "b")
        table.error = None
        log.write_rest(DB)
        assert table.messages == ["a", "b", "b"]
        assert [number & 7 for number, _ in table.written] == [1, 2, 3]

    def test_waits_for_what_another_thread_is_writing(self, table: Table) -> None:
        """Else the end of the attempt would be committed before its last lines."""
        log = new_log()
        add(log, "a")
        table.gate.clear()
        flusher = threading.Thread(target=log.write, args=(DB,))
        flusher.start()
        wait_for(log._writing.locked, 30, "the flusher to write")
        log.close()
        end = threading.Thread(target=log.write_rest, args=(DB,))
        end.start()
        end.join(0.05)
        assert end.is_alive()
        table.gate.set()
        for each in (flusher, end):
            each.join(30)
        assert table.messages == ["a"]

    def test_ends_with_what_was_printed_last_and_takes_nothing_more(self, table: Table) -> None:
        log = new_log()
        log.print("stdout", logging.INFO, "begun")
        log.close()
        log.close()
        add(log, "late")
        log.print("stdout", logging.INFO, "later\n")
        log.write_rest(DB)
        assert table.messages == ["begun"]

    def test_costs_no_statement_where_nothing_was_logged(self, table: Table) -> None:
        log = new_log()
        log.close()
        assert not log.is_open
        log.write_rest(DB)
        add(log, "of a thread that was left behind")
        log.write(DB)
        assert table.batches == 0

    def test_takes_one_batch_at_a_time_and_at_the_end_all(self, table: Table) -> None:
        """A body that logs without end would keep the flusher from every other body."""
        log = new_log()
        add(log, "a")
        table.error = AWAY
        with pytest.raises(OperationalError):
            log.write(DB)
        table.error = None
        add(log, "b")
        log.write(DB)
        assert table.messages == ["a"]
        log.close()
        log.write_rest(DB)
        assert table.messages == ["a", "b"]

    def test_leaves_out_what_cannot_be_stored(self, table: Table, caplog: pytest.LogCaptureFixture) -> None:
        log = new_log()
        log.add(printed(0.0, logging.INFO, "stdout", "a")._replace(at=float("nan")))
        add(log, "b")
        log.write(DB)
        assert table.messages == ["b"]
        assert "a log line of task 00000000-0000-0000-0000-000000000001 was not kept" in caplog.text


class TestPrintedSecrets:
    """`print` takes a text apart: what a secret of several lines looks like is to be told of its lines."""

    PEM = "-----BEGIN RSA PRIVATE KEY-----\r\nMIIEow\r\n\r\nabc==\r\n-----END RSA PRIVATE KEY-----"

    @staticmethod
    def printed(table: Table, *texts: str, stream: str = "stdout") -> list[str]:
        log = new_log()
        for text in texts:
            log.print(stream, logging.INFO, text)
        log.close()
        log.write_rest(DB)
        return table.messages

    @pytest.mark.parametrize("stream", ["stdout", "stderr"])
    def test_a_private_key_is_hidden_to_its_end(self, table: Table, stream: str) -> None:
        texts = self.printed(table, f"the key: {self.PEM} ended\n", "another line", stream=stream)
        assert texts == ["the key: ***", "***", "***", "***", "*** ended", "another line"]

    def test_so_is_one_without_an_end(self, table: Table) -> None:
        assert self.printed(table, self.PEM.partition("abc")[0], "rest") == ["***"] * 4

    def test_so_is_the_next_key(self, table: Table) -> None:
        texts = self.printed(table, f"{self.PEM} {self.PEM}\n", "another line")
        assert texts == ["***"] * 4 + ["*** ***"] + ["***"] * 4 + ["another line"]

    def test_a_mention_of_how_one_begins_costs_a_bounded_number_of_lines(self, table: Table) -> None:
        texts = self.printed(table, "not a key: -----BEGIN PRIVATE KEY-----\n", "line\n" * (LONGEST_KEY + 1))
        assert texts == ["not a key: ***", *["***"] * LONGEST_KEY, "line"]

    def test_another_stream_and_another_thread_go_on(self, table: Table) -> None:
        log = new_log()
        log.print("stdout", logging.INFO, "-----BEGIN PRIVATE KEY-----\n")
        log.print("stderr", logging.INFO, "of stderr\n")
        thread = threading.Thread(target=log.print, args=("stdout", logging.INFO, "of a thread\n"))
        thread.start()
        thread.join()
        log.print("stdout", logging.INFO, "MIIEow\n")
        log.write_rest(DB)
        assert table.messages == ["***", "of stderr", "of a thread", "***"]

    def test_a_secret_argument_of_several_lines_is_hidden(self, table: Table) -> None:
        secret = "first: hunter2\nsecond: hunter2\n"
        known_secrets.hide("a test", [secret])
        try:
            texts = self.printed(table, f"config:\n{secret}")
        finally:
            known_secrets.forget("a test")
        assert texts == ["config:", "***", "***"]


class TestBeforeTheEnd:
    @staticmethod
    def write_at_the_second_try(log: AttemptLog, table: Table, error: DBAPIError, raised: type[DBAPIError]) -> None:
        table.error = error
        with pytest.raises(raised):
            log.write_rest(DB)
        table.error = None
        log.write_rest(DB)
        assert table.messages == ["a"]

    def test_an_outage_is_the_ends_as_well(self, table: Table) -> None:
        log = new_log()
        add(log, "a")
        self.write_at_the_second_try(log, table, AWAY, OperationalError)

    @pytest.mark.parametrize("error", PASSING, ids=STATES)
    def test_so_is_what_passes_by_itself(self, table: Table, error: DBAPIError) -> None:
        log = new_log()
        add(log, "a")
        log.close()
        self.write_at_the_second_try(log, table, error, DBAPIError)

    def test_what_passes_too_late_costs_the_lines_and_not_the_end(
        self, table: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(attempt_log, "PATIENT_SECONDS", 0.0)
        log = new_log()
        add(log, "a")
        table.error = PASSING[0]
        with pytest.raises(DBAPIError):
            log.write_rest(DB)  # in the body, which does not wait for it
        log.close()
        log.write_rest(DB)
        assert "1 log lines of task" in caplog.text

    def test_a_refusal_costs_the_lines_and_not_the_end(self, table: Table, caplog: pytest.LogCaptureFixture) -> None:
        log = new_log()
        add(log, "a", "b")
        table.error = REFUSED
        log.write_rest(DB)
        assert "2 log lines of task 00000000-0000-0000-0000-000000000001 were not written: refused" in caplog.text
        table.error = None
        log.write_rest(DB)
        assert table.messages == []

    @pytest.mark.parametrize("how", ["no row", "at this moment"])
    def test_a_deleted_task_has_no_lines(self, table: Table, how: str) -> None:
        log = new_log()
        add(log, "a")
        table.is_there, table.error = how != "no row", DELETED if how == "at this moment" else None
        log.write_rest(DB)
        batches, table.error = table.batches, None
        add(log, "b")
        log.write_rest(DB)
        assert table.batches == batches


class TestBehindTheEnd:
    """What could not be written at the end is written by the flusher."""

    def test_secrets_are_hidden_that_are_forgotten_by_then(self, table: Table) -> None:
        woken: list[AttemptLog] = []
        log = new_log(wake=woken.append)
        known_secrets.hide("a test", ["hunter2-and-more"])
        add(log, "first: hunter2-and-more")
        table.error = AWAY
        with pytest.raises(OperationalError):
            log.write(DB)
        add(log, "second: hunter2-and-more")
        log.close()
        log.hide_secrets()
        known_secrets.forget("a test")
        table.error = None
        for each in woken:  # as the flusher does
            each.write(DB)
        assert table.messages == ["first: ***", "second: ***"]
        assert [number & 7 for number, _ in table.written] == [1, 2]

    def test_while_the_body_runs_lines_wait_in_bounds_as_before(self, table: Table) -> None:
        log = new_log()
        for _ in range(3):
            add(log, "x" * BYTES)
            log.hide_secrets()
        log.write_rest(DB)
        assert len(table.written) == 2
        assert table.messages[0].startswith("2 lines before this one are missing")


class TestTheFlusher:
    def test_writes_the_lines_of_running_bodies(self, table: Table) -> None:
        writer = Flusher(interval=0.01)
        log = new_log(wake=writer.wake)
        for number in range(3):
            add(log, str(number))
            wait_for(lambda: len(table.written) == number + 1, 30, "the line")  # noqa: B023 (called at once)

    def test_goes_on_after_an_outage_and_after_a_refusal(
        self, table: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(process, "FLUSH_PAUSE_SECONDS", 0.01)
        writer = Flusher(interval=0.01)
        log, other = new_log(wake=writer.wake), new_log(wake=writer.wake)
        table.error = AWAY
        add(log, "a")
        wait_for(lambda: "wait: away" in caplog.text, 30, "the first try")
        table.error = None
        wait_for(lambda: table.messages == ["a"], 30, "the line")
        table.error = REFUSED
        add(other, "b")
        wait_for(lambda: any(each.startswith("1 log lines") for each in caplog.messages), 30, "the refusal")
        table.error = None
        add(other, "c")
        wait_for(lambda: table.messages == ["a", "c"], 30, "the next line")

    @pytest.mark.parametrize("error", [ValueError("unexpected"), SystemExit(1)], ids=repr)
    def test_goes_on_after_an_error_that_nobody_expects(
        self, table: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: BaseException
    ) -> None:
        monkeypatch.setattr(process, "FLUSH_PAUSE_SECONDS", 0.01)

        def fails(*_: object) -> None:
            raise error

        writer = Flusher(interval=0.01)
        log, other = new_log(wake=writer.wake), new_log(wake=writer.wake)
        with monkeypatch.context() as patched:
            patched.setattr(hints, "changed", fails)
            add(log, "a")
            add(other, "b")
            wait_for(lambda: caplog.text.count("no hint that task") == 2, 30, "both hints")
        wait_for(lambda: len(table.messages) == 2, 30, "both lines")
        assert sorted(table.messages) == ["a", "b"]
        with monkeypatch.context() as patched:
            patched.setattr(writer, "flush", fails)
            add(log, "c")
            wait_for(lambda: "waits: an unexpected error" in caplog.text, 30, "the error")
        wait_for(lambda: table.messages[2:] == ["c"], 30, "the line after it")

    def test_loses_no_line_by_an_error_that_ends_threads(
        self, table: Table, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(process, "FLUSH_PAUSE_SECONDS", 0.01)

        def fails(*_: object, **__: object) -> None:
            raise SystemExit(1)

        log = new_log(wake=Flusher(interval=0.01).wake)
        with monkeypatch.context() as patched:
            patched.setattr(process, "deliver", fails)
            add(log, "a")
            wait_for(lambda: "waits: an unexpected error" in caplog.text, 30, "the error")
        wait_for(lambda: table.messages == ["a"], 30, "the line")
