"""`--max-tasks-per-child` counts tasks: rows and plain messages, and no wake-ups, in which Celery's pool would count.

`--max-memory-per-child` is the pool's own: it looks at the memory after each message, so after each wake-up.
"""

import math
from collections.abc import Callable
from typing import Any

from billiard import current_process
from celery import signals


class TasksLeft:
    """How many tasks this process runs until another one takes its place; without a limit it goes on for ever.

    `may_end`: whether it is a process of a pool that puts another one in its place.
    """

    def __init__(self, most: int | None = None, *, may_end: bool = False) -> None:
        self.number = math.inf if most is None else most
        self._may_end = may_end

    def end(self) -> bool:
        """Have this process run no task any more, and end. Returns False where it goes on."""
        if self._may_end:
            self.number = 0
        return self._may_end

    def count(self, task: Any, **_: Any) -> None:
        """Receiver of `task_prerun`: one more is begun."""
        if not task.request.is_eager:  # one that the body calls with `apply()` is a part of it
            self.number -= 1


def count_tasks() -> TasksLeft:
    """Before a pool process takes messages: take the count of its tasks over from the pool."""
    loop: Any = getattr(current_process(), "_target", None)  # billiard's `Worker`, which it passes to no signal
    most = getattr(loop, "maxtasks", None)
    left = TasksLeft(most, may_end=loop is not None)
    if most is not None:
        loop.maxtasks = None
        signals.task_prerun.connect(left.count, weak=False)
    if loop is not None:
        loop.wait_for_job = _until_none_is_left(left, loop.wait_for_job)
    return left


def _until_none_is_left(left: TasksLeft, wait_for_job: Callable[[], Any]) -> Callable[[], Any]:
    """End the process where the pool's own function would when it is told to shut down: it holds no message there."""

    def wait() -> Any:
        if left.number <= 0:
            raise SystemExit
        return wait_for_job()

    return wait
