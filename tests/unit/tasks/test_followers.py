"""For whom a row must be right before the child goes on."""

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, signals

from app.tasks.base import SQLAlchemyTask
from app.tasks.followers import is_followed
from tests.unit.tasks.fake_run import Define, FakeRun, end_of


def body(_: Any) -> None:
    """Nothing."""


def hears(**_: Any) -> None:
    """Somebody's receiver."""


class Succeeding(SQLAlchemyTask):
    abstract = True

    def on_success(self, *_: Any) -> None:
        """Somebody's hook."""


class Returning(SQLAlchemyTask):
    abstract = True

    def after_return(self, *_: Any) -> None:
        """Somebody's hook."""


class Starting(SQLAlchemyTask):
    abstract = True

    def before_start(self, *_: Any) -> None:
        """Somebody's hook, over by then."""


def test_nobody_follows_a_task_as_it_comes(define: Define) -> None:
    assert not is_followed(define(body), SQLAlchemyTask)
    assert not is_followed(define(body, base=Starting), SQLAlchemyTask)


@pytest.mark.parametrize("base", [Succeeding, Returning])
def test_hooks_do(define: Define, base: type[SQLAlchemyTask]) -> None:
    assert is_followed(define(body, base=base), SQLAlchemyTask)


@pytest.fixture(params=["task_success", "task_postrun"])
def _receiver(request: pytest.FixtureRequest) -> Iterator[None]:
    signal = getattr(signals, request.param)
    signal.connect(hears)
    yield
    signal.disconnect(hears)


@pytest.mark.usefixtures("_receiver")
def test_so_do_receivers_of_celerys_signals(define: Define) -> None:
    assert is_followed(define(body), SQLAlchemyTask)


def test_and_whoever_waits_for_celerys_result(app: Celery, define: Define) -> None:
    app.conf.result_backend = "cache+memory://"
    assert is_followed(define(body), SQLAlchemyTask)


@pytest.mark.parametrize(("base", "later"), [(SQLAlchemyTask, True), (Succeeding, False)])
def test_only_what_nobody_follows_is_left_to_the_parent(
    define: Define, base: type[SQLAlchemyTask], later: bool
) -> None:
    run = FakeRun()
    assert end_of(define(body, base=base), run) == ("succeeded", None)
    assert run.left_to_the_parent is later
