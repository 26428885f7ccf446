"""`self.step` in a body: through Celery's tracer, on to the next attempt, and what a wrong name does to the task."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from celery.exceptions import Retry

from app.errors import StepRepeated
from app.testing import TaskRunner, run_task
from tests.unit.tasks.claimed import Define


def two_steps(self: Any, fail: bool = False) -> list[Any]:
    first = self.step("first", lambda number, /, *, name: [number, name], 1, name="x")
    if fail:
        raise ConnectionError("away")
    return [first, self.step("second", lambda: 2)]


class TestAnAttempt:
    def test_tells_of_its_steps(self, define: Define) -> None:
        run = run_task(define(two_steps))
        assert (run.result, run.steps) == ([[1, "x"], 2], {"first": [1, "x"], "second": 2})

    def test_goes_on_behind_the_steps_of_the_one_before(self, define: Define) -> None:
        task = define(two_steps)
        failed = run_task(task, fail=True)
        assert (failed.status, failed.steps) == ("failed", {"first": [1, "x"]})
        assert TaskRunner(steps={"first": "kept"}).run(task).result == ["kept", 2]

    def test_of_an_async_body_awaits_them(self, define: Define) -> None:
        async def double(number: int) -> int:
            await asyncio.sleep(0)
            return 2 * number

        async def body(self: Any) -> list[int]:
            return [await self.step("a", double, 1), self.step("b", lambda: 3)]

        run = run_task(define(body))
        assert (run.result, run.steps) == ([2, 3], {"a": 2, "b": 3})

    def test_that_is_cancelled_hears_of_it_at_a_step(self, define: Define) -> None:
        def body(self: Any) -> None:
            self.step("a", lambda: 1)
            pytest.fail("it was cancelled")

        run = TaskRunner(cancel_after=0).run(define(body))
        assert (run.outcome, run.steps) == ("revoked", {"a": 1})

    def test_without_a_record_just_calls_the_function(self, define: Define) -> None:
        assert define(two_steps)() == [[1, "x"], 2]


def twice(self: Any) -> None:
    for _ in range(2):
        self.step("a", lambda: 1)


def twice_and_caught(self: Any) -> str:
    try:
        twice(self)
    except Exception:  # noqa: BLE001 (such bodies exist)
        self.step("b", lambda: 1)
    return "well"


def twice_and_another_error(self: Any) -> None:
    try:
        twice(self)
    except StepRepeated:
        raise ConnectionError("away") from None


def twice_and_a_retry(self: Any) -> None:
    try:
        twice(self)
    except StepRepeated:
        self.retry(countdown=1)


class TestANameThatIsUsedTwice:
    @pytest.mark.parametrize("body", [twice, twice_and_caught, twice_and_another_error, twice_and_a_retry])
    @pytest.mark.parametrize("options", [{}, {"autoretry_for": (Exception,)}])
    def test_fails_the_task_and_is_not_retried(
        self, define: Define, body: Callable[..., Any], options: dict[str, Any]
    ) -> None:
        run = TaskRunner(max_attempts=5).run(define(body, **options))
        assert (run.outcome, run.retry) == ("failed", None)
        assert isinstance(run.exception, StepRepeated)
        assert not isinstance(run.exception, Retry)
        assert "'a'" in str(run.exception)
