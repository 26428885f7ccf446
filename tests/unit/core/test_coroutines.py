"""A coroutine of a body that is told to stop: it ends, and nothing of it is left on the loop for the next one."""

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from app.core.task_bodies import CoroutineRunner


class OverLimit(Exception):
    pass


@pytest.fixture
def met() -> list[str]:
    """One for each time that the limit has reached the body."""
    return []


@pytest.fixture
def runner(met: list[str]) -> Iterator[CoroutineRunner]:
    made = CoroutineRunner()

    def handle(*_: object) -> None:
        if not made.time_out(OverLimit(), lambda: met.append("met")):
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


async def in_group(child: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(child)


async def gathered(child: Coroutine[Any, Any, None]) -> None:
    await asyncio.gather(child, return_exceptions=True)


async def beside(child: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(child)
    try:
        await asyncio.sleep(5)
    finally:
        task.cancel()


class TestATimeLimitWhileAnotherTaskOfTheLoopRuns:
    @pytest.mark.parametrize("body", [in_group, gathered, beside])
    def test_ends_the_body_and_no_task_alone(
        self, runner: CoroutineRunner, met: list[str], body: Callable[[Any], Coroutine[Any, Any, None]]
    ) -> None:
        noted: list[list[str]] = []

        async def child() -> None:
            signal.raise_signal(signal.SIGUSR2)
            noted.append(list(met))
            await asyncio.sleep(5)

        with pytest.raises(OverLimit):
            runner.run(body(child()))
        assert noted == [[]], "it has not reached the body while this task runs"

    def test_has_reached_the_body_once_that_is_cancelled(self, runner: CoroutineRunner, met: list[str]) -> None:
        """A body that cleans up for long is not one that the limit does not reach."""

        async def wait() -> None:
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGUSR2)
            try:
                await asyncio.sleep(5)
            finally:
                before = list(met)
                await asyncio.sleep(0)
                assert (before, met) == ([], ["met"])

        with pytest.raises(OverLimit):
            runner.run(wait())

    def test_does_not_reach_a_body_that_has_returned(self, runner: CoroutineRunner, met: list[str]) -> None:
        """Nor the one after it."""

        async def child() -> None:
            signal.raise_signal(signal.SIGUSR2)

        async def end() -> str:
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
            return "ended" if task.done() else "too early"

        assert runner.run(end()) == "ended"
        runner.run(asyncio.sleep(0.01))
        assert met == []
