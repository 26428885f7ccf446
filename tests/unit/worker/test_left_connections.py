"""What a body keeps of the engine's connections is rolled back after each body, and told once."""

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from app.core.task_bodies import start_for_service
from app.worker.child import left_transactions


@pytest.fixture
def rolled_back(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The connections whose transactions were rolled back, on PostgreSQL."""
    found: list[Any] = []
    dialect = SimpleNamespace(name="postgresql", do_rollback=found.append)
    monkeypatch.setattr(left_transactions, "engine", lambda: SimpleNamespace(dialect=dialect))
    monkeypatch.setattr(left_transactions, "_held", {})
    return found


def taken(name: str) -> Any:
    record = MagicMock(dbapi_connection=name, info={})
    left_transactions._taken(None, record, None)
    return record


def in_thread(
    record: str,
    until: threading.Event | None = None,
    start: Callable[[threading.Thread], None] = threading.Thread.start,
) -> threading.Thread:
    thread = threading.Thread(target=lambda: (taken(record), until and until.wait(10)))
    start(thread)
    return thread


def test_is_rolled_back_each_time_and_told_once(rolled_back: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    taken("kept")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            left_transactions.roll_back_connections()
    assert (rolled_back, len(caplog.messages)) == (["kept"] * 3, 1)


def test_is_none_that_was_returned(rolled_back: list[Any]) -> None:
    left_transactions._returned(None, taken("returned"))
    left_transactions.roll_back_connections()
    assert rolled_back == []


def test_of_threads_those_that_have_ended_count_and_not_the_services(rolled_back: list[Any]) -> None:
    goes_on = threading.Event()
    runs = in_thread("busy", goes_on)
    in_thread("left").join()
    in_thread("of the service", start=start_for_service).join()
    left_transactions.roll_back_connections()
    goes_on.set()
    runs.join()
    assert rolled_back == ["left"]


def test_of_a_thread_whose_join_was_broken_off_are_left_to_it(rolled_back: list[Any]) -> None:
    """Up to Python 3.12, `is_alive` is False of a thread that runs, once a signal's handler has raised in its `join`."""
    goes_on = threading.Event()
    runs = in_thread("busy", goes_on)

    def refuse(*_: object) -> None:
        raise InterruptedError

    before = signal.signal(signal.SIGUSR2, refuse)
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2)).start()
        with pytest.raises(InterruptedError):
            runs.join(10)
        left_transactions.roll_back_connections()
        assert rolled_back == []
    finally:
        signal.signal(signal.SIGUSR2, before)
        goes_on.set()
