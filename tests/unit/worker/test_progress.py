"""Progress is coalesced, its last value lands, and its answers reach the body."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.errors import AttemptLost, TaskCancelled
from app.worker.child import progress as module
from app.worker.child.progress import ProgressReporter
from tests.support.waiting import wait_for

NEVER = 3600.0
PLAIN_BYTES = 600
SOON = 0.05


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


@pytest.fixture
def reporter(writes: Writes) -> Iterator[Callable[[float], ProgressReporter]]:
    """Makes reporters, closes them, and sees that no timer outlives them."""
    made: list[ProgressReporter] = []

    def make(interval: float) -> ProgressReporter:
        made.append(ProgressReporter(writes, interval, PLAIN_BYTES))
        return made[-1]

    before = timers()
    yield make
    for each in made:
        each.close()
    wait_for(lambda: set(timers()) <= set(before), what="the timers' end")


Make = Callable[[float], ProgressReporter]


def running(progress: ProgressReporter) -> ProgressReporter:
    """With its timer on: 0 was written, 1 waits."""
    progress.report(0, None)
    progress.report(1, None)
    return progress


class TestWriting:
    def test_the_first_report_is_written_at_once_by_the_caller(self, reporter: Make, writes: Writes) -> None:
        reporter(NEVER).report(10, {"step": 1})
        assert writes.values == [(10, {"step": 1})]
        assert writes.threads == [threading.get_ident()]

    def test_what_follows_within_the_interval_is_one_write(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(NEVER)
        for percent in range(50):
            progress.report(percent, None)
        assert writes.values == [(0, None)]
        progress.close()
        assert writes.values == [(0, None), (49, None)]

    def test_the_last_value_lands_without_another_report(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(SOON)
        progress.report(1, None)
        progress.report(2, None)
        progress.report(3, None)
        wait_for(lambda: (3, None) in writes.values, what="the timer's write")
        assert (2, None) not in writes.values
        assert writes.threads[-1] != threading.get_ident()

    def test_percent_and_detail_are_kept_apart(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(NEVER)
        progress.report(1, None)
        progress.report(20, None)
        progress.report(None, {"step": 2})
        progress.report(None, None)
        progress.close()
        assert writes.values[-1] == (20, {"step": 2})

    def test_a_detail_changed_afterwards_is_written_as_it_was(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(NEVER)
        detail = {"step": 1}
        progress.report(0, None)
        progress.report(1, detail)
        detail["step"] = 99
        progress.close()
        assert writes.values[-1] == (1, {"step": 1})

    def test_nothing_new_is_not_written_again(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(NEVER)
        progress.report(1, None)
        progress.close()
        progress.close()
        assert writes.values == [(1, None)]

    @pytest.mark.parametrize("percent", [-1, 101])
    def test_a_percent_out_of_range_is_refused_and_not_written(
        self, reporter: Make, writes: Writes, percent: int
    ) -> None:
        with pytest.raises(ValueError, match="between 0 and 100"):
            reporter(NEVER).report(percent, None)
        assert writes.values == []


class TestKeeping:
    """What `keep` takes while the timer runs; whoever is told False makes the report in the ordinary way."""

    def test_without_a_timer_nothing_is_kept(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(NEVER)
        assert not progress.keep(1, None)
        progress.close()
        assert writes.values == []

    def test_the_last_one_is_written(self, reporter: Make, writes: Writes) -> None:
        progress = running(reporter(NEVER))
        assert progress.keep(30, {"step": 3})
        assert progress.keep(40, None)
        assert progress.keep(None, {"step": 4})
        assert progress.keep(None, None)
        progress.close()
        assert writes.values == [(0, None), (40, {"step": 4})]

    def test_the_timer_writes_it(self, reporter: Make, writes: Writes) -> None:
        progress = running(reporter(SOON))
        progress.keep(7, None)
        wait_for(lambda: writes.values[-1] == (7, None), what="the timer's write")

    def test_one_that_comes_as_the_timer_takes_what_waits_is_told_so(
        self, reporter: Make, writes: Writes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        progress = running(reporter(NEVER))

        def meanwhile(*_: object) -> bool:
            assert progress._timer is not None
            progress._timer.cancel()
            progress._on_timer()
            return True

        monkeypatch.setattr(module, "is_plainly_small", meanwhile)
        assert not progress.keep(2, {"step": 2})
        progress.report(2, {"step": 2})
        progress.close()
        assert writes.values[-1] == (2, {"step": 2})

    def test_a_detail_changed_afterwards_is_written_as_it_was(self, reporter: Make, writes: Writes) -> None:
        progress = running(reporter(NEVER))
        detail = {"step": 1}
        assert progress.keep(1, detail)
        detail["step"] = 99
        progress.close()
        assert writes.values[-1] == (1, {"step": 1})

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
        self, reporter: Make, writes: Writes, percent: int, detail: Any
    ) -> None:
        progress = running(reporter(NEVER))
        assert not progress.keep(percent, detail)
        progress.close()
        assert writes.values == [(0, None), (1, None)]

    def test_once_it_is_told_to_stop_nothing_is_kept(self, reporter: Make) -> None:
        progress = running(reporter(NEVER))
        progress.stop(TaskCancelled)
        assert not progress.keep(2, None)

    def test_a_timer_that_cannot_start_keeps_no_report_waiting(
        self, reporter: Make, writes: Writes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        progress = reporter(NEVER)
        progress.report(0, None)

        def cannot(_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", cannot)
            with pytest.raises(RuntimeError, match="can't start"):
                progress.report(1, None)
        assert not progress.keep(2, None)
        progress.close()
        assert writes.values[-1] == (1, None)


class TestTimer:
    def test_closing_leaves_no_timer_behind(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(NEVER)
        before = len(timers())
        progress.report(1, None)
        progress.report(2, None)
        progress.report(3, None)
        assert len(timers()) == before + 1  # one, however many reports wait
        progress.close()
        wait_for(lambda: len(timers()) == before, what="the timer's end")

    def test_a_write_that_fails_in_the_timer_does_not_end_the_reporting(
        self, reporter: Make, writes: Writes, caplog: pytest.LogCaptureFixture
    ) -> None:
        progress = reporter(SOON)
        progress.report(1, None)
        writes.answer = RuntimeError("the database is odd")
        progress.report(2, None)
        wait_for(lambda: "progress could not be written" in caplog.text, what="the log line")
        writes.answer = False
        progress.report(3, None)
        wait_for(lambda: (3, None) in writes.values, what="the next value")

    def test_closing_never_raises(self, reporter: Make, writes: Writes, caplog: pytest.LogCaptureFixture) -> None:
        progress = reporter(NEVER)
        progress.report(1, None)
        progress.report(2, None)
        writes.answer = RuntimeError("the database is odd")
        progress.close()
        assert "progress could not be written" in caplog.text


class TestAnswers:
    def test_a_cancellation_is_heard_at_the_very_call(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(NEVER)
        writes.answer = True
        for percent in (1, 2):
            with pytest.raises(TaskCancelled):
                progress.report(percent, None)
        progress.close()
        assert writes.values == [(1, None)]

    def test_what_the_timer_hears_is_raised_at_the_next_call(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(SOON)
        progress.report(1, None)
        writes.answer = True
        progress.report(2, None)
        wait_for(lambda: len(writes.values) == 2, what="the timer's write")
        with pytest.raises(TaskCancelled):
            wait_for(lambda: progress.report(3, None), what="the timer's answer")
        assert (3, None) not in writes.values

    def test_asking_alone_hears_it_too(self, reporter: Make, writes: Writes) -> None:
        writes.answer = True
        with pytest.raises(TaskCancelled):
            reporter(NEVER).report(None, None)
        assert writes.values == [(None, None)]

    def test_a_lost_attempt_is_heard_and_writes_nothing_more(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(NEVER)
        writes.answer = AttemptLost()
        for _ in range(2):
            with pytest.raises(AttemptLost):
                progress.report(1, None)
        progress.close()
        assert writes.values == [(1, None)]

    def test_a_lost_attempt_heard_by_the_timer_is_raised_at_the_next_call(self, reporter: Make, writes: Writes) -> None:
        progress = reporter(SOON)
        progress.report(1, None)
        writes.answer = AttemptLost()
        progress.report(2, None)
        wait_for(lambda: len(writes.values) == 2, what="the timer's write")
        with pytest.raises(AttemptLost):
            wait_for(lambda: progress.report(3, None), what="the lost attempt")
        assert writes.values == [(1, None), (2, None)]

    def test_another_error_reaches_the_caller(self, reporter: Make, writes: Writes) -> None:
        writes.answer = TypeError("the detail is not JSON")
        with pytest.raises(TypeError, match="not JSON"):
            reporter(NEVER).report(1, {"a": object()})
