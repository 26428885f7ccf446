"""Turns: where a task stands in its line, at its creation and when it becomes due."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.db.sql import turns
from app.db.statements.pending_rows import PLACE_BATCH
from app.messaging.application import QUEUES
from app.models import Task
from app.models.task import TaskPriority
from app.schemas.task import TaskCreate
from app.services.execution import ends
from app.services.execution.claims import Claims
from app.services.task_service import task_service
from tests.support.lock_waits import fail_soon_where_locked, needs_row_locks
from tests.support.retention import forget
from tests.support.spelling import spelled
from tests.support.tasks import (
    LONG_RUNNING,
    WORKER,
    claim,
    claim_next,
    first_claim,
    lines_of,
    names,
    new_task,
    new_user,
    retried,
)

PAST = "UPDATE tasks SET due_at = now() - interval '1 hour' WHERE due_at > now()"


@pytest.fixture(autouse=True)
def nobody_is_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.messaging.wakeups.publish", lambda _: None)


def new_tasks(db: Session, user: UUID, number: int, **fields: Any) -> list[UUID]:
    """So many at once; their ids, in order."""
    body = {"name": "x", "task_type": "x", "celery_task_name": LONG_RUNNING, "args": [1]}
    wanted = [TaskCreate.model_validate(body | fields)] * number
    return [task.id for task in task_service.create_tasks(db, wanted, user)]


def user_of_weight(db: Session, weight: int) -> UUID:
    user = new_user(db)
    db.execute(spelled("UPDATE users SET weight = :weight WHERE id = :id", {"weight": weight, "id": user}))
    return user


def taken(db: Session, number: int = 1000) -> list[UUID]:
    """What starts next, in order, one task at a time; at most so many."""
    claims, found = Claims(lines_of()), []
    while len(found) < number and (claimed := claim_next(db, claims=claims)):
        found += [each.id for each in claimed]
    return found


def turn_of(db: Session, task_id: UUID) -> float | None:
    turn: float | None = db.scalar(spelled("SELECT turn FROM tasks WHERE id = :id", {"id": task_id}))
    return turn


class TestCreation:
    def test_stands_behind_one_task_of_another_whatever_that_one_has_queued(self, db: Session) -> None:
        greedy, modest = new_user(db), new_user(db)
        backlog = new_tasks(db, greedy, 100)
        (single,) = new_tasks(db, modest, 1)
        assert taken(db, 3) == [backlog[0], single, backlog[1]]

    def test_shares_the_line_by_weight(self, db: Session) -> None:
        users = {weight: user_of_weight(db, weight) for weight in (1, 2, 5)}
        owner = {task: weight for weight, user in users.items() for task in new_tasks(db, user, 40)}
        starts = [owner[task] for task in taken(db, 32)]
        for at in range(0, 32, 8):
            shares = {weight: starts[at : at + 8].count(weight) for weight in users}
            assert all(abs(shares[weight] - weight) <= 1 for weight in users), (at, shares)

    def test_by_a_user_who_was_away_has_saved_nothing_up(self, db: Session) -> None:
        busy, back = new_user(db), new_user(db)
        new_tasks(db, busy, 30)
        new_tasks(db, back, 1)
        assert len(taken(db)) == 31
        both = [new_tasks(db, user, 5) for user in (busy, back)]
        starts = taken(db)
        for nth in range(5):
            assert set(starts[2 * nth : 2 * nth + 2]) == {both[0][nth], both[1][nth]}

    def test_counts_by_queue_and_priority(self, db: Session) -> None:
        user = new_user(db)
        new_tasks(db, user, 3)
        for priority in (TaskPriority.HIGH, TaskPriority.CRITICAL, TaskPriority.LOW):
            assert [turn_of(db, task) for task in new_tasks(db, user, 2, priority=priority)] == [1.0, 2.0]
        assert turn_of(db, new_tasks(db, user, 1)[0]) == 4.0

    def test_of_a_group_of_several_users_places_each_by_itself(self, db: Session) -> None:
        first, second = new_user(db), new_user(db)
        before = new_tasks(db, first, 2)
        mixed = [new_tasks(db, user, 1)[0] for user in (first, second, first, second)]
        assert [turn_of(db, task) for task in (*before, *mixed)] == [1.0, 2.0, 3.0, 1.0, 4.0, 2.0]

    @pytest.mark.usefixtures("fresh_database")
    def test_keeps_the_order_of_one_user_over_two_sessions(self) -> None:
        """As two API processes: each commits by itself, and neither knows what the other has given."""
        with SessionLocal() as one, SessionLocal() as two:
            user = new_user(one)
            created = [task for session in (one, two) * 5 for task in new_tasks(session, user, 3)]
            assert taken(one) == created

    @pytest.mark.usefixtures("fresh_database")
    def test_gives_no_turn_twice_however_many_create_at_once(self) -> None:
        with SessionLocal() as db:
            users = [new_user(db) for _ in range(3)]
        gate = threading.Barrier(4)

        def create(number: int) -> dict[UUID, list[UUID]]:
            mine: dict[UUID, list[UUID]] = {user: [] for user in users}
            with SessionLocal() as session:
                gate.wait()
                for at in range(15):
                    user = users[(number + at) % 3]
                    mine[user] += new_tasks(session, user, 1 + at % 2)
            return mine

        with ThreadPoolExecutor(4) as pool:
            created = list(pool.map(create, range(4)))
        for user in users:
            with SessionLocal() as db:
                rows = db.execute(select(Task.id, Task.turn).where(Task.user_id == user).order_by(Task.turn)).all()
            assert [turn for _, turn in rows] == [float(turn) for turn in range(1, len(rows) + 1)]
            order = [task for task, _ in rows]
            for of_thread in created:
                assert sorted(of_thread[user], key=order.index) == of_thread[user]


class TestTheClock:
    def clock(self, db: Session) -> float:
        return float(
            db.scalar(spelled("SELECT max(turn) FROM claimed_turns WHERE queue = 'default' AND priority = 'normal'"))
            or 0
        )

    def test_is_the_highest_turn_that_was_claimed(self, db: Session) -> None:
        tasks = new_tasks(db, new_user(db), 4)
        for turn in (1.0, 2.0):
            claim_next(db)
            assert self.clock(db) == turn
        db.execute(spelled("UPDATE tasks SET turn = 0.5 WHERE id = :id", {"id": tasks[3]}))
        assert [found.id for found in claim_next(db)] == [tasks[3]]
        assert self.clock(db) == 2.0

    @needs_row_locks
    @pytest.mark.usefixtures("fresh_database")
    def test_is_put_on_by_claims_that_do_not_wait_for_each_other(self) -> None:
        with SessionLocal() as db, SessionLocal() as other:
            first_claim(db)
            tasks = new_tasks(db, new_user(db), 3)
            claims = Claims(lines_of())
            (first,) = claims.next(other, names(), new_id(), WORKER)  # and no commit yet
            fail_soon_where_locked(db)
            assert [first.id, *(found.id for found in claim_next(db))] == tasks[:2]
            assert self.clock(db) == 2.0
            other.rollback()
            assert [found.id for found in claim_next(db)] == tasks[:1]
            assert self.clock(db) == 2.0

    def test_is_kept_when_the_turns_below_it_are_forgotten(self, db: Session) -> None:
        new_tasks(db, new_user(db), 4)
        for _ in range(3):
            claim_next(db)
        assert forget(db, "claimed_turns") == 2
        assert self.clock(db) == 3.0
        assert forget(db, "claimed_turns") == 0


class TestWhatBecomesDue:
    def test_has_no_turn_before_and_is_placed_then(self, db: Session) -> None:
        user, other = new_user(db), new_user(db)
        later = new_tasks(db, user, 3, delay_seconds=3600)
        assert turns.place_due(db) == 0
        now = new_tasks(db, user, 2)
        assert taken(db, 1) == now[:1]
        assert {turn_of(db, task) for task in later} == {None}
        db.execute(spelled(PAST))
        (single,) = new_tasks(db, other, 1)
        assert turns.place_due(db) == 3
        assert turns.place_due(db) == 0
        # Behind the user's own that were there before, in their order; the other user waits for one task.
        assert taken(db) == [now[1], single, *later]

    def test_takes_its_turn_anew_after_a_retry_and_after_a_loss(self, db: Session) -> None:
        user = new_user(db)
        fails, lost, *rest = (new_task(db, user, max_attempts=2) for _ in range(4))
        for task in (fails, lost):
            claim(db, task)
        retried(db, task_service.get_task(db, fails.id))
        ends.end_tasks(db, ends.lost("a test"), Task.id == lost.id)
        db.commit()
        assert [turn_of(db, task.id) for task in (fails, lost)] == [None, None]
        assert turns.place_due(db) == 2
        assert taken(db) == [*(task.id for task in rest), fails.id, lost.id]

    def test_is_placed_by_its_weight(self, db: Session) -> None:
        for weight, turn in ((1, [1.0, 2.0]), (4, [0.25, 0.5])):
            tasks = new_tasks(db, user_of_weight(db, weight), 2, delay_seconds=3600)
            db.execute(spelled(PAST))
            assert turns.place_due(db) == 2
            assert [turn_of(db, task) for task in tasks] == turn

    def test_is_placed_in_batches_the_longest_due_first(self, db: Session) -> None:
        user = new_user(db)
        tasks = new_tasks(db, user, PLACE_BATCH + 2, delay_seconds=3600)
        moments = count(1)
        for task in tasks[-2:]:
            values = {"id": task, "moment": -86_400 * next(moments)}
            db.execute(
                spelled("UPDATE tasks SET due_at = now() + :moment * interval '1 second' WHERE id = :id", values)
            )
        db.execute(spelled(PAST))
        assert turns.place_due(db) == PLACE_BATCH
        unplaced = db.scalars(select(Task.id).where(Task.turn.is_(None))).all()
        assert len(unplaced) == 2
        assert not set(tasks[-2:]) & set(unplaced)
        assert turns.place_due(db) == 2

    def test_is_placed_once_by_its_name_and_only_if_it_waits_and_is_due(self, db: Session) -> None:
        user = new_user(db)
        (due,), (later,) = new_tasks(db, user, 1, delay_seconds=3600), new_tasks(db, user, 1, delay_seconds=7200)
        db.execute(spelled(f"{PAST} AND id = :id", {"id": due}))
        running = new_task(db, user)
        claim(db, running)
        every = [due, later, running.id, *new_tasks(db, user, 1)]
        assert [turns.place(db, every) for _ in range(2)] == [1, 0]
        assert [turn_of(db, task) for task in every] == [3.0, None, None, 2.0]

    @needs_row_locks
    @pytest.mark.usefixtures("fresh_database")
    def test_leaves_a_row_that_another_transaction_holds(self) -> None:
        with SessionLocal() as db, SessionLocal() as other:
            held, free = new_tasks(db, new_user(db), 2, delay_seconds=3600)
            db.execute(spelled(PAST))
            db.commit()
            other.execute(select(Task.id).where(Task.id == held).with_for_update())
            fail_soon_where_locked(db)
            assert turns.place_due(db) == 1
            db.commit()
            other.rollback()
            assert turns.place_due(db) == 1
            assert (turn_of(db, free), turn_of(db, held)) == (1.0, 2.0)


class TestReadyQueues:
    def test_are_those_in_which_a_task_could_start(self, db: Session) -> None:
        user = new_user(db)
        for priority, options in (("high", {"delay_seconds": 60}), ("low", {})):
            new_task(db, user, priority=priority, **options)
        claim(db, new_task(db, user))
        assert turns.ready_queues(db, [*QUEUES, "a queue of its own"]) == ["low_priority"]
        assert turns.ready_queues(db, ["default"]) == []
