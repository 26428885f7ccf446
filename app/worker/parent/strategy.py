"""Celery's strategy for wake-ups, without a line of the log for each: the rows have lines of their own."""

from typing import Any

from celery.worker import strategy


def quiet(task: Any, app: Any, consumer: Any, **options: Any) -> Any:
    """Return Celery's handler of the messages of this task."""
    return strategy.default(task, app, consumer, info=_nothing, **options)


def _nothing(*_: Any, **__: Any) -> None:
    """Log nothing."""
