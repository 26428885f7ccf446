"""QUOTA_RUNNING_TASKS: never more tasks of one user run, whatever becomes of them, and nobody else waits for it."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.sql import limits as statements, prepared
from app.db.statements import pending_rows, user_places
from app.db.transactions import after_commit
from app.ddl.terms import USER_LIMIT
from app.errors import InvalidLimit
from app.models import Task, User, WorkerProcess
from app.models.limit import LimitPlace
from app.models.task import WaitingReason
from app.models.task_filter import TaskFilter
from app.schemas.task import TaskCreate, TaskRead
from app.services.execution import attempts, ends
from app.services.execution.claims import Claims, ReadyClaim, give_back
from app.services.operations import admission
from app.services.task_service import task_service
from tests.report.recorded import is_promised
from tests.support.amounts import amount
from tests.support.limited import (
    LINES,
    ONE_AT_A_TIME,
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
from tests.support.lock_waits import await_lock_waits
from tests.support.spelling import spelled
from tests.support.statements import before_each_statement
from tests.support.tasks import LONG_RUNNING, WORKER, flush_admitter, new_task, new_user, next_run

FIELDS: dict[str, Any] = {"name": "x", "task_type": "t", "celery_task_name": LONG_RUNNING, "args": [1]}
UNKNOWN = "app.tasks.model_tasks.train_classifier"
Quota = Callable[[int], None]

pytestmark = pytest.mark.usefixtures("fresh_picture")


@pytest.fixture
def real(fresh_database: None) -> Iterator[Session]:
    """A session that commits, in a database that a worker serves."""
    yield from served_session()


@pytest.fixture
def quota(real: Session, monkeypatch: pytest.MonkeyPatch) -> Quota:
    """Sets QUOTA_RUNNING_TASKS; at first it is 2."""
    del real

    def change(number: int) -> None:
        flush_admitter()
        monkeypatch.setattr(get_settings(), "quota_running_tasks", number)

    change(2)
    return change


def ready(names: pending_rows.TaskNames = SHORT) -> list[ReadyClaim]:
    """What a worker gets until it gets nothing more."""
    flush_admitter()
    found: list[ReadyClaim] = []
    with prepared.prepared_connection() as connection:
        looks = Claims(LINES)
        while rows := looks.next(connection, names, new_id(), WORKER):
            found += rows
    return found


def claimed(db: Session) -> list[UUID]:
    db.commit()
    return [claim.id for claim in ready()]


def waiting_for(db: Session, task_id: UUID) -> tuple[str, str | None] | None:
    found = TaskRead.model_validate(task_service.get_task(db, task_id)).waiting_for
    return None if found is None else (str(found.reason), found.key)


class TestAUser:
    def test_all_users_who_wait_are_found_however_many_one_statement_finds(
        self, real: Session, quota: Quota, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pending_rows, "VALUES_AT_ONCE", 2)
        users = [new_user(real) for _ in range(5)]
        for user in users:
            task_service.create_tasks(real, [TaskCreate.model_validate(FIELDS)] * 3, user)
        assert user_places.users_at_hand(real) == sorted(map(str, users))

    def test_has_so_many_tasks_running_while_others_have_theirs(self, real: Session, quota: Quota) -> None:
        one, other = new_user(real), new_user(real)
        ones = [new_task(real, one).id for _ in range(5)]
        others = [task.id for task in task_service.create_tasks(real, [TaskCreate(**FIELDS)] * 3, other)]
        assert set(claimed(real)) == {*ones[:2], *others[:2]}
        assert held(real) == {"user": 4}
        succeed(real, ones[1])
        assert claimed(real) == [ones[2]]
        succeed(real, ones[0], ones[2], *others[:2])
        assert set(claimed(real)) == {*ones[3:], others[2]}
        succeed(real, *ones[3:], others[2])
        assert (claimed(real), places(real)) == ([], 0)

    def test_is_told_what_the_others_wait_for(self, real: Session, quota: Quota) -> None:
        user = new_user(real)
        first, _, third = (new_task(real, user).id for _ in range(3))
        flush_admitter()
        assert waiting_for(real, first) == ("turn", None)
        assert waiting_for(real, third) == ("limit", "QUOTA_RUNNING_TASKS")
        own = TaskFilter(user_id=user)
        limited = replace(own, waiting_for=WaitingReason.LIMIT)
        assert [task.id for task in task_service.list_page(real, limited, 10).items] == [third]
        counts = task_service.show_counts(real, own, by_reason=True)["waiting_for"]
        assert counts == {"turn": 2, "limit": 1}

    def test_has_the_best_of_its_tasks_run(self, real: Session, quota: Quota) -> None:
        """A place that was given to a lower priority, or in a queue that is paused, goes to what comes later."""
        user = new_user(real)
        low = [new_task(real, user, priority="low").id for _ in range(3)]
        flush_admitter()
        high = new_task(real, user, priority="high").id
        flush_admitter()
        assert waiting_for(real, high) == ("limit", "QUOTA_RUNNING_TASKS")
        maintain(real)
        assert claimed(real) == [high, low[0]]
        task_service.pause_queue(real, "low_priority")
        succeed(real, high)
        flush_admitter()
        normal = new_task(real, user).id
        maintain(real)
        assert claimed(real) == [normal]

    def test_weighs_as_much_as_before(self, real: Session, quota: Quota) -> None:
        """A slot serves two users of the same quota: one of them starts three times as often."""
        light, heavy = new_user(real), new_user(real)
        real.execute(update(User).where(User.id == heavy).values(weight=3))
        real.commit()
        owner = {}
        for user in (light, heavy):
            tasks = task_service.create_tasks(real, [TaskCreate(**FIELDS)] * 60, user)
            owner |= dict.fromkeys((task.id for task in tasks), user)
        flush_admitter()
        looks, starts = Claims(LINES), Counter[UUID]()
        for _ in range(40):
            with prepared.prepared_connection() as connection:
                (claim,) = looks.next(connection, ONE_AT_A_TIME, new_id(), WORKER)
            starts[owner[claim.id]] += 1
            succeed(real, claim.id)
        assert starts == {light: 10, heavy: 30}


class TestAPlace:
    def test_is_needed_whoever_writes_the_row(self, real: Session, quota: Quota) -> None:
        """The database itself refuses a claim without a place, and takes none of a limit then."""
        task_service.put_limit(real, "five", concurrency=5)
        user = new_user(real)
        first, second, third = (new_task(real, user, limit="five").id for _ in range(3))
        flush_admitter()
        real.add(LimitPlace(task_id=third, attempt=1, limit_name="five"))
        real.flush()
        real.execute(text("UPDATE tasks SET held = NULL"))
        real.commit()
        assert claimed(real) == [first, second]
        assert real.execute(text("SELECT count(*) FROM limit_places WHERE worker_id IS NULL")).scalar_one() == 1
        maintain(real)
        assert held(real) == {"user": 1}
        succeed(real, first)
        assert claimed(real) == [third]

    @pytest.mark.parametrize("end", ["cancelled", "deleted", "expired", "postponed", "replaced"])
    def test_of_a_task_that_will_not_begin_is_given_to_the_next(self, real: Session, quota: Quota, end: str) -> None:
        quota(1)
        user = new_user(real)
        first, second = (new_task(real, user, unique_key=f"{number}").id for number in range(2))
        flush_admitter()
        assert held(real) == {None: 1, "user": 1}
        if end == "replaced":
            later = datetime.now(UTC) + timedelta(hours=1)
            new_task(real, user, unique_key="0", on_conflict="replace", run_at=later)
        else:
            keep_from_beginning(real, first, end)
        maintain(real)
        assert claimed(real) == [second]
        succeed(real, second)
        if end == "postponed":
            task_service.update_task(real, first, {"run_at": None})
            maintain(real)
            assert claimed(real) == [first]

    def test_that_waits_may_be_cancelled(self, real: Session, quota: Quota) -> None:
        user = new_user(real)
        ids = [new_task(real, user).id for _ in range(4)]
        flush_admitter()
        task_service.cancel(real, ids[2])
        assert claimed(real) == ids[:2]
        succeed(real, ids[0])
        assert claimed(real) == [ids[3]]

    @pytest.mark.parametrize("end", ["stopped", "deleted", "retried"])
    def test_is_held_until_the_body_has_ended(self, real: Session, quota: Quota, end: str) -> None:
        quota(1)
        user = new_user(real)
        first = new_task(real, user).id
        assert claimed(real) == [first]
        second = new_task(real, user).id
        end_outside(real, first, end)
        maintain(real)
        assert (claimed(real), places(real)) == ([], 1)
        body_ends(real, first)
        assert claimed(real) == [second]
        if end == "retried":
            succeed(real, second)
            assert claimed(real) == [first]

    def test_is_needed_again_by_each_attempt(self, real: Session, quota: Quota) -> None:
        quota(1)
        user = new_user(real)
        first, second = (new_task(real, user).id for _ in range(2))
        (claim,) = ready()
        give_back(real, [claim])
        real.commit()
        assert (held(real), places(real)) == ({"user": 2}, 1)
        body_ends(real, first)
        assert claimed(real) == [first]
        ends.end_attempt(real, first, 2, ends.retried(attempts.AttemptError(None, None), attempts.NextTry(0)))
        real.commit()
        body_ends(real, first, 2)
        maintain(real)
        assert len(claimed(real)) == 1
        assert held(real) == {"user": 1}
        assert task_service.get_task(real, second).user_limited

    @pytest.mark.parametrize("end", ["failed", "left"])
    def test_is_free_when_its_attempt_has_ended_in_a_worker(self, real: Session, quota: Quota, end: str) -> None:
        quota(1)
        user = new_user(real)
        first, second = (new_task(real, user).id for _ in range(2))
        flush_admitter()
        run = next_run()
        assert run is not None
        assert run.task_id == first
        if end == "failed":
            run.fail(ValueError("no"))
        else:
            run.leave()
        assert claimed(real) == [second]

    def test_of_a_lost_worker_is_free_once_its_lease_is_over(self, real: Session, quota: Quota) -> None:
        quota(1)
        user = new_user(real)
        first, second = (new_task(real, user).id for _ in range(2))
        assert claimed(real) == [first]
        task_service.update_task_status(real, first, "revoked")
        maintain(real)
        assert claimed(real) == []
        real.execute(spelled("UPDATE maintenance_lease SET rescue_after = now() - interval '1 second'"))
        real.execute(update(WorkerProcess).values(heartbeat_at=datetime.now(UTC) - timedelta(minutes=5)))
        real.execute(spelled("UPDATE limit_places SET started_at = now() - interval '5 minutes'"))
        real.commit()
        maintain(real)
        assert claimed(real) == [second]

    def test_that_a_process_left_behind_is_found_by_maintenance(self, real: Session, quota: Quota) -> None:
        quota(1)
        user = new_user(real)
        first, second = (new_task(real, user).id for _ in range(2))
        assert claimed(real) == [first]
        with SessionLocal.begin() as db:
            statements.free_places(db, statements.of_attempts([(first, 1)]))  # and the process dies
        assert claimed(real) == []
        maintain(real)
        assert claimed(real) == [second]

    def test_is_given_once_by_two_admissions_at_once(self, real: Session, quota: Quota) -> None:
        quota(1)
        user = new_user(real)
        first, *_ = (new_task(real, user).id for _ in range(3))
        assert claimed(real) == [first]
        with SessionLocal.begin() as db:
            statements.free_places(db, statements.of_attempts([(first, 1)]))

        def admit_beside() -> None:
            with SessionLocal() as other:
                admission.admit_tasks(other, USER_LIMIT, [str(user)])

        with ThreadPoolExecutor(1) as pool:
            with SessionLocal.begin() as db:
                user_places.lock_users(db, [str(user)])
                admission.user_admission(db, 1).admit_by_key([str(user)])
                beside = pool.submit(admit_beside)
                await_lock_waits(1, "the other admission to wait")
            beside.result(10)
        assert len(claimed(real)) == 1

    @pytest.mark.postgresql("elsewhere the lock is a row of user_turns")
    def test_is_guarded_by_the_number_that_an_earlier_release_locks(self, real: Session) -> None:
        """While a deployment is rolled out, processes of both releases admit tasks of the same user."""
        user = str(new_user(real))
        with SessionLocal.begin() as db:
            user_places.lock_users(db, [user])
            held = text("""SELECT classid::bigint << 32 | objid::bigint FROM pg_locks
                WHERE pid = pg_backend_pid() AND locktype = 'advisory'""")
            number = text("SELECT hashtextextended(:user, 7315624)")
            assert list(db.scalars(held)) == [db.scalar(number, {"user": user})]

    def test_goes_to_no_task_that_no_live_worker_knows(self, real: Session, quota: Quota) -> None:
        quota(1)
        user = new_user(real)
        unknown = new_task(real, user, celery_task_name=UNKNOWN, args=[]).id
        known = new_task(real, user).id
        assert claimed(real) == [known]
        assert waiting_for(real, unknown) == ("no_worker", None)
        real.execute(update(WorkerProcess).values(task_names=[LONG_RUNNING, UNKNOWN]))
        real.commit()
        maintain(real)
        assert held(real) == {"user": 1}

    @pytest.mark.parametrize("change", [{"priority": "high"}, {"run_at": None}])
    def test_of_a_task_that_is_changed_is_not_in_its_way(
        self, real: Session, quota: Quota, change: dict[str, Any]
    ) -> None:
        quota(1)
        task = new_task(real)
        flush_admitter()
        task_service.update_task(real, task.id, change)
        assert claimed(real) == [task.id]


class TestSubmits:
    def test_in_the_caller_s_transaction_are_admitted_after_its_commit(self, real: Session, quota: Quota) -> None:
        quota(1)
        user, seen = new_user(real), []
        with SessionLocal.begin() as db:
            ids = [task_service.create_task(db, **FIELDS, user_id=user, commit=False)[0].id for _ in range(2)]
            after_commit(db, lambda: seen.append(True))
            flush_admitter()
            assert places(real) == 0
        assert seen == [True]
        assert claimed(real) == ids[:1]

    def test_that_are_due_later_wait_from_then_on(self, real: Session, quota: Quota) -> None:
        quota(1)
        user = new_user(real)
        later, now = new_task(real, user, delay_seconds=3600).id, new_task(real, user).id
        assert claimed(real) == [now]
        assert waiting_for(real, later) == ("schedule", None)
        soon = datetime.now(UTC) - timedelta(seconds=1)
        real.execute(update(Task).where(Task.id == later).values(run_at=soon, due_at=soon))
        real.commit()
        maintain(real)
        assert claimed(real) == []
        assert waiting_for(real, later) == ("limit", "QUOTA_RUNNING_TASKS")
        succeed(real, now)
        assert claimed(real) == [later]

    def test_without_the_quota_pay_for_nothing(self, real: Session, quota: Quota) -> None:
        """No statement more, no other one, and no entry in an index."""
        quota(0)
        user = new_user(real)
        executed: list[str] = []
        with before_each_statement(lambda statement, _: executed.append(statement)):
            new_task(real, user)
            flush_admitter()
        assert not [statement for statement in executed if "limit_places" in statement or "user_limited" in statement]
        assert len(claimed(real)) == 1
        entries = "SELECT count(*) FROM tasks WHERE held IS NOT NULL OR user_limited IS NOT NULL"
        assert real.execute(text(entries)).scalar_one() == 0


class TestALimitBesideIt:
    def test_is_waited_for_with_a_place_of_the_user(self, real: Session, quota: Quota) -> None:
        task_service.put_limit(real, "one", concurrency=1)
        greedy, other = new_user(real), new_user(real)
        first, second, third = (new_task(real, greedy, limit="one").id for _ in range(3))
        flush_admitter()
        theirs = new_task(real, other, limit="one").id
        plain = new_task(real, greedy).id
        assert claimed(real) == [first]
        assert waiting_for(real, second) == ("limit", "one")
        assert [waiting_for(real, task_id) for task_id in (third, plain)] == [("limit", "QUOTA_RUNNING_TASKS")] * 2
        assert waiting_for(real, theirs) == ("limit", "one")
        succeed(real, first)
        # The first of both users: the third waits for its user, and so for nothing of others.
        assert len(claimed(real)) == 1
        left = {first}
        while len(left) < 4:
            flush_admitter()
            real.commit()
            (row,) = real.scalars(select(Task).where(Task.status == "running", Task.limit == "one")).all()
            succeed(real, row.id)
            left.add(row.id)
            claimed(real)
        assert left == {first, second, third, theirs}

    def test_gives_no_place_to_a_user_who_has_none(self, real: Session, quota: Quota) -> None:
        quota(1)
        task_service.put_limit(real, "two", concurrency=2)
        busy, other = new_user(real), new_user(real)
        running = new_task(real, busy).id
        waits = new_task(real, busy, limit="two").id
        theirs = [new_task(real, other, limit="two").id]
        assert set(claimed(real)) == {running, theirs[0]}
        assert waiting_for(real, waits) == ("limit", "QUOTA_RUNNING_TASKS")
        used = real.execute(text("SELECT count(*) FROM limit_places WHERE limit_name = 'two'")).scalar_one()
        assert used == 1
        succeed(real, running)
        assert claimed(real) == [waits]
        succeed(real, waits, *theirs)
        assert places(real) == 0

    def test_cannot_have_the_name_of_the_places_of_users(self, real: Session) -> None:
        with pytest.raises(InvalidLimit):
            task_service.put_limit(real, USER_LIMIT, concurrency=1)

    def test_takes_its_place_back_and_leaves_that_of_the_user(self, real: Session, quota: Quota) -> None:
        task_service.put_limit(real, "one", concurrency=1)
        user = new_user(real)
        low = new_task(real, user, limit="one", priority="low").id
        flush_admitter()
        high = new_task(real, user, limit="one", priority="high").id
        flush_admitter()
        maintain(real)
        assert claimed(real) == [high]
        assert waiting_for(real, low) == ("limit", "one")
        assert places(real) == 3
        succeed(real, high)
        assert claimed(real) == [low]


class TestAChangeOfTheSetting:
    def test_holds_what_waited_without_it(self, real: Session, quota: Quota) -> None:
        quota(0)
        task_service.put_limit(real, "one", concurrency=1)
        user = new_user(real)
        running = [new_task(real, user).id for _ in range(2)]
        assert claimed(real) == running
        limited = [new_task(real, user, limit="one").id for _ in range(2)]
        ids = [new_task(real, user).id for _ in range(4)]
        scheduled = new_task(real, user, delay_seconds=3600).id
        failed = new_task(real, user).id
        task_service.cancel(real, failed)
        quota(2)
        maintain(real)
        # What runs has no places, and of the two that have one the second waits for the limit.
        assert claimed(real) == limited[:1]
        assert held(real) == {"user": 4, "limit": 1, None: 1}
        real.execute(update(Task).where(Task.id == scheduled).values(run_at=None, due_at=datetime.now(UTC)))
        real.commit()
        maintain(real)
        task_service.retry_task(real, failed)
        assert claimed(real) == []
        assert held(real) == {"user": 6, "limit": 1}
        all_of = {*limited, *ids, scheduled, failed}
        for _ in all_of:
            real.commit()
            rows = real.scalars(select(Task).where(Task.status == "running", Task.id.in_(all_of))).all()
            assert len(rows) <= 2
            succeed(real, *(row.id for row in rows))
            claimed(real)
        assert held(real) == {}

    def test_releases_what_waits_when_it_is_gone(self, real: Session, quota: Quota) -> None:
        task_service.put_limit(real, "one", concurrency=1)
        user = new_user(real)
        ids = [new_task(real, user).id for _ in range(4)]
        limited = [new_task(real, user, limit="one").id for _ in range(2)]
        later = new_task(real, user, delay_seconds=3600).id
        assert claimed(real) == ids[:2]
        quota(0)
        maintain(real)
        assert set(claimed(real)) == {*ids[2:], limited[0]}
        ends.end_attempt(real, ids[0], 1, ends.retried(attempts.AttemptError(None, None), attempts.NextTry(0)))
        real.execute(update(Task).where(Task.id == later).values(run_at=None, due_at=datetime.now(UTC)))
        real.commit()
        body_ends(real, ids[0])
        maintain(real)
        assert set(claimed(real)) == {ids[0], later}
        succeed(real, ids[0], attempt=2)
        succeed(real, *ids[1:], limited[0], later)
        assert claimed(real) == limited[1:]
        succeed(real, limited[1])
        assert places(real) == 0

    def test_to_another_number_takes_effect(self, real: Session, quota: Quota) -> None:
        user = new_user(real)
        ids = [new_task(real, user).id for _ in range(8)]
        assert claimed(real) == ids[:2]
        quota(4)
        maintain(real)
        assert claimed(real) == ids[2:4]
        quota(1)
        succeed(real, *ids[:3])
        maintain(real)
        assert claimed(real) == []
        succeed(real, ids[3])
        assert claimed(real) == [ids[4]]

    def test_holds_what_waited_for_its_key_as_well(self, real: Session, quota: Quota) -> None:
        quota(0)
        task_service.put_limit(real, "keyed", concurrency_per_key=1)
        user = new_user(real)
        for _ in range(3):
            new_task(real, user, limit="keyed", limit_key="k")
        maintain(real)
        quota(1)
        maintain(real)
        limited = select(Task.user_limited, Task.held).order_by(Task.id)
        assert {row.user_limited for row in real.execute(limited).all()} == {True}


class TestConcurrently:
    QUOTA, CLAIMERS = 2, 6

    def test_never_more_of_one_user_run(self, real: Session, quota: Quota) -> None:
        """Claimers, ends from outside, retries, deletions, a limit beside it: a witness counts the bodies."""
        quota(self.QUOTA)
        task_service.put_limit(real, "three", concurrency=3)
        users = [new_user(real) for _ in range(3)]
        for at in range(amount(day=24, night=150)):
            fields = {"limit": "three"} if at % 2 else {}
            new_task(real, users[at % 3], **fields, priority=random.choice(["low", "normal"]))
        owner = {row.id: str(row.user_id) for row in real.scalars(select(Task))}
        real.commit()
        witness = Witness(self.QUOTA)
        run_all(owner, witness, self.CLAIMERS)
        with is_promised():
            assert witness.wrong == []
        assert witness.most_of_key == self.QUOTA, "the quota was never reached: the test shows nothing"
        assert places(real) == 0
