"""Who hears in the pool child that a body has ended. For them the row must be right by then; nobody else minds that it
is so a moment later (`app/worker/parent/completions.py`)."""

import functools

from celery import Task, signals

from app.worker.child import slot as seat
from app.worker.shared import logs

_OURS = frozenset({seat.stand_up, logs.forget})


def is_followed(task: Task, base: type[Task]) -> bool:
    """Whether anybody does; the hooks of `base` itself do not count."""
    return (
        _is_always_followed(task, base)  # type: ignore[arg-type]  # a class is hashable
        or bool(signals.task_success.receivers)
        or any(receiver not in _OURS for _, receiver in signals.task_postrun.receivers)
    )


@functools.cache
def _is_always_followed(task: Task, base: type[Task]) -> bool:
    kind = task.__class__  # also of what Celery's proxy stands for
    has_hooks = kind.on_success is not base.on_success or kind.after_return is not base.after_return
    # A client that waits for Celery's result asks for the row next.
    return has_hooks or task.app.conf.result_backend is not None
