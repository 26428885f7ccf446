"""Claims of several processes at the same moment: they follow each other in the order of the turns."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.sql import claims as statements
from app.db.statements import pending_rows
from app.services.execution.claims import Claims
from tests.support.lock_waits import needs_row_locks
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.tasks import LONG_RUNNING, WORKER, first_claim, new_task, new_user

FETCH = "app.tasks.common_tasks.fetch_url"
LONG, SHORT = pending_rows.TaskNames([LONG_RUNNING], []), pending_rows.TaskNames([LONG_RUNNING], [LONG_RUNNING])


@pytest.fixture(autouse=True)
def _database(services: Services) -> Iterator[None]:
    with on_new_database(services):
        yield


@pytest.fixture
def ids() -> list[UUID]:
    """Tasks of one user, in the order of their turns."""
    with SessionLocal() as db:
        first_claim(db)
        user = new_user(db)
        return [new_task(db, user).id for _ in range(2 * pending_rows.MOST_ROWS)]


def taken(db: Session, claims: Claims, names: pending_rows.TaskNames) -> list[UUID]:
    return [claim.id for claim in claims.next(db, names, new_id(), WORKER)]


@needs_row_locks
def test_long_tasks_are_not_passed_over_by_a_claim_beside_another(ids: list[UUID]) -> None:
    """Else a task that is alone in its line could wait for ten others at each meeting of two claims."""
    with SessionLocal() as one, SessionLocal() as other:
        first = taken(one, Claims([("default", "normal")]), LONG)  # not committed yet
        second = taken(other, Claims([("default", "normal")]), LONG)
        assert [*first, *second] == ids[:2]


@needs_row_locks
def test_a_claim_that_asks_for_many_passes_over_no_more_than_ten() -> None:
    """Behind a short task stand long ones: it takes that one alone, whatever it has looked at."""
    many = pending_rows.TaskNames([LONG_RUNNING, FETCH], [FETCH], statements.MOST_AT_ONCE)
    mine = Claims([("default", "normal")])
    with SessionLocal() as one, SessionLocal() as other:
        first_claim(one)
        user = new_user(one)
        short = [new_task(one, user, celery_task_name=FETCH, args=["https://a.b"]).id for _ in range(2)]
        long = [new_task(one, user).id for _ in range(2 * statements.MOST_AT_ONCE)]
        assert taken(one, mine, many) == short[:1]
        one.commit()
        assert taken(one, mine, many) == short[1:]  # not committed yet
        assert taken(other, Claims([("default", "normal")]), LONG) == [long[pending_rows.MOST_ROWS - 1]]


def test_short_tasks_are_taken_together_once_they_are_known_to_be_short(ids: list[UUID]) -> None:
    claims = Claims([("default", "normal")])
    with SessionLocal() as db:
        assert taken(db, claims, SHORT) == ids[:1]
        assert taken(db, claims, SHORT) == ids[1 : 1 + pending_rows.MOST_ROWS]
        # What was short is long now.
        assert taken(db, claims, LONG) == ids[1 + pending_rows.MOST_ROWS : 2 + pending_rows.MOST_ROWS]
