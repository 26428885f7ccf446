"""A thread for work behind a commit: it goes on whatever its work raises."""

import logging
import threading
from collections import Counter

import pytest

from app.db import background
from app.db.background import Background
from tests.support.waiting import wait_for

SECONDS = 2.0


class _Work:
    """Notes what it is given, and fails on `bad` things."""

    def __init__(self, error: BaseException) -> None:
        self.error, self.done = error, list[str]()

    def __call__(self, things: Counter[str]) -> float:
        if "bad" in things:
            raise self.error
        self.done += sorted(things)
        return 0


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1), KeyboardInterrupt()])
def test_goes_on_after_any_error_and_logs_it(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    work = _Work(error)
    made = Background("of a test", "a thing is left to maintenance", work)
    made.enqueue(["bad"])
    assert made.flush(SECONDS)
    made.enqueue(["good", "better"])
    assert (made.flush(SECONDS), work.done) == (True, ["better", "good"])
    ((_, level, message),) = caplog.record_tuples
    assert (level, message) == (logging.ERROR, "a thing is left to maintenance")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_begins_again_where_its_thread_has_died(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what came meanwhile."""
    work = _Work(ValueError("no"))
    made = Background("that dies", "a thing is left to maintenance", work)

    def die(*_: object) -> None:
        made.enqueue(["waits"])
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(background.logger, "exception", die)
        made.enqueue(["bad"])
        wait_for(lambda: all(each.name != "that dies" for each in threading.enumerate()), SECONDS)
    made.enqueue(["good"])
    assert (made.flush(SECONDS), work.done) == (True, ["good", "waits"])


def test_gives_what_came_meanwhile_at_once_in_its_order_and_how_often() -> None:
    done, begun, goes_on = list[list[tuple[str, int]]](), threading.Event(), threading.Event()

    def work(things: Counter[str]) -> float:
        begun.set()
        goes_on.wait(SECONDS)
        done.append(list(things.items()))
        return 0

    made = Background("of one order", "a thing is left to maintenance", work)
    made.enqueue(["first"])
    assert begun.wait(SECONDS)
    for thing in ("b", "a", "b"):
        made.enqueue([thing])
    goes_on.set()
    assert (made.flush(SECONDS), done) == (True, [[("first", 1)], [("b", 2), ("a", 1)]])


def test_starts_no_second_thread_where_is_alive_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an exception of a signal's handler in the thread that starts it, up to Python 3.12."""
    made = Background("of one thread", "a thing is left to maintenance", _Work(ValueError("no")))
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "is_alive", lambda _: False)
        for _ in range(2):
            made.enqueue(["good"])
            assert made.flush(SECONDS)
        assert [each.name for each in threading.enumerate()].count("of one thread") == 1
