"""Which successes the parent may write after the child has gone on, and which the child writes first."""

from typing import Any

import pytest
from celery import Celery, signals

from app.tasks.base import SQLAlchemyTask
from app.worker.child.record_runner import may_be_written_later
from tests.unit.tasks.claimed import Define, claimed


def body(_: Any) -> None:
    """Nothing."""


def hears(**_: Any) -> None:
    """A receiver."""


@pytest.mark.parametrize(
    ("hook", "later"), [(None, True), ("before_start", True), ("on_success", False), ("after_return", False)]
)
def test_the_parent_writes_the_success_of_a_task_without_a_hook_that_follows_it(
    define: Define, hook: str | None, later: bool
) -> None:
    hooks = {hook: lambda *_: None} if hook else {}
    task = define(body, base=type("Hooked", (SQLAlchemyTask,), {"abstract": True, **hooks}))
    attempt = claimed()
    assert may_be_written_later(task) is later
    assert attempt.trace(task) == "SUCCESS"
    assert attempt.ends == [("succeeded", None)]
    assert attempt.left_to_the_parent is later


@pytest.mark.parametrize("signal", [signals.task_success, signals.task_postrun])
def test_the_child_writes_it_where_a_signal_has_another_receiver(define: Define, signal: Any) -> None:
    assert may_be_written_later(define(body))
    signal.connect(hears, weak=False)
    try:
        assert not may_be_written_later(define(body))
    finally:
        signal.disconnect(hears)


def test_the_child_writes_it_where_celery_stores_a_result(app: Celery, define: Define) -> None:
    app.conf.result_backend = "cache+memory://"
    assert not may_be_written_later(define(body))
