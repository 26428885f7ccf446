"""Progress is coalesced, its last value lands, and its answers reach the body."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app.errors import AttemptLost, TaskCancelled
from app.worker.child import progress as module
from app.worker.child.progress import ProgressReporter
from tests.support.waiting import wait_for

PLAIN_BYTES = 600


class Writes:
    """The injected write: keeps the values, and answers or raises as told."""

    def __init__(self) -> None:
        self.values: list[tuple[int | None, Any]] = []
        self.threads: list[int] = []
        self.answer: bool | BaseException = False

    def __call__(self, percent: int | None, detail: Any | None) -> bool:
        self.values.append((percent, detail))
        self.threads.append(threading.get_ident())
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def writes() -> Writes:
    return Writes()


def timers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]


@contextmanager
def closed(progress: ProgressReporter) -> Iterator[ProgressReporter]:
    """Closes it at the end, and sees that no timer outlives it."""
    before = timers()
    yield progress
    progress.close()
    wait_for(lambda: set(timers()) <= set(before), what="the timers' end")


@pytest.fixture
def progress(writes: Writes) -> Iterator[ProgressReporter]:
    """Its timer does not fire within the test."""
    with closed(ProgressReporter(writes, 3600.0, PLAIN_BYTES)) as made:
        yield made


@pytest.fixture
def prompt(writes: Writes) -> Iterator[ProgressReporter]:
    """Its timer fires soon."""
    with closed(ProgressReporter(writes, 0.05, PLAIN_BYTES)) as made:
        yield made


@pytest.fixture
def running(progress: ProgressReporter) -> ProgressReporter:
    """Its timer is on: 0 was written, 1 waits."""
    report(progress, 0, 1)
    return progress


def report(progress: ProgressReporter, *percents: int) -> None:
    for percent in percents:
        progress.report(percent, None)


class TestWriting:
    def test_the_first_report_is_written_at_once_by_the_caller(
        self, progress: ProgressReporter, writes: Writes
    ) -> None:
        progress.report(10, {"step": 1})
        assert writes.values == [(10, {"step": 1})]
        assert writes.threads == [threading.get_ident()]

    def test_what_follows_within_the_interval_is_one_write(self, progress: ProgressReporter, writes: Writes) -> None:
        report(progress, *range(50))
        assert writes.values == [(0, None)]
        progress.close()
        assert writes.values == [(0, None), (49, None)]

    def test_the_last_value_lands_without_another_report(self, prompt: ProgressReporter, writes: Writes) -> None:
        report(prompt, 1, 2, 3)
        wait_for(lambda: (3, None) in writes.values, what="the timer's write")
        assert (2, None) not in writes.values
        assert writes.threads[-1] != threading.get_ident()

    def test_percent_and_detail_are_kept_apart(self, progress: ProgressReporter, writes: Writes) -> None:
        report(progress, 1, 20)
        progress.report(None, {"step": 2})
        progress.report(None, None)
        progress.close()
        assert writes.values[-1] == (20, {"step": 2})

    @pytest.mark.parametrize("method", ["report", "keep"])
    def test_a_detail_changed_afterwards_is_written_as_it_was(
        self, running: ProgressReporter, writes: Writes, method: str
    ) -> None:
        detail = {"step": 1}
        assert getattr(running, method)(1, detail) is not False
        detail["step"] = 99
        running.close()
        assert writes.values[-1] == (1, {"step": 1})

    def test_nothing_new_is_not_written_again(self, progress: ProgressReporter, writes: Writes) -> None:
        report(progress, 1)
        progress.close()
        progress.close()
        assert writes.values == [(1, None)]

    @pytest.mark.parametrize("percent", [-1, 101])
    def test_a_percent_out_of_range_is_refused_and_not_written(
        self, progress: ProgressReporter, writes: Writes, percent: int
    ) -> None:
        with pytest.raises(ValueError, match="between 0 and 100"):
            report(progress, percent)
        assert writes.values == []


class TestKeeping:
    """`keep` takes reports while the timer runs; where it returns False, the caller has to call `report`."""

    def test_without_a_timer_nothing_is_kept(self, progress: ProgressReporter, writes: Writes) -> None:
        assert not progress.keep(1, None)
        progress.close()
        assert writes.values == []

    def test_the_last_one_is_written(self, running: ProgressReporter, writes: Writes) -> None:
        for percent, detail in ((30, {"step": 3}), (40, None), (None, {"step": 4}), (None, None)):
            assert running.keep(percent, detail)
        running.close()
        assert writes.values == [(0, None), (40, {"step": 4})]

    def test_the_timer_writes_it(self, prompt: ProgressReporter, writes: Writes) -> None:
        report(prompt, 0, 1)
        prompt.keep(7, None)
        wait_for(lambda: writes.values[-1] == (7, None), what="the timer's write")

    def test_one_that_comes_as_the_timer_takes_what_waits_is_told_so(
        self, running: ProgressReporter, writes: Writes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def meanwhile(*_: object) -> bool:
            assert running._timer is not None
            running._timer.cancel()
            running._on_timer()
            return True

        monkeypatch.setattr(module, "is_plainly_small", meanwhile)
        assert not running.keep(2, {"step": 2})
        running.report(2, {"step": 2})
        running.close()
        assert writes.values[-1] == (2, {"step": 2})

    @pytest.mark.parametrize(
        ("percent", "detail"),
        [
            pytest.param(-1, None, id="below"),
            pytest.param(101, None, id="above"),
            pytest.param(1, {"a": object()}, id="no JSON"),
            pytest.param(1, {"a": float("nan")}, id="NaN"),
            pytest.param(1, {"a": "\ud800"}, id="surrogate"),
            pytest.param(1, {1: 1}, id="no name"),
            pytest.param(1, {"a": {}}, id="not flat"),
            pytest.param(1, {"a": 10**400}, id="huge number"),
            pytest.param(1, {"a": "x" * PLAIN_BYTES}, id="large"),
            pytest.param(1, {"x" * PLAIN_BYTES: 1}, id="large name"),
            pytest.param(1, dict.fromkeys(map(str, range(17))), id="many"),
            pytest.param(1, [1], id="list"),
        ],
    )
    def test_what_is_not_obviously_fine_is_left_to_report(
        self, running: ProgressReporter, writes: Writes, percent: int, detail: Any
    ) -> None:
        assert not running.keep(percent, detail)
        running.close()
        assert writes.values == [(0, None), (1, None)]

    def test_once_it_is_told_to_stop_nothing_is_kept(self, running: ProgressReporter) -> None:
        running.stop(TaskCancelled)
        assert not running.keep(2, None)

    def test_a_timer_that_cannot_start_keeps_no_report_waiting(
        self, progress: ProgressReporter, writes: Writes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        report(progress, 0)

        def cannot(_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", cannot)
            with pytest.raises(RuntimeError, match="can't start"):
                report(progress, 1)
        assert not progress.keep(2, None)
        progress.close()
        assert writes.values[-1] == (1, None)


class TestTimer:
    def test_is_one_however_many_reports_wait(self, progress: ProgressReporter) -> None:
        before = len(timers())
        report(progress, 1, 2, 3)
        assert len(timers()) == before + 1  # the fixture sees that it ends

    def test_a_write_that_fails_in_the_timer_does_not_end_the_reporting(
        self, prompt: ProgressReporter, writes: Writes, caplog: pytest.LogCaptureFixture
    ) -> None:
        report(prompt, 1)
        writes.answer = RuntimeError("the database is odd")
        report(prompt, 2)
        wait_for(lambda: "progress could not be written" in caplog.text, what="the log line")
        writes.answer = False
        report(prompt, 3)
        wait_for(lambda: (3, None) in writes.values, what="the next value")

    def test_closing_never_raises(
        self, running: ProgressReporter, writes: Writes, caplog: pytest.LogCaptureFixture
    ) -> None:
        writes.answer = RuntimeError("the database is odd")
        running.close()
        assert "progress could not be written" in caplog.text


class TestAnswers:
    @pytest.fixture(params=[(True, TaskCancelled), (AttemptLost(), AttemptLost)], ids=["cancelled", "lost"])
    def answer(self, request: pytest.FixtureRequest) -> tuple[bool | Exception, type[Exception]]:
        """What the write answers or raises, and what the body gets."""
        return request.param

    def test_is_heard_at_the_very_call_and_nothing_more_is_written(
        self, progress: ProgressReporter, writes: Writes, answer: Any
    ) -> None:
        writes.answer, raised = answer
        for percent in (1, 2):
            with pytest.raises(raised):
                report(progress, percent)
        progress.close()
        assert writes.values == [(1, None)]

    def test_that_the_timer_hears_is_raised_at_the_next_call(
        self, prompt: ProgressReporter, writes: Writes, answer: Any
    ) -> None:
        report(prompt, 1)
        writes.answer, raised = answer
        report(prompt, 2)
        wait_for(lambda: len(writes.values) == 2, what="the timer's write")
        with pytest.raises(raised):
            wait_for(lambda: report(prompt, 3), what="the timer's answer")
        assert writes.values == [(1, None), (2, None)]

    def test_is_heard_by_asking_alone(self, progress: ProgressReporter, writes: Writes) -> None:
        writes.answer = True
        with pytest.raises(TaskCancelled):
            progress.report(None, None)
        assert writes.values == [(None, None)]

    def test_that_is_another_error_reaches_the_caller(self, progress: ProgressReporter, writes: Writes) -> None:
        writes.answer = TypeError("the detail is not JSON")
        with pytest.raises(TypeError, match="not JSON"):
            progress.report(1, {"a": object()})
