"""`self.emit` in a body that a test runs, and in a call without a record."""

import asyncio
from typing import Any

import pytest

from app.testing import Emitted, TaskRunner, run_task
from tests.unit.tasks.claimed import Define


def emits(self: Any) -> None:
    for word in ("a ", "b"):
        self.emit(word)
    self.emit({"done": (1, 2)}, stream="rows")


class TestAnAttempt:
    def test_tells_of_its_output(self, define: Define) -> None:
        run = run_task(define(emits))
        assert run.emitted == [Emitted("output", "a "), Emitted("output", "b"), Emitted("rows", {"done": [1, 2]})]
        assert (run.output(), run.output("rows"), run.output("none")) == (["a ", "b"], [{"done": [1, 2]}], [])

    def test_that_fails_tells_of_what_came_before(self, define: Define) -> None:
        def body(self: Any) -> None:
            self.emit("a")
            self.emit(object())

        run = run_task(define(body))
        assert (run.status, run.output()) == ("failed", ["a"])
        assert "chunk of output is not JSON" in str(run.exception)

    def test_of_an_async_body_emits_in_threads_too(self, define: Define) -> None:
        async def body(self: Any) -> None:
            self.emit("a")
            await asyncio.to_thread(self.emit, "b")

        assert run_task(define(body)).output() == ["a", "b"]

    def test_that_is_cancelled_hears_of_it(self, define: Define) -> None:
        def body(self: Any) -> None:
            self.emit("a")
            pytest.fail("it was cancelled")

        run = TaskRunner(cancel_after=0).run(define(body))
        assert (run.outcome, run.output()) == ("revoked", ["a"])

    def test_without_a_record_emits_nothing(self, define: Define) -> None:
        assert define(emits)() is None
