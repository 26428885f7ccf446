"""What a session sets for its transaction ends with it: time limits of reads, and of waits for locks. On every engine."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import TextClause, literal_column, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.db.outage import is_locked, is_timeout
from app.db.session import SessionLocal
from app.db.sql import prepared
from app.db.statements import reads, workers
from app.db.transactions import wait_briefly
from tests.support.databases import ENGINE, SLOW
from tests.support.lock_waits import needs_row_locks
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.tasks import new_user
from tests.support.waiting import wait_for


@pytest.fixture(scope="module", autouse=True)
def database(services: Services) -> Iterator[None]:
    with on_new_database(services, DATABASE_STATEMENT_TIMEOUT_SECONDS="4", DATABASE_POOL_SIZE="1"):
        yield


def seconds_of(db: Session, statement: str) -> float:
    begun = time.monotonic()
    with pytest.raises(DBAPIError) as caught:
        db.execute(text(statement))
    assert is_timeout(caught.value) or is_locked(caught.value)
    db.rollback()
    return time.monotonic() - begun


def test_a_read_ends_at_its_limit_and_the_next_transaction_has_the_usual_one() -> None:
    with SessionLocal() as db:
        reads.limit_read(db, 0.5)
        assert seconds_of(db, SLOW[ENGINE]) < 3
        assert seconds_of(db, SLOW[ENGINE]) > 3


def test_a_limit_holds_for_each_statement_of_the_transaction() -> None:
    with SessionLocal() as db:
        reads.limit_read(db, 0.5)
        for _ in range(2):
            assert db.execute(select(literal_column("1"))).scalar_one() == 1
        assert seconds_of(db, SLOW[ENGINE]) < 3


def test_a_limit_ends_with_a_commit() -> None:
    with SessionLocal() as db:
        reads.limit_read(db, 0.5)
        db.commit()
        assert seconds_of(db, SLOW[ENGINE]) > 3


@needs_row_locks
@pytest.mark.parametrize("limit", [wait_briefly, workers.limit_lock_waits])
def test_a_wait_for_a_lock_is_brief_within_the_transaction_alone(limit: Callable[[Session], None]) -> None:
    with SessionLocal() as db, SessionLocal() as other:
        new_user(db)
        change = "UPDATE users SET weight = 2"
        other.execute(text(change))
        limit(db)
        assert seconds_of(db, change) < 3
        assert seconds_of(db, change) > 3


@pytest.mark.skipif(
    ENGINE != "mariadb", reason="PostgreSQL: one statement, committed by itself; SQLite and MySQL: none"
)
def test_a_claim_whose_process_is_frozen_lets_go_of_its_locks() -> None:
    change = text("UPDATE users SET weight = 2")
    frozen: Any
    with SessionLocal() as db, prepared.prepared_connection() as frozen:
        new_user(db)
        transaction = frozen.connection.begin()
        frozen.connection.execute(change)
        wait_for(lambda: is_free(change), 30, "the server to end a transaction that is idle")
        with pytest.raises(DBAPIError):
            frozen.connection.execute(change)
        transaction.rollback()


def is_free(change: TextClause) -> bool:
    """Whether the rows of this statement are not locked."""
    with SessionLocal() as db:
        workers.limit_lock_waits(db)
        try:
            db.execute(change)
        except DBAPIError as error:
            if is_locked(error):
                return False
            raise
        return True
