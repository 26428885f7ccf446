"""What a body prints is a line of the worker's log, and not a line for each piece."""

# ruff: noqa: T201 (bodies print)

import io
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
from celery.utils.log import LoggingProxy

from app.worker.child import log_capture
from app.worker.child.attempt_log import BegunLines
from app.worker.child.log_capture import REDIRECTED
from tests.support.tables import check_rows

Lines = list[tuple[int, str]]


@pytest.fixture
def redirect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Lines]]:
    """`redirect()`: the level and text of what is printed from there on. pytest has other streams in each phase."""
    lines: Lines = []
    logger = logging.getLogger(REDIRECTED)
    handler = logging.Handler()
    handler.emit = lambda record: lines.append((record.levelno, record.getMessage()))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)

    def begun() -> Lines:
        both = LoggingProxy(logger, logging.WARNING)  # as Celery's `redirect_stdouts_to_logger`
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, both)
        log_capture.log_whole_lines()
        return lines

    yield begun
    log_capture.log_pieces_again()
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_a_print_is_one_line_at_info(redirect: Callable[[], Lines]) -> None:
    logged = redirect()
    print("row", 5)
    print("a\nb\n", end="")
    print("to stderr", 1, file=sys.stderr)
    assert logged == [(20, "row 5"), (20, "a"), (20, "b"), (30, "to stderr 1")]


def test_of_a_progress_bar_the_last_state_is_logged(redirect: Callable[[], Lines]) -> None:
    logged = redirect()
    for percent in range(0, 101, 10):
        print(f"\r{percent} %", end="", file=sys.stderr)
    assert logged == []
    log_capture.end_whole_lines()
    assert logged == [(30, "100 %")]


def test_what_another_task_has_left_is_a_line_of_its_own(
    redirect: Callable[[], Lines], monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = redirect()
    for task_id in ("one", "two"):
        monkeypatch.setattr(log_capture, "current_task", SimpleNamespace(request=SimpleNamespace(id=task_id)))
        print("begun by", task_id, end="")
    log_capture.end_whole_lines()
    assert [text for _, text in logged] == ["begun by one", "begun by two"]


def test_threads_do_not_share_a_line(redirect: Callable[[], Lines]) -> None:
    logged = redirect()
    print("main ", end="")
    thread = threading.Thread(target=lambda: print("thread"))
    thread.start()
    thread.join()
    print("goes on")
    assert [text for _, text in logged] == ["thread", "main goes on"]


def test_what_another_thread_has_begun_is_passed_on_at_the_end(redirect: Callable[[], Lines]) -> None:
    logged = redirect()
    thread = threading.Thread(target=lambda: print("begun in a thread", end=""))
    thread.start()
    thread.join()
    log_capture.end_whole_lines()
    assert [text for _, text in logged] == ["begun in a thread"]


def test_only_what_celery_has_redirected_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    own = io.StringIO()
    monkeypatch.setattr(sys, "stdout", own)
    log_capture.log_whole_lines()
    assert sys.stdout is own


def test_lines_of_pieces() -> None:
    def check(pieces: list[str], lines: list[str], rest: list[str]) -> None:
        begun: BegunLines[str] = BegunLines(longest=10)
        found = [line for piece in pieces for line in begun.add("x", piece)]
        assert (found, [line for _, line in begun.end()], len(begun)) == (lines, rest, 0)

    check_rows(check, [
        (["a", " ", "b", "\n"], ["a b"], []),
        (["a\r\n"], ["a"], []),
        (["1 %\r", "2 %\r"], [], ["2 %"]),
        (["1 %\r2 %", "\n", "c"], ["2 %"], ["c"]),
        (["x" * 50, "y\n"], ["x" * 10], []),
        (["\n"], [""], []),
        ([""], [], []),
    ])  # fmt: skip
