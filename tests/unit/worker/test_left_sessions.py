"""A transaction that a body leaves open ends with it, also in the session of its run, which hooks may use after it."""

import gc
import logging
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.core.ids import new_id
from app.db.session import SessionLocal, call_for_each_session
from app.messaging.task_base import OF_RUN
from app.services.execution.attempts import CurrentAttempt, current_attempt
from app.worker.child import left_transactions

TASK = new_id()


@pytest.fixture
def body() -> Iterator[None]:
    """The test is the body of an attempt."""
    left_transactions.watch_sessions()
    token = current_attempt.set(CurrentAttempt(TASK, 1))
    yield
    current_attempt.reset(token)
    call_for_each_session(None)


Begun = Callable[..., Session]


@pytest.fixture
def begun() -> Iterator[Begun]:
    """Opens a session that is in a transaction."""
    opened = list[Session]()

    def begin(**options: object) -> Session:
        opened.append(SessionLocal(bind=create_engine("sqlite://", poolclass=NullPool), **options))
        opened[-1].execute(text("SELECT 1"))
        return opened[-1]

    yield begin
    for db in opened:
        db.close()


@pytest.mark.usefixtures("body")
def test_what_is_left_open_is_rolled_back_and_told(caplog: pytest.LogCaptureFixture, begun: Begun) -> None:
    left, closed, of_run = begun(), begun(), begun(info={OF_RUN: True})
    closed.close()
    with caplog.at_level(logging.WARNING):
        left_transactions.roll_back_sessions(TASK)
    assert [db.in_transaction() for db in (left, closed, of_run)] == [False, False, False]
    assert of_run.scalar(text("SELECT 1")) == 1
    # One that only reads in `self.db` has done nothing wrong.
    assert caplog.messages == [f"task {TASK}: its body left a transaction open, which is rolled back"]
    caplog.clear()
    left_transactions.roll_back_sessions(TASK)  # told once
    assert caplog.messages == []


def test_outside_of_a_body_nothing_is_noted(begun: Begun) -> None:
    left_transactions.watch_sessions()
    db = begun()
    left_transactions.roll_back_sessions(TASK)
    assert db.in_transaction()
    call_for_each_session(None)


def test_what_a_thread_opens_after_its_body_has_ended_is_forgotten_with_it() -> None:
    late = new_id()
    left_transactions.watch_sessions()
    token = current_attempt.set(CurrentAttempt(late, 1))
    left_transactions.roll_back_sessions(late)
    db: Session | None = SessionLocal()
    current_attempt.reset(token)
    left_transactions.roll_back_sessions(TASK)
    assert late in left_transactions._opened
    del db
    gc.collect()
    left_transactions.roll_back_sessions(TASK)
    assert left_transactions._opened == {}
    call_for_each_session(None)
