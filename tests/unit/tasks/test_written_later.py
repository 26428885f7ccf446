"""Which successes the parent may write after the child has gone on, and which the child writes first."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signals

from app.tasks.base import SQLAlchemyTask
from app.worker.child.process import clear_slot
from app.worker.child.record_runner import may_be_written_later
from tests.unit.tasks.fake_run import Define, FakeRun, end_of


def body(_: Any) -> None:
    """Nothing."""


def hears(**_: Any) -> None:
    """A receiver."""


class Succeeding(SQLAlchemyTask):
    abstract = True

    def on_success(self, *_: Any) -> None:
        """A hook."""


class Returning(SQLAlchemyTask):
    abstract = True

    def after_return(self, *_: Any) -> None:
        """A hook."""


class Starting(SQLAlchemyTask):
    abstract = True

    def before_start(self, *_: Any) -> None:
        """A hook that has run by then."""


def test_that_of_a_task_without_hooks_may_wait(define: Define) -> None:
    assert may_be_written_later(define(body))
    assert may_be_written_later(define(body, base=Starting))


@pytest.mark.parametrize("base", [Succeeding, Returning])
def test_that_of_a_task_with_hooks_may_not(define: Define, base: type[SQLAlchemyTask]) -> None:
    assert not may_be_written_later(define(body, base=base))


def test_the_receiver_of_each_pool_process_is_no_hook(define: Define) -> None:
    signals.task_postrun.connect(clear_slot, weak=False)
    try:
        assert may_be_written_later(define(body))
    finally:
        signals.task_postrun.disconnect(clear_slot)


@pytest.fixture(params=["task_success", "task_postrun"])
def _receiver(request: pytest.FixtureRequest) -> Iterator[None]:
    signal = getattr(signals, request.param)
    signal.connect(hears)
    yield
    signal.disconnect(hears)


@pytest.mark.usefixtures("_receiver")
def test_nor_where_signals_have_receivers(define: Define) -> None:
    assert not may_be_written_later(define(body))


def test_nor_where_celery_stores_a_result(app: Celery, define: Define) -> None:
    app.conf.result_backend = "cache+memory://"
    assert not may_be_written_later(define(body))


@pytest.mark.parametrize(("base", "later"), [(SQLAlchemyTask, True), (Succeeding, False)])
def test_only_what_may_wait_is_left_to_the_parent(define: Define, base: type[SQLAlchemyTask], later: bool) -> None:
    run = FakeRun()
    assert end_of(define(body, base=base), run) == ("succeeded", None)
    assert run.left_to_the_parent is later
