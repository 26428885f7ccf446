"""How long a task waited and ran, as its page says."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from app.models.task import AttemptOutcome
from app.web.shown_tasks import Times, times_of

CREATED = datetime(2026, 11, 30, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)


def times(
    *spans: tuple[float, float | None], run_at: float | None = None, finished: float | None = None, first: int = 1
) -> Times:
    """Of a task whose attempts began and ended at these seconds; it is the hundredth second now."""
    attempts: Any = [
        SimpleNamespace(
            number=first + number,
            started_at=at(since),
            finished_at=None if until is None else at(until),
            outcome=AttemptOutcome.RUNNING if until is None else AttemptOutcome.FAILED,
        )
        for number, (since, until) in enumerate(spans)
    ]
    task: Any = SimpleNamespace(
        created_at=CREATED,
        run_at=None if run_at is None else at(run_at),
        finished_at=None if finished is None else at(finished),
    )
    return times_of(task, attempts, at(100))


def told(found: Times) -> tuple[float, float, float, float | None]:
    return found.scheduled, found.waited, found.between, found.ran


def test_an_ended_task_waited_and_ran() -> None:
    found = times((2, 5), finished=5)
    assert told(found) == (0, 2, 0, 3)
    assert [(bar.kind, bar.width) for bar in found.bar] == [("waited", 240), ("failed", 360)]


def test_a_task_that_waits_has_waited_so_far_and_not_run() -> None:
    assert told(times()) == (0, 100, 0, None)


def test_the_time_before_it_was_due_is_no_wait() -> None:
    assert told(times((12, 15), run_at=10, finished=15)) == (10, 2, 0, 3)
    assert told(times(run_at=160)) == (160, 0, 0, None)


def test_what_is_revoked_before_its_time_was_scheduled_until_then() -> None:
    assert told(times(run_at=3600, finished=5)) == (5, 0, 0, None)


def test_a_running_attempt_has_run_until_now() -> None:
    assert told(times((1, None))) == (0, 1, 0, 99)


def test_between_attempts_nothing_runs() -> None:
    # `run_at` is that of the retry by then.
    assert told(times((1, 3), (10, 14), run_at=10, finished=14)) == (0, 1, 7, 6)


def test_what_was_before_the_attempts_that_are_shown_is_left_out() -> None:
    found = times((50, 60), (70, 80), finished=80, first=5)
    assert (found.begin, *told(found)) == (at(50), 0, 0, 10, 20)
