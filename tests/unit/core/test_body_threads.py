"""Which threads a body has left running: those that only the end of its process stops."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.core.body_threads import belongs_to, goes_on, hand_on, hand_on_no_more, start_for_service, threads_of


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
