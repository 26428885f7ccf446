"""Retries keep Celery's meaning: how often, after how long, with which arguments."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.exceptions import MaxRetriesExceededError, Retry

from app.core.backoff import backoff_seconds
from app.testing import TaskRunner, run_task
from tests.unit.tasks.claimed import Define

THREE_NAMED = {"max_attempts": 3}


def asking(**how: Any) -> Any:
    """A body that asks for a retry in this way."""

    def work(self: Any, *args: Any, **kwargs: Any) -> None:
        self.retry(**how)

    return work


def failing(self: Any) -> None:
    raise ConnectionError("away")


class TestHowOften:
    """`failures` is how often the body has failed before this attempt."""

    @pytest.mark.parametrize(
        ("how", "options", "claim", "outcome"),
        [
            # three unless something else is said
            ({}, {}, {"failures": 0}, "retried"),
            ({}, {}, {"failures": 2}, "retried"),
            ({}, {}, {"failures": 3}, "failed"),
            # what the decorator says
            ({}, {"max_retries": 1}, {"failures": 0}, "retried"),
            ({}, {"max_retries": 1}, {"failures": 1}, "failed"),
            ({}, {"max_retries": None}, {"failures": 500}, "retried"),
            # the call beats the decorator
            ({"max_retries": 1}, {"max_retries": 9}, {"failures": 1}, "failed"),
            # a named number of attempts beats both
            ({"max_retries": 1}, {"max_retries": 9}, {"failures": 1, **THREE_NAMED}, "retried"),
            ({"max_retries": 1}, {"max_retries": 9}, {"failures": 2, **THREE_NAMED}, "failed"),
        ],
    )
    def test_a_body_that_asks(
        self, define: Define, how: dict[str, Any], options: dict[str, Any], claim: dict[str, Any], outcome: str
    ) -> None:
        run = TaskRunner(**claim).run(define(asking(**how), **options))
        assert run.outcome == outcome
        assert type(run.exception) is (Retry if outcome == "retried" else MaxRetriesExceededError)

    def test_at_the_limit_the_error_that_was_given_is_raised(self, define: Define) -> None:
        task = define(asking(exc=ConnectionError("away")), max_retries=0)
        run = run_task(task)
        assert run.outcome == "failed"
        assert str(run.exception) == "away"

    @pytest.mark.parametrize(
        ("options", "claim", "outcome"),
        [
            ({}, {"failures": 2}, "retried"),
            ({}, {"failures": 3}, "failed"),
            ({"retry_kwargs": {"max_retries": 1}}, {"failures": 0}, "retried"),
            ({"retry_kwargs": {"max_retries": 1}}, {"failures": 1}, "failed"),
            ({"retry_kwargs": {"max_retries": 6}}, {"failures": 5}, "retried"),
            ({"retry_kwargs": {"max_retries": 6}}, {"failures": 6}, "failed"),
            ({}, {"failures": 1, **THREE_NAMED}, "retried"),
            ({}, {"failures": 2, **THREE_NAMED}, "failed"),
        ],
    )
    def test_autoretry_for(self, define: Define, options: dict[str, Any], claim: dict[str, Any], outcome: str) -> None:
        task = define(failing, autoretry_for=(OSError,), **options)
        run = TaskRunner(**claim).run(task)
        assert (run.outcome, type(run.exception)) == (outcome, ConnectionError)


class TestHowLong:
    @pytest.mark.parametrize(
        ("how", "options", "delay"),
        [
            ({}, {}, 180),
            ({}, {"default_retry_delay": 7}, 7),
            ({"countdown": 5}, {}, 5),
            ({"countdown": 0}, {}, 0),
            ({"countdown": -5}, {}, 0),
            ({"countdown": 5}, {"retry_backoff": 60, "retry_jitter": False}, 5),
            ({}, {"retry_backoff": 60, "retry_jitter": False}, 120),
            ({}, {"retry_backoff": True, "retry_jitter": False}, 2),
            ({}, {"retry_backoff": 60, "retry_jitter": False, "retry_backoff_max": 90}, 90),
        ],
    )
    def test_the_call_then_the_decorator_then_the_default(
        self, define: Define, how: dict[str, Any], options: dict[str, Any], delay: float
    ) -> None:
        assert TaskRunner(failures=1).run(define(asking(**how), **options)).retry == delay

    @pytest.mark.parametrize("how", [{}, {"countdown": 5}, {"eta": datetime(2099, 1, 1, tzinfo=UTC)}])
    def test_the_requests_back_off_beats_all(self, define: Define, how: dict[str, Any]) -> None:
        task = define(asking(**how), retry_backoff=60, retry_jitter=False)
        assert TaskRunner(failures=2, retry_backoff_seconds=3).run(task).retry == 12

    @pytest.mark.parametrize("zone", [UTC, None])
    def test_an_eta_becomes_a_delay(self, define: Define, zone: Any) -> None:
        eta = (datetime.now(UTC) + timedelta(seconds=100)).replace(tzinfo=zone)  # Celery reads a naive one as UTC
        assert 90 < (run_task(define(asking(eta=eta))).retry or 0) <= 100

    @pytest.mark.parametrize(("options", "delay"), [({"retry_backoff": 5, "retry_jitter": False}, 20), ({}, 180)])
    def test_autoretry_backs_off_or_takes_the_default(
        self, define: Define, options: dict[str, Any], delay: float
    ) -> None:
        task = define(failing, autoretry_for=(OSError,), **options)
        assert TaskRunner(failures=2).run(task).retry == delay

    @pytest.mark.parametrize(("when", "least", "most"), [(9, 9, 9), (timedelta(seconds=100), 90, 100)])
    def test_a_raised_retry_names_a_delay_or_a_time(self, define: Define, when: Any, least: int, most: int) -> None:
        def work(self: Any) -> None:
            raise Retry(when=datetime.now(UTC) + when if isinstance(when, timedelta) else when)

        assert least <= (run_task(define(work)).retry or 0) <= most


class TestWithWhat:
    @pytest.mark.parametrize(
        ("how", "args", "kwargs"), [({}, None, None), ({"args": (2,), "kwargs": {"a": 2}}, [2], {"a": 2})]
    )
    def test_the_same_arguments_unless_others_are_given(
        self, define: Define, how: dict[str, Any], args: Any, kwargs: Any
    ) -> None:
        run = run_task(define(asking(**how)), 1, a=1)
        assert run.next_try is not None
        assert (run.next_try.args, run.next_try.kwargs) == (args, kwargs)

    def test_without_throwing_the_body_goes_on_and_is_retried_when_it_has_ended(self, define: Define) -> None:
        ended: list[bool] = []

        def work(self: Any) -> str:
            self.retry(throw=False, countdown=4)
            ended.append(True)
            return "not the result"

        run = run_task(define(work))
        assert ended == [True]
        assert (run.outcome, run.retry, run.result) == ("retried", 4, None)

    def test_the_error_that_was_given_is_the_attempts(self, define: Define) -> None:
        error = ConnectionError("away")
        run = run_task(define(asking(exc=error)))
        assert (run.outcome, run.exception) == ("retried", error)


class TestBackOff:
    def test_it_doubles_up_to_the_maximum(self) -> None:
        delays = [backoff_seconds(3, failures, maximum=20, jitter=False) for failures in range(5)]
        assert delays == [3, 6, 12, 20, 20]

    def test_jitter_is_between_half_and_all_of_it(self) -> None:
        delays = [backoff_seconds(10, 1) for _ in range(200)]
        assert all(10 <= delay <= 20 for delay in delays)
        assert len(set(delays)) > 1

    def test_many_failures_do_not_overflow(self) -> None:
        assert backoff_seconds(1.5, 100_000, jitter=False) == 600
