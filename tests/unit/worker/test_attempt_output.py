"""What a body emits waits in few rows, in order, is written once, and is never dropped."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg2
import pytest

from app.core.json_text import dump_json
from app.db.sql import attached_rows
from app.ddl.terms import OUTPUT_ROW_BYTES
from app.errors import AttemptLost, OutputTooLarge, ResultTooLarge, TaskCancelled
from app.services.execution.attempts import CurrentAttempt
from app.worker.child import process
from app.worker.child.attempt_output import BATCH_ROWS, JOINED_BYTES, PIECE_CHARACTERS, AttemptOutput
from app.worker.child.process import Flusher
from tests.support.database_errors import said
from tests.support.waiting import wait_for

AWAY, REFUSED = said(psycopg2.OperationalError, "57P03"), said(psycopg2.DataError, "22001")
LIMIT = 1024 * 1024
SEQ = 1 << 32
DB: Any = None


class Table:
    """In place of `task_output`: keeps the rows by number. `error` is raised at each try."""

    def __init__(self) -> None:
        self.rows: dict[int, Any] = {}
        self.batches: list[int] = []
        self.error: Exception | None = None
        self.answer: Any = (None,)
        self.has_ended = False

    def write(self, _db: Any, _task_id: UUID, _attempt: int, chunks: Sequence[Any], *, has_ended: bool) -> Any:
        if self.error is not None:
            raise self.error
        if self.answer is not None:
            self.batches.append(len(chunks))
            for each in chunks:
                self.rows.setdefault(each.seq, each)
        self.has_ended = has_ended
        return self.answer

    @property
    def chunks(self) -> list[tuple[str, str]]:
        """The stream and the JSON text of each row."""
        return [(row.stream, row.chunk) for _, row in sorted(self.rows.items())]

    @property
    def texts(self) -> list[str]:
        return [chunk for _, chunk in self.chunks]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    made = Table()
    monkeypatch.setattr(attached_rows, "write_output", made.write)
    return made


def new_output(attempt: int = 1, stored: int = 0, limit: int = LIMIT, wake: Any = lambda _: None) -> AttemptOutput:
    return AttemptOutput(CurrentAttempt(UUID(int=1), attempt), stored, limit, wake)


def emit(output: AttemptOutput, *chunks: Any, stream: str = "output") -> None:
    for each in chunks:
        output.add(each, stream)


class TestRows:
    def test_texts_that_follow_each_other_are_one(self, table: Table) -> None:
        output = new_output()
        emit(output, "a", 'b"', "ü\0\n", "")
        output.write(DB)
        assert table.chunks == [("output", dump_json('ab"ü\0\n'))]

    def test_json_stays_by_itself_and_other_streams_keep_the_order(self, table: Table) -> None:
        output = new_output()
        emit(output, "a", 1, 2, "b")
        emit(output, "c", "d", stream="other")
        emit(output, "e", None)
        output.write(DB)
        assert table.chunks == [
            ("output", '"a"'), ("output", "1"), ("output", "2"), ("output", '"b"'),
            ("other", '"cd"'), ("output", '"e"'), ("output", "null"),
        ]  # fmt: skip
        assert [*table.rows] == [SEQ + number for number in range(1, 8)]

    def test_nothing_is_joined_to_what_was_written(self, table: Table) -> None:
        output = new_output(attempt=3)
        for text in "ab":
            emit(output, text)
            output.write(DB)
        assert [*table.rows] == [3 * SEQ + 1, 3 * SEQ + 2]
        assert table.texts == ['"a"', '"b"']

    def test_a_row_of_texts_ends_at_some_size_and_a_long_text_has_several(self, table: Table) -> None:
        output = new_output()
        emit(output, *["x" * 100] * 1000)
        emit(output, "y" * (2 * PIECE_CHARACTERS + 1), "z")
        output.write(DB)
        found = "".join(text[1:-1] for text in table.texts)
        assert found == "x" * 100_000 + "y" * (2 * PIECE_CHARACTERS + 1) + "z"
        assert 9 <= len(table.rows) <= 11
        assert max(row.bytes for row in table.rows.values()) < JOINED_BYTES + 2 * PIECE_CHARACTERS
        assert all(row.bytes == OUTPUT_ROW_BYTES + len("output") + len(row.chunk) for row in table.rows.values())

    def test_what_is_no_json_is_refused_as_a_result_is(self, table: Table) -> None:
        output = new_output(limit=2**30)
        for chunk in (object(), float("nan"), "\ud800", {"a": {1, object()}}):
            with pytest.raises((TypeError, ValueError)):
                emit(output, chunk)
        with pytest.raises(ResultTooLarge, match="the chunk of output takes"):
            emit(output, ["x" * 1024 * 1024])
        with pytest.raises(TypeError, match="the name of a stream is a text, not int"):
            emit(output, "a", stream=1)
        for stream in ("", "x" * 201, "a\0"):
            with pytest.raises(ValueError, match="the name of a stream has 1 to 200 characters"):
                emit(output, "a", stream=stream)
        output.write(DB)
        assert table.rows == {}
        emit(output, UUID(int=1), ("a", 1))
        output.write(DB)
        assert table.texts == [f'"{UUID(int=1)}"', '["a",1]']


class TestBounds:
    def test_beyond_the_limit_nothing_of_a_chunk_is_taken(self, table: Table) -> None:
        row = OUTPUT_ROW_BYTES + len("output") + 2
        output = new_output(limit=1000 + row)
        emit(output, "x" * 990)
        for chunk in ("y" * 11, "y" * 100_000, 1, ["y"]):
            with pytest.raises(OutputTooLarge, match=f"TASK_OUTPUT_BYTES allows {1000 + row}"):
                emit(output, chunk)
        emit(output, "z" * 10)
        with pytest.raises(OutputTooLarge):
            emit(output, "z")
        output.write(DB)
        assert table.texts == [f'"{"x" * 990}{"z" * 10}"']
        (written,) = table.rows.values()
        assert written.bytes == 1000 + row

    def test_what_the_task_has_counts(self) -> None:
        output = new_output(attempt=2, stored=900, limit=1000 + OUTPUT_ROW_BYTES)
        emit(output, "x" * 90)
        with pytest.raises(OutputTooLarge):
            emit(output, "x" * 10)

    def test_many_rows_are_written_some_at_a_time(self, table: Table) -> None:
        output = new_output(limit=10**9)
        emit(output, *range(2 * BATCH_ROWS + 1))
        emit(output, *["x" * PIECE_CHARACTERS, 0] * 40)
        output.write(DB)
        assert max(table.batches) <= BATCH_ROWS
        assert len(table.batches) == 4
        assert table.texts[: 2 * BATCH_ROWS + 1] == [str(number) for number in range(2 * BATCH_ROWS + 1)]
        assert len(table.rows) == 2 * BATCH_ROWS + 81

    def test_a_body_that_emits_without_end_does_not_keep_its_writer(
        self, table: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        woken: list[AttemptOutput] = []
        output = new_output(wake=woken.append)
        write = table.write

        def write_slowly(*arguments: Any, **options: Any) -> Any:
            emit(output, 1)
            return write(*arguments, **options)

        monkeypatch.setattr(attached_rows, "write_output", write_slowly)
        emit(output, 0)
        output.write(DB)
        assert table.texts == ["0"]
        assert woken == [output, output]


class TestThreads:
    def test_emit_at_once_in_their_own_order(self, table: Table) -> None:
        output = new_output(limit=10**9)
        going = threading.Event()

        def body(name: str) -> None:
            going.wait()
            for number in range(500):
                output.add(number, name)

        threads = [threading.Thread(target=body, args=(str(each),)) for each in range(4)]
        for each in threads:
            each.start()
        going.set()
        while any(each.is_alive() for each in threads):
            output.write(DB)
        output.write(DB)
        assert len(table.rows) == 2000
        for name in "0123":
            assert [chunk for stream, chunk in table.chunks if stream == name] == [str(n) for n in range(500)]


class TestWriting:
    def test_wakes_the_flusher_once_for_what_waits_together(self, table: Table) -> None:
        woken: list[AttemptOutput] = []
        output = new_output(wake=woken.append)
        emit(output, "a", 1, "b")
        assert woken == [output]
        output.write(DB)
        emit(output, "c")
        assert woken == [output, output]

    def test_what_could_not_be_written_is_written_later_under_its_numbers(self, table: Table) -> None:
        output = new_output()
        emit(output, "a", 1)
        table.error = AWAY
        with pytest.raises(type(AWAY)):
            output.write(DB)
        emit(output, "b")
        table.error = None
        output.write_rest(DB)
        assert table.texts == ['"a"', "1", '"b"']
        assert [*sorted(table.rows)] == [SEQ + 1, SEQ + 2, SEQ + 3]

    def test_at_the_end_an_outage_is_raised_and_a_refusal_as_the_end_wants_it(
        self, table: Table, caplog: pytest.LogCaptureFixture
    ) -> None:
        output = new_output()
        emit(output, "a")
        output.close()
        table.error = AWAY
        with pytest.raises(type(AWAY)):
            output.write_rest(DB)
        table.error = REFUSED
        with pytest.raises(type(REFUSED)):
            output.write_rest(DB, must=True)
        assert "1 chunks of output of task" in caplog.text
        output.write_rest(DB, must=True)  # it is forgotten: the end that follows is written
        another = new_output()
        emit(another, "a")
        another.write_rest(DB)

    def test_of_an_attempt_that_is_lost_it_is_forgotten_and_the_body_hears_of_it(self, table: Table) -> None:
        output = new_output()
        emit(output, "a")
        table.answer = None
        output.write(DB)
        with pytest.raises(AttemptLost):
            emit(output, "b")
        table.answer = (None,)
        output.write_rest(DB)
        assert table.rows == {}

    def test_of_a_cancelled_task_it_is_kept_and_the_body_hears_of_it(self, table: Table) -> None:
        output = new_output()
        emit(output, "a")
        table.answer = ("now",)
        output.write(DB)
        with pytest.raises(TaskCancelled):
            emit(output, "b")
        assert table.texts == ['"a"']

    def test_behind_the_end_nothing_is_taken(self, table: Table) -> None:
        output = new_output()
        emit(output, "a")
        output.close()
        with pytest.raises(AttemptLost, match="the body has ended"):
            emit(output, "b")
        output.write_rest(DB)
        assert table.texts == ['"a"']

    def test_of_a_body_that_ends_its_own_attempt_it_is_written_behind_that(
        self, table: Table, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also where the attempt ends between the look at it and the statement."""
        current = CurrentAttempt(UUID(int=1), 1)
        output = AttemptOutput(current, 0, LIMIT, lambda _: None)
        write = table.write

        def write_behind_the_end(*arguments: Any, has_ended: bool) -> Any:
            current.ends_itself = True
            return write(*arguments, has_ended=has_ended) if has_ended else None

        monkeypatch.setattr(attached_rows, "write_output", write_behind_the_end)
        emit(output, "a")
        output.write(DB)
        assert (table.texts, table.has_ended) == (['"a"'], True)


class TestTheFlusher:
    @pytest.fixture(autouse=True)
    def delivered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(process, "deliver", lambda statement, seconds: statement(None))

    def test_writes_the_output_of_running_bodies(self, table: Table) -> None:
        writer = Flusher(interval=0.01)
        output = new_output(wake=writer.wake)
        for number in range(3):
            emit(output, number)
            wait_for(lambda: len(table.rows) == number + 1, 30, "the chunk")  # noqa: B023 (called at once)

    def test_leaves_what_is_refused_to_the_end(self, table: Table, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING)
        writer = Flusher(interval=0.01)
        output = new_output(wake=writer.wake)
        table.error = REFUSED
        emit(output, "a")
        wait_for(lambda: "wait for the end of the attempt" in caplog.text, 30, "the refusal")
        emit(output, "b")
        table.error = None
        output.write_rest(DB)
        assert table.texts == ['"a"', '"b"']


@dataclass
class Shown:
    """Shown by pydantic as an object."""

    rows: int


def test_a_dataclass_is_the_json_that_a_result_would_be(table: Table) -> None:
    output = new_output()
    emit(output, Shown(3))
    output.write(DB)
    assert table.texts == ['{"rows":3}']
