"""How queries run: into files of their own, and to their end whatever interrupts them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from celery.exceptions import SoftTimeLimitExceeded

from app.errors import TaskCancelled
from app.tasks.data import engine
from app.tasks.data.engine import Watch, new_file
from app.tasks.data.errors import UnusableData
from tests.support.waiting import wait_for


def test_a_query_that_goes_on_after_its_error_writes_to_no_later_file(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    with new_file(path) as failed:
        with new_file(path) as later:
            later.write(b"whole")
        failed.write(b"late")
    assert path.read_bytes() == b"whole"
    with new_file(path) as failed:
        path.unlink()
        failed.write(b"late")
    assert not path.exists()


@pytest.mark.parametrize("sink", ["sink_csv", "sink_parquet", "sink_ndjson"])
def test_a_file_takes_no_more_than_its_bytes(tmp_path: Path, sink: str) -> None:
    frame = pl.LazyFrame({"a": range(100_000)})
    with (
        pytest.raises(UnusableData, match="the output is larger than 1000 bytes"),
        new_file(tmp_path / "a", 1000) as file,
    ):
        getattr(frame, sink)(file)
    with new_file(tmp_path / "a", 10**7) as file:
        getattr(frame, sink)(file)
    assert (tmp_path / "a").stat().st_size == file.size


def test_rows_of_huge_values_end_the_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary may hold one long text for all of them: a file of 1 MB, and 100 GB to write."""
    monkeypatch.setattr(engine, "MAX_BATCH_BYTES", 10_000)
    frame = pl.LazyFrame({"a": ["x" * 1000] * 1000})
    with pytest.raises(UnusableData, match=r"rows hold .* bytes of values, more than 10000: split them"):
        Watch().over(frame).collect(engine="streaming")
    assert Watch().over(frame.head(5)).collect(engine="streaming").height == 5


class Signals:
    """Exceptions of a signal's handler in the main thread, one after the other."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = [*errors]
        self._handler = signal.signal(signal.SIGUSR2, self._raise)

    def _raise(self, *_: object) -> None:
        raise self._errors.pop(0)

    def send(self) -> None:
        os.kill(os.getpid(), signal.SIGUSR2)

    def wait_until_raised(self) -> None:
        wait_for(lambda: not self._errors, 10, "the handler to have raised each of them")

    def close(self) -> None:
        signal.signal(signal.SIGUSR2, self._handler)


class TestARunThatIsInterrupted:
    """By what a signal's handler raises, wherever the main thread waits."""

    @pytest.fixture
    def signals(self) -> Iterator[Callable[..., Signals]]:
        made: list[Signals] = []
        yield lambda *errors: made.append(Signals(*errors)) or made[-1]
        for each in made:
            each.close()

    def test_ends_its_query_and_is_over_once_that_has_ended(self, signals: Callable[..., Signals]) -> None:
        """After an exception in `Thread.join`, `is_alive` is False of a living thread, up to Python 3.12."""
        watch, sent, ended = Watch(), signals(TaskCancelled()), threading.Event()

        def work() -> None:
            sent.send()
            wait_for(lambda: watch.is_stopped, 10, "the watch to be stopped")
            ended.set()

        with pytest.raises(TaskCancelled):
            engine.run(work, [watch], lambda: None)
        assert ended.is_set()

    def test_waits_on_where_it_is_interrupted_again(self, signals: Callable[..., Signals]) -> None:
        """By the soft time limit, and by a cancellation while it waits for what that has stopped."""
        watch, sent, ended = Watch(), signals(SoftTimeLimitExceeded(), TaskCancelled()), threading.Event()

        def work() -> None:
            sent.send()
            wait_for(lambda: watch.is_stopped, 10, "the watch to be stopped")
            sent.send()
            sent.wait_until_raised()
            ended.set()

        with pytest.raises(TaskCancelled):
            engine.run(work, [watch], lambda: None)
        assert ended.is_set()

    @pytest.mark.parametrize("error", [SoftTimeLimitExceeded(), SystemExit(-15)])
    def test_leaves_a_query_that_goes_on_at_its_time_limit_and_with_its_process(
        self, signals: Callable[..., Signals], monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        """The process ends then, and the query with it."""
        monkeypatch.setattr(engine, "GRACE_SECONDS", 0.1)
        watch, sent, gate = Watch(), signals(error), threading.Event()

        def work() -> None:
            sent.send()
            gate.wait(10)

        try:
            with pytest.raises(type(error)):
                engine.run(work, [watch], lambda: None)
            assert watch.is_stopped
        finally:
            gate.set()


def test_a_query_whose_thread_cannot_start_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses another thread: nothing runs that could be waited for, nor does anything begin later."""
    threads: list[threading.Thread] = []
    errors: list[BaseException] = []
    ran: list[bool] = []

    def refuse(thread: threading.Thread) -> None:
        threads.append(thread)
        raise RuntimeError("can't start new thread")

    def run() -> None:
        try:
            engine.run(lambda: ran.append(True), [], lambda: None)
        except RuntimeError as error:
            errors.append(error)

    waiting = threading.Thread(target=run, daemon=True)  # for ever, where the query does not end
    with monkeypatch.context() as patched:
        start = threading.Thread.start
        patched.setattr(threading.Thread, "start", lambda self: (start if self is waiting else refuse)(self))
        waiting.start()
        waiting.join(2)
    assert [str(error) for error in errors] == ["can't start new thread"]
    threads[0].run()  # as where an exception of a signal's handler has broken off its start
    assert ran == []
