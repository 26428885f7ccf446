"""Limits: who is admitted, that never more run than allowed whatever becomes of a task, and what the API says of it."""

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.sql import limits as statements, prepared
from app.db.statements import limit_places
from app.models import Task, WorkerProcess
from app.schemas.task import TaskCreate
from app.services.execution.claims import Claims, ReadyClaim, give_back
from app.services.operations import admission
from app.services.task_service import task_service
from tests.report.recorded import is_promised
from tests.support.limited import (
    LINES,
    SECONDS,
    SHORT,
    Witness,
    body_ends,
    end_outside,
    held,
    keep_from_beginning,
    maintain,
    places,
    run_all,
    served_session,
    succeed,
)
from tests.support.spelling import spelled
from tests.support.tasks import LONG_RUNNING, WORKER, flush_admitter, new_task, new_user

LIMITS = "/api/v1/limits/"


pytestmark = pytest.mark.usefixtures("fresh_picture")


@pytest.fixture
def real(fresh_database: None) -> Iterator[Session]:
    """A session that commits, in a database that a worker serves."""
    yield from served_session()


def claimed(db: Session) -> list[ReadyClaim]:
    """What a worker gets now."""
    db.commit()
    with prepared.prepared_connection() as connection:
        return Claims(LINES).next(connection, SHORT, new_id(), WORKER)


def all_claimed(db: Session) -> list[UUID]:
    """What a worker gets until it gets nothing more."""
    flush_admitter()
    found: list[UUID] = []
    while rows := claimed(db):
        found += [row.id for row in rows]
    return found


class TestAPlace:
    def test_is_what_a_task_with_a_limit_needs_to_begin(self, real: Session) -> None:
        task_service.put_limit(real, "two", concurrency=2)
        user = new_user(real)
        tasks = [new_task(real, user, limit="two").id for _ in range(5)]
        free = new_task(real, user).id
        assert set(all_claimed(real)) == {*tasks[:2], free}
        assert held(real) == {"limit": 3}
        succeed(real, tasks[1])
        assert all_claimed(real) == [tasks[2]]
        succeed(real, tasks[0])
        succeed(real, tasks[2])
        assert all_claimed(real) == tasks[3:]
        for task_id in tasks[3:]:
            succeed(real, task_id)
        assert (all_claimed(real), places(real)) == ([], 0)

    def test_is_needed_whoever_writes_the_row(self, real: Session) -> None:
        """The database itself refuses a claim without a place."""
        task_service.put_limit(real, "one", concurrency=1)
        user = new_user(real)
        first, second = (new_task(real, user, limit="one").id for _ in range(2))
        flush_admitter()
        real.execute(spelled("UPDATE tasks SET held = NULL"))
        real.commit()
        assert all_claimed(real) == [first]
        maintain(real)
        assert held(real) == {"limit": 1}
        succeed(real, first)
        assert all_claimed(real) == [second]

    @pytest.mark.parametrize("end", ["stopped", "deleted", "retried"])
    def test_is_held_until_the_body_has_ended_whatever_becomes_of_the_task(self, real: Session, end: str) -> None:
        task_service.put_limit(real, "one", concurrency=1)
        user = new_user(real)
        first = new_task(real, user, limit="one").id
        assert all_claimed(real) == [first]
        second = new_task(real, user, limit="one").id
        end_outside(real, first, end)
        maintain(real)
        assert (all_claimed(real), places(real)) == ([], 1)
        body_ends(real, first)
        assert all_claimed(real) == [second]
        if end == "retried":
            succeed(real, second)
            assert all_claimed(real) == [first]
            assert task_service.get_task(real, first).attempt == 2

    @pytest.mark.parametrize("end", ["cancelled", "deleted", "expired", "postponed", "paused"])
    def test_of_a_task_that_will_not_begin_is_given_to_the_next(self, real: Session, end: str) -> None:
        task_service.put_limit(real, "one", concurrency=1)
        user = new_user(real)
        first = new_task(real, user, limit="one", priority="high").id
        flush_admitter()
        second = new_task(real, user, limit="one", priority="low").id
        flush_admitter()
        assert held(real) == {None: 1, "limit": 1}
        keep_from_beginning(real, first, end)
        maintain(real)
        assert all_claimed(real) == [second]
        if end in {"postponed", "paused"}:
            succeed(real, second)
            task_service.resume_queue(real, "high_priority")
            task_service.update_task(real, first, {"run_at": None})
            maintain(real)
            assert all_claimed(real) == [first]

    def test_goes_to_the_higher_priority_although_a_lower_one_had_it_first(self, real: Session) -> None:
        task_service.put_limit(real, "one", concurrency=1)
        user = new_user(real)
        low = new_task(real, user, limit="one", priority="low").id
        flush_admitter()
        high = new_task(real, user, limit="one", priority="high").id
        flush_admitter()
        assert task_service.get_task(real, low).held is None
        maintain(real)
        assert all_claimed(real) == [high]
        succeed(real, high)
        assert all_claimed(real) == [low]

    def test_of_tasks_that_cannot_start_goes_to_others_however_many_have_one(
        self, real: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(admission, "MOST_AHEAD", 2)
        task_service.put_limit(real, "keyed", concurrency_per_key=1)
        user = new_user(real)
        for number in range(3):
            new_task(real, user, limit="keyed", limit_key=str(number), priority="low")
        flush_admitter()
        task_service.pause_queue(real, "low_priority")
        other = new_task(real, user, limit="keyed", limit_key="other").id
        maintain(real)
        assert all_claimed(real) == [other]

    def test_of_a_claim_that_was_not_begun_is_free_again(self, real: Session) -> None:
        task_service.put_limit(real, "one", concurrency=1)
        first = new_task(real, limit="one")
        second = new_task(real, limit="one")
        flush_admitter()
        (claim,) = claimed(real)
        give_back(real, [claim])
        real.commit()
        assert (held(real), places(real)) == ({"limit": 2}, 1)
        body_ends(real, first.id)
        assert all_claimed(real) == [first.id]
        succeed(real, first.id, attempt=2)
        assert all_claimed(real) == [second.id]

    def test_of_a_lost_worker_is_free_once_its_lease_is_over(self, real: Session) -> None:
        task_service.put_limit(real, "one", concurrency=1)
        first = new_task(real, limit="one").id
        assert all_claimed(real) == [first]
        task_service.update_task_status(real, first, "revoked")
        second = new_task(real, limit="one").id
        maintain(real)
        assert all_claimed(real) == []
        real.execute(spelled("UPDATE maintenance_lease SET rescue_after = now() - interval '1 second'"))
        ago = datetime.now(UTC) - timedelta(minutes=5)
        real.execute(update(WorkerProcess).values(heartbeat_at=ago))
        real.commit()
        maintain(real)
        assert all_claimed(real) == []  # the claim is younger than the lease
        real.execute(spelled("UPDATE limit_places SET started_at = now() - interval '5 minutes'"))
        real.commit()
        maintain(real)
        assert all_claimed(real) == [second]

    def test_of_a_stopped_worker_is_free_at_once(self, real: Session) -> None:
        task_service.put_limit(real, "one", concurrency=1)
        first, second = (new_task(real, limit="one").id for _ in range(2))
        assert all_claimed(real) == [first]
        task_service.update_task_status(real, first, "failed", error="from outside")
        real.execute(update(WorkerProcess).values(stopped_at=datetime.now(UTC)))
        real.commit()
        maintain(real)
        assert all_claimed(real) == [second]


class TestKeys:
    def test_have_bounds_of_their_own_below_the_total(self, real: Session) -> None:
        task_service.put_limit(real, "keyed", concurrency=3, concurrency_per_key=1)
        user = new_user(real)
        keys = ["a", "a", "b", "c", "d", None]
        a1, a2, b1, c1, d1, none = (new_task(real, user, limit="keyed", limit_key=key).id for key in keys)
        assert all_claimed(real) == [a1, b1, c1]
        assert held(real) == {"limit": 2, "limit_key": 1}
        succeed(real, a1)
        assert all_claimed(real) == [a2]
        for ended in (b1, c1):
            succeed(real, ended)
        assert all_claimed(real) == [d1, none]

    def test_that_are_full_are_passed_over_once(self, real: Session) -> None:
        """Of 1,000 keys 10 are busy: their tasks stand in front, and are looked at once each."""
        task_service.put_limit(real, "keyed", concurrency=2000, concurrency_per_key=1)
        user, other = new_user(real), new_user(real)
        busy = [f"busy-{number}" for number in range(10)]
        fields = {"name": "x", "task_type": "t", "celery_task_name": LONG_RUNNING, "args": [1], "limit": "keyed"}
        task_service.create_tasks(real, [TaskCreate(**fields, limit_key=key) for key in busy * 100], user)
        quiet = [TaskCreate(**fields, limit_key=f"quiet-{number}") for number in range(990)]
        flush_admitter()
        task_service.create_tasks(real, quiet, other)
        claimed = 0
        for _ in range(5):
            flush_admitter()
            maintain(real)
            now = len(all_claimed(real))
            assert now <= admission.MOST_AHEAD
            claimed += now
        assert claimed == 1000
        assert held(real) == {"limit_key": 990}

    def test_go_on_one_after_the_other(self, real: Session) -> None:
        task_service.put_limit(real, "keyed", concurrency_per_key=1)
        user = new_user(real)
        ids = [new_task(real, user, limit="keyed", limit_key=f"{number % 3}").id for number in range(30)]
        left = set(ids)
        while left:
            now = all_claimed(real)
            assert len(now) == len({ids.index(task_id) % 3 for task_id in now}) == 3
            for task_id in now:
                succeed(real, task_id)
                left.remove(task_id)

    def test_that_nobody_asked_for_again_are_found_by_maintenance(self, real: Session) -> None:
        task_service.put_limit(real, "keyed", concurrency_per_key=1)
        first, second = (new_task(real, limit="keyed", limit_key="k").id for _ in range(2))
        assert all_claimed(real) == [first]
        with SessionLocal.begin() as db:
            statements.free_places(db, statements.of_attempts([(first, 1)]))  # and the process dies
        assert all_claimed(real) == []
        maintain(real)
        assert all_claimed(real) == [second]


class TestARate:
    def test_bounds_the_starts_of_any_interval(self, real: Session) -> None:
        task_service.put_limit(real, "rated", rate={"count": 3, "period_seconds": 1})
        user = new_user(real)
        for _ in range(10):
            new_task(real, user, limit="rated")
        starts: list[float] = []
        deadline = time.monotonic() + SECONDS
        while len(starts) < 10 and time.monotonic() < deadline:
            before = time.monotonic()
            rows = all_claimed(real)
            starts += [before] * len(rows)
            for task_id in rows:
                succeed(real, task_id)
            time.sleep(random.uniform(0, 0.05))
            maintain(real)
        assert len(starts) == 10
        assert all(later - earlier >= 1 for earlier, later in zip(starts, starts[3:], strict=False))

    def test_remembers_the_start_of_a_task_that_is_deleted_or_retried(self, real: Session) -> None:
        task_service.put_limit(real, "rated", rate={"count": 1, "period_seconds": 3600})
        first, second = (new_task(real, limit="rated").id for _ in range(2))
        assert all_claimed(real) == [first]
        task_service.update_task_status(real, first, "revoked")
        body_ends(real, first)
        task_service.delete(real, first)
        maintain(real)
        assert (all_claimed(real), held(real)) == ([], {"limit": 1})
        real.execute(spelled("UPDATE limit_places SET started_at = started_at - interval '3590 seconds'"))
        real.commit()
        maintain(real)
        assert all_claimed(real) == []
        real.execute(spelled("UPDATE limit_places SET started_at = started_at - interval '11 seconds'"))
        real.commit()
        maintain(real)
        assert all_claimed(real) == [second]

    def test_counts_a_start_until_its_body_has_begun_a_period_ago(
        self, real: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On record is the claim, and a body may begin later."""
        monkeypatch.setattr(limit_places, "BEGIN_SECONDS", 600.0)  # so much that no pause of this machine matters
        task_service.put_limit(real, "rated", rate={"count": 1, "period_seconds": 3600})
        first, second = (new_task(real, limit="rated").id for _ in range(2))
        assert all_claimed(real) == [first]
        succeed(real, first)
        for passed, found in ((3900, []), (301, [second])):
            earlier = f"started_at - interval '{passed} seconds'"
            real.execute(spelled(f"UPDATE limit_places SET started_at = {earlier}"))
            real.commit()
            maintain(real)
            assert all_claimed(real) == found

    def test_of_a_key_holds_up_no_other(self, real: Session) -> None:
        task_service.put_limit(real, "rated", rate_per_key={"count": 1, "period_seconds": 3600})
        ids = [new_task(real, limit="rated", limit_key=key).id for key in "aabb"]
        assert all_claimed(real) == [ids[0], ids[2]]
        assert held(real) == {"limit_key": 2}


class TestConcurrently:
    CONCURRENCY, PER_KEY, CLAIMERS = 3, 2, 8

    def test_never_more_run_than_allowed(self, real: Session) -> None:
        """Eight claimers, ends from outside, retries, deletions: a witness beside the database counts the bodies."""
        task_service.put_limit(real, "both", concurrency=self.CONCURRENCY, concurrency_per_key=self.PER_KEY)
        users = [new_user(real) for _ in range(3)]
        for at in range(160):
            fields = {"limit": "both", "limit_key": f"{at % 4}", "priority": random.choice(["low", "normal"])}
            new_task(real, users[at % 3], **fields)
        keys = {task.id: str(task.limit_key) for task in real.scalars(select(Task))}
        real.commit()
        witness = Witness(self.PER_KEY, self.CONCURRENCY)
        run_all(keys, witness, self.CLAIMERS)
        with is_promised():
            assert witness.wrong == []
        assert witness.most == self.CONCURRENCY, "the bound was never reached: the test shows nothing"
        assert places(real) == 0
