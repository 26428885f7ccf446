"""Retries keep Celery's meaning: how often, after how long, with which arguments."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.exceptions import MaxRetriesExceededError, Retry

from app.core.backoff import backoff_seconds
from tests.unit.tasks.fake_run import Define, FakeRun, a_claim, end_of

THREE_NAMED = {"max_attempts": 3, "max_attempts_named": True}


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
        raises = Retry if outcome == "retried" else MaxRetriesExceededError
        assert end_of(define(asking(**how), **options), FakeRun(a_claim(**claim)), raises)[0] == outcome

    def test_at_the_limit_the_error_that_was_given_is_raised(self, define: Define) -> None:
        task = define(asking(exc=ConnectionError("away")), max_retries=0)
        outcome, error = end_of(task, FakeRun(), ConnectionError)
        assert outcome == "failed"
        assert str(error) == "away"

    @pytest.mark.parametrize(
        ("options", "claim", "outcome"),
        [
            ({}, {"failures": 2, "max_attempts": 4}, "retried"),
            ({}, {"failures": 3, "max_attempts": 4}, "failed"),
            ({"retry_kwargs": {"max_retries": 1}}, {"failures": 0, "max_attempts": 4}, "retried"),
            ({"retry_kwargs": {"max_retries": 1}}, {"failures": 1, "max_attempts": 4}, "failed"),
            ({"retry_kwargs": {"max_retries": 6}}, {"failures": 5, "max_attempts": 6}, "retried"),
            ({"retry_kwargs": {"max_retries": 6}}, {"failures": 6, "max_attempts": 7}, "failed"),
            ({}, {"failures": 1, **THREE_NAMED}, "retried"),
            ({}, {"failures": 2, **THREE_NAMED}, "failed"),
        ],
    )
    def test_autoretry_for(self, define: Define, options: dict[str, Any], claim: dict[str, Any], outcome: str) -> None:
        task = define(failing, autoretry_for=(OSError,), **options)
        raises = Retry if outcome == "retried" else ConnectionError
        assert end_of(task, FakeRun(a_claim(**claim)), raises)[0] == outcome


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
        run = FakeRun(a_claim(failures=1))
        end_of(define(asking(**how), **options), run, Retry)
        assert run.delay == delay

    @pytest.mark.parametrize("how", [{}, {"countdown": 5}, {"eta": datetime(2099, 1, 1, tzinfo=UTC)}])
    def test_the_requests_back_off_beats_all(self, define: Define, how: dict[str, Any]) -> None:
        run = FakeRun(a_claim(failures=2, retry_backoff_seconds=3))
        end_of(define(asking(**how), retry_backoff=60, retry_jitter=False), run, Retry)
        assert run.delay == 12

    @pytest.mark.parametrize("zone", [UTC, None])
    def test_an_eta_becomes_a_delay(self, define: Define, zone: Any) -> None:
        eta = (datetime.now(UTC) + timedelta(seconds=100)).replace(tzinfo=zone)  # Celery reads a naive one as UTC
        run = FakeRun(a_claim())
        end_of(define(asking(eta=eta)), run, Retry)
        assert 90 < run.delay <= 100

    @pytest.mark.parametrize(("options", "delay"), [({"retry_backoff": 5, "retry_jitter": False}, 20), ({}, 180)])
    def test_autoretry_backs_off_or_takes_the_default(
        self, define: Define, options: dict[str, Any], delay: float
    ) -> None:
        run = FakeRun(a_claim(failures=2))
        end_of(define(failing, autoretry_for=(OSError,), **options), run, Retry)
        assert run.delay == delay

    @pytest.mark.parametrize(("when", "least", "most"), [(9, 9, 9), (timedelta(seconds=100), 90, 100)])
    def test_a_raised_retry_names_a_delay_or_a_time(self, define: Define, when: Any, least: int, most: int) -> None:
        def work(self: Any) -> None:
            raise Retry(when=datetime.now(UTC) + when if isinstance(when, timedelta) else when)

        run = FakeRun()
        end_of(define(work), run, Retry)
        assert least <= run.delay <= most


class TestWithWhat:
    @pytest.mark.parametrize(
        ("how", "args", "kwargs"), [({}, None, None), ({"args": (2,), "kwargs": {"a": 2}}, [2], {"a": 2})]
    )
    def test_the_same_arguments_unless_others_are_given(
        self, define: Define, how: dict[str, Any], args: Any, kwargs: Any
    ) -> None:
        run = FakeRun(a_claim(args=[1], kwargs={"a": 1}))
        end_of(define(asking(**how)), run, Retry)
        assert run.next_try is not None
        assert (run.next_try.args, run.next_try.kwargs) == (args, kwargs)

    def test_without_throwing_the_body_goes_on_and_is_retried_when_it_has_ended(self, define: Define) -> None:
        ended: list[bool] = []

        def work(self: Any) -> str:
            self.retry(throw=False, countdown=4)
            ended.append(True)
            return "not the result"

        run = FakeRun()
        assert end_of(define(work), run, Retry)[0] == "retried"
        assert ended == [True]
        assert run.delay == 4

    def test_the_error_that_was_given_is_the_attempts(self, define: Define) -> None:
        error = ConnectionError("away")
        assert end_of(define(asking(exc=error)), FakeRun(), Retry) == ("retried", error)


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
