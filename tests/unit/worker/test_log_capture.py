"""What a body logs or prints is found, wherever it comes from, and changes neither the body nor the worker's own log."""

# ruff: noqa: T201 (bodies print)

import asyncio
import io
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from celery.utils.log import LoggingProxy

from app.core import task_bodies
from app.core.redacted_text import known_secrets
from app.services.tasks.task_history import LogLine
from app.worker.child.attempt_log import MAX_WAITING, AttemptLog, Bounds
from app.worker.child.log_capture import LogCapture, present_log
from app.worker.child.log_entries import FIELDS_BYTES, MESSAGE_BYTES, TRACEBACK_BYTES, entry_of, line_of
from tests.support.tables import check_rows

BYTES = 1024 * 1024


class Attempt(NamedTuple):
    """An attempt, of which nothing but its log is asked for."""

    log: AttemptLog


def belongs_to(log: AttemptLog | None) -> AbstractContextManager[None]:
    return task_bodies.belongs_to(None if log is None else Attempt(log))


def new_log(level: int = logging.INFO) -> AttemptLog:
    return AttemptLog(UUID(int=1), 1, Bounds(level, BYTES), lambda _: None)


def kept(log: AttemptLog) -> list[LogLine]:
    """Its lines as they would be written, once the body has ended."""
    log.close()
    if log.is_open:
        log.hide_secrets()
        return [line for batch in log._unwritten for _, line in batch]
    return []


def messages(log: AttemptLog) -> list[str]:
    return [line.message for line in kept(log)]


@pytest.fixture
def install() -> Iterator[Callable[[int], None]]:
    captures: list[LogCapture] = []

    def installed(level: int = logging.INFO) -> None:
        task_bodies.hand_on()
        captures.append(LogCapture(level))
        captures[-1].install()

    yield installed
    for each in captures:
        each.remove()
    task_bodies.hand_on_no_more()


def counted(value: Any) -> tuple[int, int]:
    """How many values a copy of an `extra` holds, and how many characters."""
    if isinstance(value, dict | list):
        inner = [counted(each) for each in (value.values() if isinstance(value, dict) else value)]
        return sum(number for number, _ in inner) + 1, sum(length for _, length in inner)
    return 1, len(value) if isinstance(value, str) else 0


Body = Callable[[], AttemptLog]


@pytest.fixture
def body(install: Callable[[], None]) -> Iterator[Body]:
    """`log = body()`: from there on the test is a body. Not before: pytest has streams of its own for each phase."""
    with ExitStack() as opened:

        def begun() -> AttemptLog:
            logging.getLogger().setLevel(logging.INFO)
            install()
            log = new_log()
            opened.enter_context(belongs_to(log))
            return log

        yield begun


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    yield
    root.setLevel(before)


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """One of the test's own."""
    made = logging.getLogger("tests.capture")
    yield made
    made.handlers.clear()
    made.setLevel(logging.NOTSET)
    made.propagate, made.disabled = True, False


class TestRecords:
    def test_are_kept_at_the_level_and_above(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        logger.setLevel(logging.DEBUG)
        for name in ("debug", "info", "warning"):
            getattr(logger, name)("a line of level %s", name)
        assert [(line.level, line.logger, line.message) for line in kept(log)] == [
            (20, "tests.capture", "a line of level info"),
            (30, "tests.capture", "a line of level warning"),
        ]

    def test_of_a_logger_alone_are_kept(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        logger.info("alone")
        assert messages(log) == ["alone"]

    def test_of_nobody_and_of_the_service_itself_are_not(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        logging.getLogger("app.worker.child").warning("the service's")
        logging.getLogger("app.tasks.common_tasks").warning("a body's")
        with belongs_to(None):
            logger.warning("outside")
        assert messages(log) == ["a body's"]

    def test_that_a_library_or_a_body_has_switched_off_are_not(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        logger.setLevel(logging.ERROR)
        logger.warning("below its own level")
        logger.setLevel(logging.NOTSET)
        logging.disable(logging.WARNING)
        try:
            logger.warning("disabled")
        finally:
            logging.disable(logging.NOTSET)
        assert messages(log) == []

    def test_whose_handler_raises_are_kept_and_the_body_sees_the_error(
        self, body: Body, logger: logging.Logger
    ) -> None:
        log = body()

        class Raising(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                raise OSError("no room")

        logger.addHandler(Raising())
        with pytest.raises(OSError, match="no room"):
            logger.info("kept")
        assert messages(log) == ["kept"]

    def test_are_kept_once_where_a_handler_writes_to_stderr(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        logger.propagate = False
        logger.addHandler(logging.StreamHandler(sys.stderr))
        logger.info("once")
        print("and again", file=sys.stderr)
        assert messages(log) == ["once", "and again"]

    def test_that_cannot_be_formatted_are_kept(self, body: Body, logger: logging.Logger) -> None:
        log = body()

        class Shy:
            def __str__(self) -> str:
                raise RuntimeError

            __repr__ = __str__

        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        logger.info("%d rows", "many")
        logger.info(Shy())
        assert messages(log) == [
            "%d rows (its arguments do not fit the format)",
            "(Shy: it cannot be shown) (its arguments do not fit the format)",
        ]

    def test_a_soft_time_limit_reaches_the_body(self, body: Body, logger: logging.Logger) -> None:
        body()

        class Slow:
            def __str__(self) -> str:
                raise SoftTimeLimitExceeded

        with pytest.raises(SoftTimeLimitExceeded):
            logger.info("%s", Slow())
        with pytest.raises(SoftTimeLimitExceeded):
            logger.info("x", extra={"slow": Slow()})

    def test_hold_no_secret_and_nothing_that_a_database_refuses(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        logger.propagate = False  # a report of pytest's cannot hold a lone surrogate
        logger.addHandler(logging.NullHandler())
        known_secrets.hide("a test", ["hunter2hunter2"])
        try:
            logger.info("NUL \0, surrogate \ud800, hunter2hunter2", extra={"password": "x", "text": "\ud800\0"})
            logger.info("postgresql://u:secret@host/db")
            (first, second) = kept(log)
        finally:
            known_secrets.forget("a test")
        assert first.message == "NUL \ufffd, surrogate ?, ***"
        assert json.loads(first.fields) == {"password": "***", "text": "?\ufffd"}
        assert second.message == "postgresql://u:***@host/db"

    def test_carry_a_bounded_traceback(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        for text in ("short", "x" * 100_000):
            try:
                raise ValueError(text)
            except ValueError:
                logger.exception("failed")
        short, long = messages(log)
        assert short.startswith("failed\nTraceback (most recent call last)")
        assert short.endswith("ValueError: short")
        assert len(long) <= len("failed\n") + TRACEBACK_BYTES

    def test_longer_than_a_line_may_be_are_cut_and_say_so(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        logger.info("é" * 10 * MESSAGE_BYTES)
        logger.info("x" * MESSAGE_BYTES)
        cut, whole = messages(log)
        assert cut.startswith("é" * (MESSAGE_BYTES // 2))
        assert cut.endswith(f"é … (cut: the line was longer than {MESSAGE_BYTES} bytes)")
        assert whole == "x" * MESSAGE_BYTES

    def test_what_an_extra_costs_is_bounded_whatever_is_handed_in(self) -> None:
        """ATTACK 5: 246 KB were counted for 724 MiB, and a line that was thrown away took a second."""
        nested: Any = [1]
        for _ in range(3):
            nested = [nested] * 50
        texts = [["x" * 5000 + str(number * 50 + at) for at in range(50)] for number in range(50)]
        huge = {
            "set": set(range(100_000)),
            "dict": dict.fromkeys(range(100_000)),
            "bytes": b"x" * 10**7,
            (1,) * 10**6: 1,
        }

        def check(extra: dict[str, Any]) -> None:
            entry = entry_of(logging.makeLogRecord({"name": "x", "levelno": 20, "msg": "x", **extra}))
            values, characters = counted(entry.fields)
            assert values <= 1001
            assert characters <= 5 * FIELDS_BYTES + 1024
            assert characters <= entry.size <= 5 * FIELDS_BYTES + 64 * 1001 + 1024
            assert len(line_of(entry).fields) <= FIELDS_BYTES

        check_rows(
            check, [{"a": nested}, {"a": texts}, {"a": huge}, {"a": [{}] * 50}, {f"k{n}": texts[n] for n in range(50)}]
        )

    def test_an_extra_that_lies_or_raises_costs_no_more_and_loses_no_line(self) -> None:
        class Endless(str):
            __slots__ = ()

            def __len__(self) -> int:
                return 0

            def __getitem__(self, _: object) -> str:
                return "x" * 50_000_000

        class Raising(dict[str, int]):
            def items(self) -> Any:
                raise RuntimeError("dictionary changed size during iteration")

        class Odd(int):
            def __lt__(self, _: object) -> bool:
                raise ValueError

        record = logging.LogRecord("x", logging.INFO, "", 0, "line", None, None)
        record.__dict__.update(endless=Endless("short"), raising=Raising(a=1), odd=Odd(5), fine=1)
        line = line_of(entry_of(record))
        fields = json.loads(line.fields)
        assert (line.message, fields["endless"], fields["fine"]) == ("line", "short", 1)
        assert {fields["raising"], fields["odd"]} == {"(Raising: it cannot be shown)", "(Odd: it cannot be shown)"}

    def test_have_their_extras_as_bounded_json(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        deep: dict[str, Any] = {}
        deep["self"] = deep
        logger.info("x", extra={"n": 1, "nan": float("nan"), "big": 10**5000, "set": {1}, "deep": deep, 7: None})
        logger.info("x", extra={f"k{number}": "v" * 1000 for number in range(20)})
        small, large = (json.loads(line.fields) for line in kept(log))
        assert {name: small[name] for name in ("n", "nan", "set", "7")} == {"n": 1, "nan": "nan", "set": [1], "7": None}
        assert 2 <= len(large) < 20
        assert "left out" in large["…"]
        assert len(json.dumps(large)) <= FIELDS_BYTES + 100


class TestPrintedLines:
    def test_are_kept_one_by_one(self, body: Body) -> None:
        log = body()
        print("a", "b", 3)
        print("two\nlines")
        print()
        print("to stderr", file=sys.stderr)
        assert [(line.logger, line.level, line.message) for line in kept(log)] == [
            ("stdout", 20, "a b 3"),
            ("stdout", 20, "two"),
            ("stdout", 20, "lines"),
            ("stdout", 20, ""),
            ("stderr", 30, "to stderr"),
        ]

    def test_without_an_end_are_kept_at_the_end_of_the_body(self, body: Body) -> None:
        log = body()
        print("a", end="")
        print("b", end="", file=sys.stderr)
        assert sorted(messages(log)) == ["a", "b"]

    def test_that_are_written_anew_are_kept_as_they_end(self, body: Body) -> None:
        log = body()
        for percent in (0, 50, 100):
            sys.stderr.write(f"\r{percent} %")
        sys.stderr.write("\n")
        sys.stdout.write("windows\r\nno end\r")
        assert messages(log) == ["100 %", "windows", "no end"]

    def test_of_two_threads_do_not_mix(self, body: Body) -> None:
        log = body()
        print("mine", end="")
        thread = threading.Thread(target=print, args=("the thread's",))
        thread.start()
        thread.join()
        print(" again")
        assert messages(log) == ["the thread's", "mine again"]

    def test_of_any_length_take_bounded_memory(self, body: Body) -> None:
        log = body()
        for _ in range(1000):
            sys.stdout.write("x" * 1000)
        (line,) = messages(log)
        assert "(cut: the line was longer" in line

    def test_go_on_to_the_stream_that_was_there(
        self, install: Callable[[], None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        stream = sys.stdout
        install()
        with belongs_to(new_log()):
            print("a", 1)
            assert sys.stdout.getvalue() == "a 1\n"
            assert sys.stdout.closed is stream.closed

    def test_that_celery_redirects_are_in_its_log_as_before(
        self, install: Callable[[], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(sys, "stdout", LoggingProxy(logging.getLogger("celery.redirected"), "WARNING"))
        install()
        log = new_log()
        with belongs_to(log):
            print("a", "b")
        assert [(record.name, record.message) for record in caplog.records] == [
            ("celery.redirected", "a"),
            ("celery.redirected", " "),
            ("celery.redirected", "b"),
        ]
        assert [(line.logger, line.message) for line in kept(log)] == [("stdout", "a b")]


class TestTheWorkersLevel:
    """What `-l warning` keeps out of the worker's log is the task's all the same."""

    def test_keeps_nothing_out_and_the_workers_log_is_as_before(
        self, install: Callable[[], None], logger: logging.Logger, caplog: pytest.LogCaptureFixture
    ) -> None:
        logging.getLogger().setLevel(logging.WARNING)
        install()
        log = new_log()
        logger.info("outside")
        with belongs_to(log):
            logger.debug("debug")
            logger.info("info")
            logger.warning("warning")
            assert not logger.isEnabledFor(logging.DEBUG)
        assert [record.message for record in caplog.records] == ["warning"]
        assert messages(log) == ["info", "warning"]
        assert logging.getLogger().level == logging.WARNING

    def test_but_what_somebody_else_has_set_counts(self, install: Callable[[], None], logger: logging.Logger) -> None:
        logging.getLogger().setLevel(logging.WARNING)
        install()
        with belongs_to(new_log()):
            log = present_log()
            logger.setLevel(logging.WARNING)
            logger.info("below the library's level")
            logger.setLevel(logging.NOTSET)
            logging.getLogger().setLevel(logging.ERROR)
            logger.info("below what the body has set")
        assert log is not None
        assert messages(log) == []


class TestWhoseItIs:
    def test_coroutines_threads_and_executors_log_for_their_body(self, body: Body, logger: logging.Logger) -> None:
        log = body()

        async def logs() -> None:
            await asyncio.gather(*(asyncio.to_thread(logger.info, "to_thread") for _ in range(2)))
            await asyncio.get_running_loop().run_in_executor(None, logger.info, "run_in_executor")

        asyncio.run(logs())
        thread = threading.Thread(target=logger.info, args=("thread",))
        thread.start()
        thread.join()
        assert messages(log) == ["to_thread", "to_thread", "run_in_executor", "thread"]

    def test_what_a_body_has_left_behind_is_not_the_next_ones(
        self, install: Callable[[], None], logger: logging.Logger
    ) -> None:
        logging.getLogger().setLevel(logging.INFO)
        install()
        first, second = new_log(), new_log()
        gate = threading.Event()

        def linger() -> None:
            gate.wait(30)
            logger.info("late")

        with ThreadPoolExecutor(1) as shared:
            with belongs_to(first):
                thread = threading.Thread(target=linger)
                thread.start()
                shared.submit(logger.info, "of the first").result()
            of_first = messages(first)
            with belongs_to(second):
                gate.set()
                thread.join()
                shared.submit(logger.info, "of the second").result()
            shared.submit(logger.info, "of nobody").result()
        assert (of_first, messages(second)) == (["of the first"], ["of the second"])
        assert not first._waiting

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside threads
    def test_a_process_that_the_body_forks_takes_no_lock_of_it(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        logger.info("opens it")
        holds, done = threading.Event(), threading.Event()

        def hold() -> None:
            with log._lock:
                holds.set()
                done.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        assert holds.wait(30)
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # rather than wait for ever
            logger.info("in the forked one")
            print("printed there")
            os._exit(7)
        _, status = os.waitpid(child, 0)
        done.set()
        thread.join()
        assert os.waitstatus_to_exitcode(status) == 7
        assert messages(log) == ["opens it"]


class TestBounds:
    def test_the_newest_lines_stay_and_one_says_how_many_are_missing(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        logger.propagate = False
        logger.addHandler(logging.NullHandler())
        number = MAX_WAITING + 2000
        for each in range(number):
            logger.info("%d", each)
            if not each % 1000:
                assert log._waiting is not None
                assert len(log._waiting) <= MAX_WAITING
        first, *rest = kept(log)
        assert first.logger == "task_service"
        assert first.message.startswith(f"{number - len(rest)} lines before this one are missing")
        assert rest[-1].message == str(number - 1)
        assert sum(line.bytes for line in (first, *rest)) <= BYTES

    def test_bytes_are_bounded_too(self, body: Body, logger: logging.Logger) -> None:
        log = body()
        for _ in range(500):
            logger.info("x" * 5 * MESSAGE_BYTES)
        assert log._size <= BYTES + 5 * MESSAGE_BYTES
        assert len(messages(log)) > 20


def test_installed_again_it_keeps_each_line_once(
    install: Callable[[], None], body: Body, logger: logging.Logger
) -> None:
    install()
    log = body()
    logger.info("a record")
    print("a line")
    assert messages(log) == ["a record", "a line"]


def test_everything_is_put_back() -> None:
    before = (logging.Logger.callHandlers, logging.Logger.isEnabledFor, threading.Thread.start, sys.stdout, sys.stderr)
    capture = LogCapture(logging.DEBUG)
    capture.install()
    assert logging.Logger.callHandlers is not before[0]
    capture.remove()
    assert before == (
        *(logging.Logger.callHandlers, logging.Logger.isEnabledFor, threading.Thread.start),
        *(sys.stdout, sys.stderr),
    )
