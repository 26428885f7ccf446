"""Which threads a body has left running: those that only the end of its process stops."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.core.task_bodies import (
    ServiceThread,
    belongs_to,
    goes_on,
    hand_on,
    hand_on_no_more,
    start_for_service,
    threads_of,
)


@pytest.fixture(autouse=True)
def handed_on() -> Iterator[None]:
    hand_on()
    yield
    hand_on_no_more()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    made = threading.Event()
    yield made
    made.set()


def begun(target: Any, name: str) -> threading.Thread:
    thread = threading.Thread(target=target, name=name)
    thread.start()
    return thread


def names(attempt: object) -> list[str]:
    return sorted(thread.name for thread in threads_of(attempt))


class TestThreadsOfABody:
    BODY = object()

    def test_are_those_that_it_has_started_and_those_that_these_have_started(self, gate: threading.Event) -> None:
        inner: list[threading.Thread] = []
        before = begun(gate.wait, "before")
        with belongs_to(self.BODY):
            begun(lambda: (inner.append(begun(gate.wait, "inner")), gate.wait()), "outer")
            begun(lambda: None, "ended").join()
        while not inner:
            pass
        assert names(self.BODY) == ["inner", "outer"]
        assert names(object()) == []
        assert goes_on(before)

    def test_are_none_of_the_services(self, gate: threading.Event) -> None:
        with belongs_to(self.BODY):
            start_for_service(threading.Thread(target=gate.wait))
        assert names(self.BODY) == []

    def test_are_those_of_executors_while_a_call_of_it_runs(self, gate: threading.Event) -> None:
        """Another body's executor, too; asyncio's own threads wait for the next call for as long as their process."""
        other = object()
        with ThreadPoolExecutor(1, "shared") as shared:
            with belongs_to(other):
                shared.submit(int).result()
                assert names(other) == []
            with belongs_to(self.BODY):
                runs = threading.Event()
                call = shared.submit(lambda: (runs.set(), gate.wait()))
            runs.wait()
            assert (names(self.BODY), names(other)) == (["shared_0"], [])
            gate.set()
            call.result()
            shared.submit(int).result()
            assert names(self.BODY) == []


class TestAThreadOfTheService:
    NAME = "of-the-service"

    def running(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == self.NAME]

    def test_is_started_where_it_does_not_run(self, gate: threading.Event) -> None:
        made = ServiceThread(gate.wait, self.NAME)
        for _ in range(2):
            made.start()
        (first,) = self.running()
        gate.set()
        first.join(10)
        gate.clear()
        made.start()
        (second,) = self.running()
        assert second is not first

    def test_runs_on_after_an_exception_of_a_signals_handler_in_its_start(
        self, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`is_alive` may be False of it: the next start makes no second one."""
        made = ServiceThread(gate.wait, self.NAME)
        start = threading.Thread.start

        def interrupted(thread: threading.Thread) -> None:
            start(thread)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                made.start()
        monkeypatch.setattr(threading.Thread, "is_alive", lambda _: False)
        made.start()
        assert len(self.running()) == 1
        gate.set()
        monkeypatch.undo()
        self.running()[0].join(10)

    def test_that_leaves_is_followed_by_another_one_and_takes_no_other_one_with_it(self, gate: threading.Event) -> None:
        left = threading.Event()
        made = ServiceThread(lambda: (made.leave(), left.set(), gate.wait()), self.NAME)
        for number in (1, 2):
            made.start()
            assert left.wait(10)
            left.clear()
            assert len(self.running()) == number
        staying = ServiceThread(gate.wait, self.NAME)
        staying.start()
        staying.leave()  # in another thread than its own
        staying.start()
        assert len(self.running()) == 3
