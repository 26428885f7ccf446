"""A batch with an item that fails: what is tried, and what becomes of the others."""

import logging
from collections.abc import Sequence
from contextlib import suppress

import psycopg2
import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from app.db.together import ConnectionEnded, blamed, together
from app.errors import ServiceError
from tests.support.database_errors import said

REFUSED = IntegrityError("INSERT", None, Exception("a value"))
OUTAGE, DEADLOCK, LOCK, TIMEOUT = (
    said(psycopg2.OperationalError, state) for state in ("57P01", "40P01", "55P03", "57014")
)


class Tried:
    """Items from 0 on, of which some make what they are in fail with this error."""

    def __init__(self, error: Exception, *bad: int) -> None:
        self.error, self.bad = error, {*bad}
        self.sizes: list[int] = []
        self.done: list[int] = []
        self.alone: dict[int, Exception] = {}

    def __call__(self, number: int) -> list[str]:
        return together("numbers", range(number), self._do, self._alone)

    def _do(self, items: Sequence[int]) -> str:
        self.sizes.append(len(items))
        if self.bad & {*items}:
            raise self.error
        self.done.extend(items)
        return f"{items[0]}-{items[-1]}"

    def _alone(self, item: int, error: Exception) -> str:
        self.alone[item] = error
        return f"not {item}"


def test_is_done_at_once_where_none_fails() -> None:
    tried = Tried(REFUSED)
    assert (tried(128), tried.sizes) == (["0-127"], [128])
    assert (tried(0), tried.sizes) == ([], [128])


def test_one_at_fault_is_found_by_halves_and_all_is_told_in_order() -> None:
    tried = Tried(REFUSED, 5)
    assert tried(8) == ["0-3", "4-4", "not 5", "6-7"]
    assert (tried.sizes, tried.alone) == ([8, 4, 4, 2, 1, 1, 2], {5: REFUSED})


def test_few_at_fault_among_many_cost_few_tries() -> None:
    tried = Tried(REFUSED, 700)
    tried(1024)
    assert (len(tried.sizes), len(tried.done)) == (21, 1023)


@pytest.mark.parametrize("error", [LOCK, TIMEOUT])
def test_for_one_that_waits_no_second_group_waits(error: Exception) -> None:
    tried = Tried(error, 2)
    tried(6)
    assert (tried.sizes, tried.done, tried.alone) == ([6, 1, 1, 1, 1, 1, 1], [0, 1, 3, 4, 5], {2: error})


@pytest.mark.parametrize("error", [OUTAGE, DEADLOCK])
def test_an_outage_and_a_deadlock_are_no_fault_of_any(error: Exception) -> None:
    tried = Tried(error, 3)
    with pytest.raises(OperationalError):
        tried(8)
    assert (tried.sizes, tried.alone) == ([8], {})


def test_what_was_done_before_an_outage_is_done() -> None:
    tried = Tried(REFUSED, 3)

    def away(item: int, _: Exception) -> str:
        raise OUTAGE

    with suppress(OperationalError):
        together("numbers", range(4), tried._do, away)
    assert tried.done == [0, 1, 2]


@pytest.mark.parametrize(("error", "levels"), [(REFUSED, ["WARNING"]), (LOCK, ["INFO"]), (ServiceError(), ["DEBUG"])])
def test_a_batch_that_failed_is_told_once(
    error: Exception, levels: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    Tried(error, 1, 5)(8)
    assert [record.levelname for record in caplog.records] == levels
    assert caplog.records[0].message.startswith("8 numbers are tried in parts, after: ")


@pytest.fixture
def answering() -> Session:
    return Session(create_engine("sqlite://"))


@pytest.fixture
def silent() -> Session:
    return Session(create_engine("sqlite:////nowhere/at/all"))


def _fail(db: Session, error: Exception) -> None:
    with blamed(db):
        raise error


def test_a_connection_that_the_server_has_ended_is_a_matter_of_what_was_done(
    answering: Session, silent: Session
) -> None:
    with pytest.raises(ConnectionEnded):
        _fail(answering, OUTAGE)
    with pytest.raises(OperationalError):
        _fail(silent, OUTAGE)
    with pytest.raises(IntegrityError):
        _fail(answering, REFUSED)
