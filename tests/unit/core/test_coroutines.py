"""A coroutine of a body that is told to stop: it ends, and nothing of it is left on the loop for the next one."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from app.core.coroutines import CoroutineRunner


class OverLimit(Exception):
    pass


@pytest.fixture
def runner() -> Iterator[CoroutineRunner]:
    made = CoroutineRunner()

    def handle(*_: object) -> None:
        if not made.time_out(OverLimit()):
            raise OverLimit

    before = signal.signal(signal.SIGUSR2, handle)
    yield made
    signal.signal(signal.SIGUSR2, before)
    made.close()


def send_soon() -> None:
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR2)).start()


class TestATimeLimit:
    def test_ends_a_coroutine_that_waits(self, runner: CoroutineRunner) -> None:
        ended: list[str] = []

        async def wait() -> None:
            send_soon()
            try:
                await asyncio.sleep(5)
            finally:
                ended.append("cleaned up")

        with pytest.raises(OverLimit):
            runner.run(wait())
        assert ended == ["cleaned up"]
        runner.run(asyncio.sleep(0))
        assert not runner.cancel()

    def test_is_an_exception_in_the_code_that_runs(self, runner: CoroutineRunner) -> None:
        async def compute() -> str:
            try:
                signal.raise_signal(signal.SIGUSR2)
            except OverLimit:
                return "met"
            return "never"

        assert runner.run(compute()) == "met"

    def test_lets_a_coroutine_answer_that_has_cleaned_up(self, runner: CoroutineRunner) -> None:
        async def wait() -> str:
            send_soon()
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                return "cleaned up"
            return "never"

        assert runner.run(wait()) == "cleaned up"
