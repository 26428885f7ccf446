"""A run with no database behind it: keeps what a body reports and how the attempt ended."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from app.core.ids import new_id
from app.services.execution.attempts import Claim, CurrentAttempt, NextTry

Define = Callable[..., Any]


def a_claim(**fields: Any) -> Claim:
    """The first of one attempt, but for these fields."""
    return replace(Claim(new_id(), 1, [], {}, 0, 1, max_attempts_named=False, retry_backoff_seconds=None), **fields)


class FakeRun:
    """What `SQLAlchemyTask` needs of an AttemptRun. `stop_at` raises its error at the report of that number."""

    def __init__(self, claim: Claim | None = None, stop_at: tuple[int, type[BaseException]] | None = None) -> None:
        self.claim = claim or a_claim()
        self.task_id = self.claim.id
        self.current = CurrentAttempt(self.task_id, 1)
        self.started = False
        self.stopped: type[BaseException] | None = None
        self.reports: list[tuple[int | None, Any]] = []
        self.ends: list[tuple[str, Any]] = []
        self.next_try: NextTry | None = None
        self.left_to_the_parent = False
        self._stop_at = stop_at

    @contextmanager
    def body(self) -> Iterator[None]:
        self.started = True
        yield

    def report(self, percent: int | None, detail: Any | None = None) -> None:
        self.reports.append((percent, detail))
        if self._stop_at is not None and len(self.reports) >= self._stop_at[0]:
            raise self._stop_at[1]

    def succeed(self, result: Any, *, later: bool = False) -> None:
        self.ends.append(("succeeded", result))
        self.left_to_the_parent = later

    def fail(self, error: BaseException) -> None:
        self.ends.append(("failed", error))

    def retry_later(self, error: BaseException | None, following: NextTry) -> None:
        self.ends.append(("retried", error))
        self.next_try = following

    def leave(self) -> None:
        self.ends.append(("left", None))

    def hand_back(self) -> None:
        self.ends.append(("handed back", None))

    def revoke(self, reason: str) -> None:
        self.ends.append(("revoked", reason))

    @property
    def delay(self) -> float:
        """Seconds until the next attempt."""
        assert self.next_try is not None
        return self.next_try.delay

    @property
    def percents(self) -> list[int | None]:
        return [percent for percent, _ in self.reports]

    @property
    def details(self) -> list[Any]:
        return [detail for _, detail in self.reports if detail is not None]


@contextmanager
def running(task: Any, run: FakeRun) -> Iterator[None]:
    """As in a pool child that has claimed: `task.run(…)` is its body, `task()` what Celery's tracer calls."""
    task.push_request(
        called_directly=False, attempt_run=run, retries=run.claim.failures, id=str(new_id()),
        args=run.claim.args, kwargs=run.claim.kwargs,
    )  # fmt: skip
    try:
        yield
    finally:
        task.pop_request()


def end_of(task: Any, run: FakeRun, raises: type[BaseException] | tuple[type[BaseException], ...] = ()) -> Any:
    """Call it as Celery's tracer does; `(outcome, result or error)` of the attempt."""
    with running(task, run):
        if raises:
            with pytest.raises(raises):
                task(*run.claim.args, **run.claim.kwargs)
        else:
            task(*run.claim.args, **run.claim.kwargs)
    (end,) = run.ends
    return end
