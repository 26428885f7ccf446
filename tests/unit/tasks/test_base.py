"""SQLAlchemyTask with no database: the run that a claim would give is a fake, Celery is real."""

import asyncio
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from celery.exceptions import Ignore, Reject

from app.core.task_bodies import CoroutineRunner, coroutine_runner
from app.errors import AttemptHandedBack, AttemptLost, TaskCancelled
from app.testing import TaskRun, TaskRunner, run_task
from app.worker.child.record_runner import takes_task_id
from tests.unit.tasks.claimed import Define, claimed


@pytest.fixture
def _close_the_loop() -> Iterator[None]:
    yield
    coroutine_runner().close()


class TestCalledDirectly:
    def test_it_is_the_plain_function(self, define: Define) -> None:
        def add(self: Any, left: int, right: int = 1) -> int:
            self.update_progress(50, {"step": 1})  # does nothing where there is no record
            return left + right

        assert define(add)(1, right=2) == 3

    def test_track_yields_everything(self, define: Define) -> None:
        def collect(self: Any) -> list[int]:
            return list(self.track(range(5)))

        assert define(collect)() == [0, 1, 2, 3, 4]

    def test_the_session_is_one_for_each_call(self, define: Define) -> None:
        def sessions(self: Any) -> tuple[Any, Any]:
            return self.db, self.db

        task = define(sessions)
        first, again = task()
        assert first is again
        assert task()[0] is not first

    def test_a_retry_raises_the_error_itself(self, define: Define) -> None:
        def flaky(self: Any) -> None:
            raise ConnectionError("away")

        with pytest.raises(ConnectionError, match="away"):
            define(flaky, autoretry_for=(ConnectionError,))()


def test_an_attempt_that_its_body_has_failed_reports_no_more(define: Define) -> None:
    attempt = claimed()

    def body(self: Any) -> None:
        attempt.current.settle("the reason")  # as `update_task_status` does

    assert attempt.trace(define(body)) == "FAILURE"
    assert [(outcome, str(error)) for outcome, error in attempt.ends] == [("failed", "the reason")]


@pytest.mark.usefixtures("_close_the_loop")
class TestAsyncBody:
    @pytest.mark.parametrize("bind", [True, False])
    def test_it_runs_to_its_end(self, define: Define, bind: bool) -> None:
        async def double(*arguments: Any) -> int:
            await asyncio.sleep(0)
            return int(arguments[-1]) * 2

        assert define(double, bind=bind)(4) == 8

    def test_calls_share_one_loop(self, define: Define) -> None:
        async def loop(self: Any) -> Any:
            return asyncio.get_running_loop()

        task = define(loop)
        assert task() is task()

    def test_autoretry_sees_what_it_raises(self, define: Define) -> None:
        async def flaky(self: Any) -> None:
            raise ConnectionError("away")

        task = define(flaky, autoretry_for=(ConnectionError,), retry_backoff=True)
        assert run_task(task).outcome == "retried"

    def test_a_cancellation_ends_it(self, define: Define) -> None:
        async def count(self: Any) -> None:
            for _ in self.track(range(5)):
                await asyncio.sleep(0)

        run = TaskRunner(cancel_after=2).run(define(count))
        assert (run.status, run.percents) == ("revoked", [0, 20])


class TestTrack:
    @pytest.mark.parametrize(
        ("iterable", "total", "percents"),
        [
            (range(4), None, [0, 25, 50, 75, 100]),
            (range(3), None, [0, 33, 66, 100]),
            (iter("ab"), 2, [0, 50, 100]),
            (iter("ab"), None, [None, None, None]),
            (iter("abcd"), 2, [0, 50, 100, 100, 100]),
            ([], None, [None]),
        ],
    )
    def test_percentages(self, define: Define, iterable: Any, total: int | None, percents: list[int | None]) -> None:
        def work(self: Any) -> None:
            for _ in self.track(iterable, total):
                pass

        assert run_task(define(work)).percents == percents

    def test_fractions_are_cut(self, define: Define) -> None:
        def work(self: Any) -> None:
            self.update_progress(33.9, {"a": 1})
            self.update_progress(None)

        assert run_task(define(work)).reports == [(33, {"a": 1}), (None, None)]


class TestTaskId:
    def test_only_where_the_body_asks_for_it(self, define: Define) -> None:
        def with_it(self: Any, task_id: str | None = None) -> None: ...
        def without(self: Any) -> None: ...
        def with_autoretry(self: Any, task_id: str | None = None) -> None: ...
        async def coroutine(self: Any, task_id: str | None = None) -> None: ...

        assert takes_task_id(define(with_it))
        assert not takes_task_id(define(without))
        assert takes_task_id(define(with_autoretry, autoretry_for=(OSError,)))
        assert takes_task_id(define(coroutine))


class TestEnd:
    def test_success(self, define: Define) -> None:
        def work(self: Any, day: str) -> dict[str, Any]:
            return {"day": datetime(2026, 11, 24, tzinfo=UTC), "given": day}

        run = run_task(define(work), "today")
        assert (run.status, run.result) == ("succeeded", {"day": "2026-11-24T00:00:00Z", "given": "today"})

    @pytest.mark.parametrize("result", [object(), float("nan"), {"a": float("inf")}])
    def test_a_result_that_is_no_json_fails_it(self, define: Define, result: Any) -> None:
        def work(self: Any) -> Any:
            return result

        run = run_task(define(work))
        assert run.outcome == "failed"
        assert isinstance(run.exception, TypeError | ValueError)

    @pytest.mark.parametrize(
        ("raised", "end"),
        [
            (TaskCancelled(), ("revoked", "cancelled")),
            (Ignore(), ("revoked", "ignored")),
            (AttemptLost(), ("lost", None)),
            (AttemptHandedBack(), ("handed_back", None)),
        ],
    )
    def test_an_order_that_the_body_raises(self, define: Define, raised: Exception, end: tuple[str, str]) -> None:
        def work(self: Any) -> None:
            raise raised

        attempt = claimed()
        assert attempt.trace(define(work)) == "IGNORED"
        assert attempt.ends == [end]

    def test_a_body_told_to_stop_that_makes_an_error_of_it_is_handed_back_all_the_same(self, define: Define) -> None:
        def work(self: Any) -> None:
            attempt.stopped = AttemptHandedBack
            raise ValueError("on its way out")

        attempt = claimed()
        assert attempt.trace(define(work)) == "IGNORED"
        assert attempt.ends == [("handed_back", None)]

    def test_the_bodys_own_exit_fails_it(self, define: Define) -> None:
        def work(self: Any) -> None:
            sys.exit("as a script ends")

        attempt = claimed()
        assert attempt.trace(define(work)) == "FAILURE"
        ((outcome, error),) = attempt.ends
        assert (outcome, str(error)) == ("failed", "as a script ends")

    def test_an_exit_that_a_signal_raised_is_left_to_the_parent(self, define: Define) -> None:
        def work(self: Any) -> None:
            sys.exit(-(256 - 15))  # as billiard's handler of SIGTERM does

        attempt = claimed()
        with pytest.raises(SystemExit):
            attempt.trace(define(work))
        assert attempt.ends == []

    def test_a_rejection_fails_it(self, define: Define) -> None:
        def work(self: Any) -> None:
            raise Reject("no")

        attempt = claimed()
        assert attempt.trace(define(work)) == "REJECTED"
        assert attempt.ends[0][0] == "failed"

    def test_a_body_may_call_its_own_task_as_a_function(self, define: Define) -> None:
        def factorial(self: Any, number: int) -> int:
            return 1 if number < 2 else number * self(number - 1)

        assert run_task(define(factorial), 4).result == 24


class TestACoroutineThatNeverBegan:
    def test_does_not_run_beside_the_next_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An order that comes between the loop's start and the coroutine's first step."""
        ran: list[str] = []

        async def body(name: str) -> str:
            ran.append(name)
            await asyncio.sleep(0)
            return name

        async def running_loop() -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        runner = CoroutineRunner()
        loop = runner.run(running_loop())

        def interrupted(_: Any) -> None:
            monkeypatch.undo()
            raise TaskCancelled

        monkeypatch.setattr(loop, "run_until_complete", interrupted)
        with pytest.raises(TaskCancelled):
            runner.run(body("stopped"))
        assert runner.run(body("after")) == "after"
        runner.close()
        assert ran == ["after"]


class TestPlainErrors:
    """What the body raises where Celery was not asked for a retry."""

    def attempt(self, define: Define, options: dict[str, Any], **of_attempt: Any) -> TaskRun:
        def work(self: Any) -> None:
            raise KeyError("x")

        return TaskRunner(**of_attempt).run(define(work, **options))

    def test_with_named_attempts_left_it_is_retried_after_the_back_off(self, define: Define) -> None:
        options = {"retry_jitter": False}
        run = self.attempt(define, options, max_attempts=3, failures=1, retry_backoff_seconds=8)
        assert (run.outcome, run.retry) == ("retried", 16)

    @pytest.mark.parametrize("of_attempt", [{}, {"max_attempts": 3, "failures": 2}], ids=["only one", "named"])
    def test_at_the_last_attempt_it_fails(self, define: Define, of_attempt: dict[str, int]) -> None:
        assert self.attempt(define, {}, **of_attempt).outcome == "failed"

    def test_what_autoretry_does_not_list_fails_at_once_as_in_celery(self, define: Define) -> None:
        assert self.attempt(define, {"autoretry_for": (OSError,)}).outcome == "failed"

    @pytest.mark.parametrize("kind", [tuple, list])
    def test_what_is_not_to_be_retried_fails_whatever_is_named(self, define: Define, kind: type) -> None:
        options = {"autoretry_for": kind([Exception]), "dont_autoretry_for": kind([LookupError])}
        assert self.attempt(define, options, max_attempts=9).outcome == "failed"

    @pytest.mark.parametrize(("named", "state", "outcome"), [(2, "RETRY", "retried"), (1, "FAILURE", "failed")])
    def test_celery_sees_the_same_end(self, define: Define, named: int, state: str, outcome: str) -> None:
        def work(self: Any) -> None:
            raise KeyError("x")

        attempt = claimed(max_attempts=named, max_attempts_named=True)
        assert attempt.trace(define(work)) == state
        assert attempt.ends[0][0] == outcome
