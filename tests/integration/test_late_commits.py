"""Tasks that are created in a transaction of the caller's, which may stay open for long (`commit=False`)."""

import logging
from collections.abc import Iterator

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.db.session import SessionLocal
from app.db.sql import turns
from app.maintenance.passes import task_states
from app.models.task import Task
from tests.support.lock_waits import fail_soon_where_locked, needs_row_locks
from tests.support.tasks import new_task, new_user


@pytest.fixture
def db(fresh_database: None) -> Iterator[Session]:
    """Its commits are commits, as in a program of the service's users."""
    del fresh_database
    with SessionLocal() as session:
        yield session


def turn_of(db: Session, task_id: object) -> float | None:
    turn = db.scalar(select(Task.turn).where(Task.id == task_id))
    db.commit()
    return turn


@needs_row_locks
def test_no_other_submit_of_the_user_waits_for_them(db: Session) -> None:
    user = new_user(db)
    first = new_task(db, user).id
    late = new_task(db, user, commit=False).id
    with SessionLocal() as other:
        fail_soon_where_locked(other)
        second = new_task(other, user).id
    db.commit()
    given = [turn_of(db, task_id) for task_id in (first, second, late)]
    assert given == [1.0, 2.0, 3.0]  # by the time of the commit


def test_those_that_are_rolled_back_take_no_turn(db: Session) -> None:
    user = new_user(db)
    new_task(db, user, commit=False)
    db.rollback()
    assert turn_of(db, new_task(db, user).id) == 1.0


def test_maintenance_gives_turns_where_the_process_could_not(
    db: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    task_id = new_task(db, commit=False).id

    def away(*_: object) -> int:
        raise OperationalError("", {}, Exception("server closed the connection"))

    with monkeypatch.context() as outage, caplog.at_level(logging.WARNING):
        outage.setattr(turns, "place", away)
        db.commit()
    assert "1 tasks get their turns by maintenance" in caplog.text
    assert turn_of(db, task_id) is None
    task_states.give_turns(db)
    assert turn_of(db, task_id) == 1.0
