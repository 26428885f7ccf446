"""A stranger who causes a warning with each request fills no disk and hides no other warning."""

import logging
from collections.abc import Iterator

import pytest

from app.core import logging as module
from app.core.logging import ALLOWED_REPEATS, REPEAT_SECONDS, RepeatFilter


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


class Log:
    def __init__(self) -> None:
        self.filter = RepeatFilter()

    def write(self, message: str, *args: object, level: int = logging.WARNING, name: str = "uvicorn.error") -> str:
        """The line; empty if it is not shown."""
        record = logging.LogRecord(name, level, __file__, 1, message, args, None)
        return record.getMessage() if self.filter.filter(record) else ""


@pytest.fixture
def log(clock: Clock) -> Log:
    return Log()


class TestRepeats:
    def test_end_with_a_remark_and_the_next_minute_tells_their_number(self, log: Log, clock: Clock) -> None:
        shown = [line for number in range(1000) if (line := log.write("bad request %d", number))]
        assert shown[0] == "bad request 0"
        assert shown[-1] == f"bad request {ALLOWED_REPEATS - 1} (more like this are not shown for 60 s)"
        assert len(shown) == ALLOWED_REPEATS
        clock.now += REPEAT_SECONDS
        assert (
            log.write("bad request %d", 1) == f"bad request 1 ({1000 - ALLOWED_REPEATS} more like this were not shown)"
        )
        assert log.write("bad request %d", 2) == "bad request 2"

    def test_hide_no_other_warning(self, log: Log) -> None:
        for _ in range(1000):
            log.write("bad request")
        assert log.write("database unavailable")
        assert log.write("bad request", name="another")

    def test_below_a_warning_are_all_shown(self, log: Log) -> None:
        assert all(log.write("GET /", level=logging.INFO) for _ in range(1000))

    def test_of_many_texts_need_no_memory(self, log: Log) -> None:
        assert all(log.write(f"text {number}") for number in range(10_000))
        assert len(log.filter._seen) <= module._MAX_COUNTED_MESSAGES
